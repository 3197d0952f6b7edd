"""Direct agents from a program of your own.

```python
import anyio
from sashizu_core import Task, delegate_parallel

report = anyio.run(delegate_parallel, [Task("code-reviewer", scope=("src",))])
```

Names are imported when they are first used, so that importing this package costs nothing. What
plugins need besides has modules of its own: `hookspecs`, `specs`, `protocols`, `types`, `grants`,
`errors`, `events`, `testing`.
"""

TYPE_CHECKING = False  # known to type checkers, and spares the import of `typing`
if TYPE_CHECKING:
    from typing import Any

    from sashizu_core.agents import AgentDefinition
    from sashizu_core.builtin.typed import Arguments, TypedTool
    from sashizu_core.creation import CreatedAgent, create_agent, save_agent
    from sashizu_core.errors import (
        BudgetRefused,
        ConfigError,
        MissingPackage,
        RecordError,
        SashizuError,
        UsageError,
    )
    from sashizu_core.events import Event
    from sashizu_core.limits import parse_limits
    from sashizu_core.plugins import Registry, open_registry
    from sashizu_core.runtime import delegate, delegate_parallel
    from sashizu_core.settings import Settings, load_settings
    from sashizu_core.supervisor import Supervision, supervise
    from sashizu_core.types import AgentReport, Limits, Outcome, RunReport, Task

__version__ = "0.1.0"

__all__ = [
    "AgentDefinition",
    "AgentReport",
    "Arguments",
    "BudgetRefused",
    "ConfigError",
    "CreatedAgent",
    "Event",
    "Limits",
    "MissingPackage",
    "Outcome",
    "RecordError",
    "Registry",
    "RunReport",
    "SashizuError",
    "Settings",
    "Supervision",
    "Task",
    "TypedTool",
    "UsageError",
    "__version__",
    "create_agent",
    "delegate",
    "delegate_parallel",
    "load_settings",
    "open_registry",
    "parse_limits",
    "save_agent",
    "supervise",
]

_HOMES = {
    "agents": ("AgentDefinition",),
    "builtin.typed": ("Arguments", "TypedTool"),
    "creation": ("CreatedAgent", "create_agent", "save_agent"),
    "errors": (
        "BudgetRefused",
        "ConfigError",
        "MissingPackage",
        "RecordError",
        "SashizuError",
        "UsageError",
    ),
    "events": ("Event",),
    "limits": ("parse_limits",),
    "plugins": ("Registry", "open_registry"),
    "runtime": ("delegate", "delegate_parallel"),
    "settings": ("Settings", "load_settings"),
    "supervisor": ("Supervision", "supervise"),
    "types": ("AgentReport", "Limits", "Outcome", "RunReport", "Task"),
}
_HOME_OF = {name: module for module, names in _HOMES.items() for name in names}


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
