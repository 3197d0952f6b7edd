"""What backends have measured, as the driver takes it."""

from __future__ import annotations

import sys

from sashizu_core.devices import Device, Known, Stats

from sashizu_gpu_driver.native import abi
from sashizu_gpu_driver.native.values import GpuSample

__all__ = ["sampled"]

_WAYS = {"nvidia": "cuda", "amd": "rocm", "intel": "level-zero"}
_FIELDS = (
    *("memory_total_bytes", "memory_used_bytes", "busy_percent", "temperature_c", "power_w"),
)
_MOST_BYTES, _MOST_C, _MOST_W, _OLDEST_S = float(1 << 50), 300.0, 1e6, 3600.0
"""Beyond that nothing is a measurement. The driver refuses it, and then hears of no device."""


def sampled(
    device: Device, stats: Stats, now_ns: int, *, platform: str = sys.platform
) -> GpuSample | None:
    """One device as the driver takes it, as old as the oldest of its values.

    On Windows every device is reached through DirectML too.

    What no device has is unknown. None where the driver's interface has no room for what the device
    is called, or all of it is long past.
    """
    ages = [one.age_s(now_ns) for name in _FIELDS if isinstance(one := stats.get(name), Known)]
    if (age_s := max(ages, default=0.0)) > _OLDEST_S:
        return None
    total = _within(stats.number("memory_total_bytes"), _MOST_BYTES)
    used = _within(stats.number("memory_used_bytes"), _MOST_BYTES if total is None else total)
    way = "npu" if device.kind == "npu" else _WAYS.get(device.vendor)
    paths = {one for one in (way, "directml" if platform == "win32" else None) if one is not None}
    sample = GpuSample(
        id=device.id,
        name=_short(device.name, abi.ID_BYTES) or device.id,
        vendor=_short(device.vendor, abi.NAME_BYTES),
        kind=device.kind,
        memory=device.memory,
        paths=frozenset(paths),
        memory_total=None if total is None else int(total),
        memory_used=None if used is None else int(used),
        busy_percent=_within(stats.number("busy_percent"), 100.0),
        temperature_c=_within(stats.number("temperature_c"), _MOST_C),
        power_w=_within(stats.number("power_w"), _MOST_W),
        age_s=age_s,
    )
    try:
        sample.frame(0)
    except ValueError:
        return None
    return sample


def _within(value: float | None, most: float) -> float | None:
    return value if value is not None and 0 <= value <= most else None


def _short(text: str, room: int) -> str:
    """The beginning of a text that fits, without control characters."""
    plain = "".join(letter for letter in text if letter.isprintable())
    return plain.encode()[: room - 1].decode("utf-8", "ignore")
