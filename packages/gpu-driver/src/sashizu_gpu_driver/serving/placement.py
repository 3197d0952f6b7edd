"""How a server is told which device it has: by environment variables, in the child only."""

from __future__ import annotations

from collections.abc import Mapping

from sashizu_core.devices import Device

__all__ = ["environment"]


def environment(device: Device | None) -> Mapping[str, str]:
    """The variables that let a program see that device alone; by UUID, which no restart moves.

    Sources: CUDA C programming guide, "CUDA environment variables"; ROCm, "GPU isolation
    techniques". Intel's runtime takes positions only, so its devices are all left visible.
    """
    if device is None:
        return {"CUDA_VISIBLE_DEVICES": "", "ROCR_VISIBLE_DEVICES": ""}
    ids = (device.id, *device.also)
    uuid = next((one for one in ids if one.startswith(("GPU-", "MIG-"))), "")
    if not uuid:
        return {}
    if device.vendor == "amd":
        return {"ROCR_VISIBLE_DEVICES": uuid}
    return {"CUDA_VISIBLE_DEVICES": uuid}
