"""Devices that models run on: what a backend tells of them, merged, and sampled."""

from sashizu_core.devices.contract import (
    Device,
    DeviceBackend,
    DeviceError,
    DeviceEvent,
    DeviceLost,
    DeviceProcess,
    DeviceSpec,
    Hint,
    HintResult,
    PathAdvice,
    PinnedBuffer,
    PinnedPool,
    Probe,
    RuntimeRegistration,
)
from sashizu_core.devices.merging import Devices, Snapshot, chosen, merged_stats, open_devices
from sashizu_core.devices.readings import FIELDS, Known, Reading, Stats, Unknown

__all__ = [
    "FIELDS",
    "Device",
    "DeviceBackend",
    "DeviceError",
    "DeviceEvent",
    "DeviceLost",
    "DeviceProcess",
    "DeviceSpec",
    "Devices",
    "Hint",
    "HintResult",
    "Known",
    "PathAdvice",
    "PinnedBuffer",
    "PinnedPool",
    "Probe",
    "Reading",
    "RuntimeRegistration",
    "Snapshot",
    "Stats",
    "Unknown",
    "chosen",
    "merged_stats",
    "open_devices",
]
