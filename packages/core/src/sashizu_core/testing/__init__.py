"""What plugin authors test with: fakes and contract suites (extra `testing`)."""

from sashizu_core.testing.admission import AdmissionContract
from sashizu_core.testing.budget import BudgetContract
from sashizu_core.testing.budget_shift import ShiftContract
from sashizu_core.testing.device import DeviceContract
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
    "ModelContract",
    "PluginContract",
    "PolicyContract",
    "SandboxContract",
    "ShiftContract",
    "SinkContract",
    "ToolContract",
]
