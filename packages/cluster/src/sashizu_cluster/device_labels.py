"""Labels of what a machine computes with, as its devices tell them."""

from __future__ import annotations

from collections.abc import Mapping

from sashizu_core.devices import Device, Known, Snapshot, chosen, open_devices
from sashizu_core.plugins import Registry
from sashizu_core.settings import Settings

__all__ = ["device_labels", "labels_of"]

_GIB = 1024**3

_INTERFACES: Mapping[str, str] = {
    "nvidia": "cuda",
    "amd": "rocm",
    "intel": "level-zero",
    "apple": "metal",
}
"""What programs for the devices of a vendor are written for."""


def device_labels(settings: Settings, registry: Registry) -> frozenset[str]:
    """The labels of this machine, `gpu:none` where it has no GPU. Blocks.

    Raises:
        ConfigError: `[devices] backends` names one that nobody offers.
    """
    with open_devices(chosen(registry.devices, settings.devices.backends)) as devices:
        return labels_of(devices.sample())


def labels_of(snapshot: Snapshot) -> frozenset[str]:
    """One label for each kind of GPU and its memory: `gpu:cuda:24g`, in whole GiB, rounded."""
    found = {_label(device, snapshot) for device in snapshot.devices if device.kind == "gpu"}
    return frozenset(label for label in found if label) or frozenset({"gpu:none"})


def _label(device: Device, snapshot: Snapshot) -> str:
    interface = _INTERFACES.get(device.vendor.lower(), "")
    stats = snapshot.stats.get(device.id)
    memory = stats.get("memory_total_bytes") if stats is not None else None
    if not interface or not isinstance(memory, Known):
        return ""
    return f"gpu:{interface}:{round(float(memory.value) / _GIB)}g"
