"""What plugin authors test with: fakes and contract suites (extra `testing`).

A suite is imported when it is first used: each needs no more than it tests.
"""

TYPE_CHECKING = False  # known to type checkers, and spares the import of `typing`
if TYPE_CHECKING:
    from typing import Any

    from sashizu_core.testing.admission import AdmissionContract
    from sashizu_core.testing.budget import BudgetContract
    from sashizu_core.testing.budget_shift import ShiftContract
    from sashizu_core.testing.device import DeviceContract
    from sashizu_core.testing.executor import ExecutorContract
    from sashizu_core.testing.model import ModelContract
    from sashizu_core.testing.plugin import PluginContract
    from sashizu_core.testing.policy import PolicyContract
    from sashizu_core.testing.sandbox import SandboxContract
    from sashizu_core.testing.sink import SinkContract
    from sashizu_core.testing.tool import ToolContract

__all__ = [
    "AdmissionContract",
    "BudgetContract",
    "DeviceContract",
    "ExecutorContract",
    "ModelContract",
    "PluginContract",
    "PolicyContract",
    "SandboxContract",
    "ShiftContract",
    "SinkContract",
    "ToolContract",
]

_HOME_OF = {
    "AdmissionContract": "admission",
    "BudgetContract": "budget",
    "DeviceContract": "device",
    "ExecutorContract": "executor",
    "ModelContract": "model",
    "PluginContract": "plugin",
    "PolicyContract": "policy",
    "SandboxContract": "sandbox",
    "ShiftContract": "budget_shift",
    "SinkContract": "sink",
    "ToolContract": "tool",
}


def __getattr__(name: str) -> "Any":
    """Import a name when it is first used (PEP 562)."""
    from importlib import import_module

    module = _HOME_OF.get(name)
    if module is None:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value = getattr(import_module(f"{__name__}.{module}"), name)
    globals()[name] = value
    return value


def __dir__() -> "list[str]":
    return sorted(__all__)
