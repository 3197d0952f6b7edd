"""How a server is told which device it has: by environment variables, in the child only."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from sashizu_core.devices import Device

__all__ = ["environment"]

_NONE = {"CUDA_VISIBLE_DEVICES": "", "ROCR_VISIBLE_DEVICES": "", "HIP_VISIBLE_DEVICES": "-1"}
"""Lets no program see a device; HIP takes an empty list for none given."""


def environment(device: Device | None, devices: Iterable[Device] = ()) -> Mapping[str, str]:
    """The variables that let a program see that device alone, of all `devices`.

    By UUID, which no restart moves, where the runtime takes one: CUDA's and ROCm's do. HIP then
    counts what ROCm lets it see, so its one device is the first. Intel's runtime takes positions:
    in the order of the bus, and of whole cards. Empty where a device cannot be named.
    Sources: CUDA C programming guide, "CUDA environment variables"; ROCm, "GPU isolation
    techniques"; Level Zero specification, "Environment Variables".
    """
    if device is None:
        return _NONE
    if device.vendor == "intel":
        return _level_zero(device, devices)
    ids = (device.id, *device.also)
    uuid = next((one for one in ids if one.startswith(("GPU-", "MIG-"))), "")
    if not uuid:
        return {}
    if device.vendor == "amd":
        return _NONE | {"ROCR_VISIBLE_DEVICES": uuid, "HIP_VISIBLE_DEVICES": "0"}
    return _NONE | {"CUDA_VISIBLE_DEVICES": uuid}


def _level_zero(device: Device, devices: Iterable[Device]) -> Mapping[str, str]:
    addresses = sorted(
        address
        for one in devices
        if one.vendor == "intel" and one.kind == "gpu" and (address := _address(one))
    )
    mine = _address(device)
    if mine not in addresses:
        return {}
    return _NONE | {
        "ZE_ENABLE_PCI_ID_DEVICE_ORDER": "1",
        "ZE_FLAT_DEVICE_HIERARCHY": "COMPOSITE",
        "ZE_AFFINITY_MASK": str(addresses.index(mine)),
    }


def _address(device: Device) -> str:
    """Where it is on the bus, `0000:65:00.0`; empty where that is not known."""
    return next((one for one in (device.id, *device.also) if one.count(":") == 2), "")
