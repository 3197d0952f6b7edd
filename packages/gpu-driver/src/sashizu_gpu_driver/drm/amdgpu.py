"""What the driver of AMD's GPUs tells in files."""

from __future__ import annotations

import re
import struct
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from sashizu_gpu_driver.drm.cards import Card, sleeps
from sashizu_gpu_driver.drm.files import first, number, text

__all__ = ["Metrics", "has_own_memory", "metrics", "told", "uuid"]

_ALWAYS_BUSY = frozenset({0x15DD, 0x15D8})
"""Raven and Picasso: their driver tells 100 % whatever they do."""

_ENERGY_UNIT_J = 15.259e-6
_NOT_TOLD = 0xFFFF
_DISCRETE = 1
_KNOWN_LAYOUTS = frozenset({(1, 1), (1, 2), (1, 3)})

Told = tuple[str, float | int | str]


@dataclass(frozen=True, slots=True)
class Metrics:
    """Of `gpu_metrics`: the format of its layout, and what is known of it."""

    format: int
    memory_busy: int | None = None
    energy_j: float | None = None


def metrics(card: Card) -> Metrics | None:
    """The driver's binary table; None without one. Layouts that are not known tell only themselves.

    Source: `gpu_metrics_v1_1` to `gpu_metrics_v1_3` of the kernel's `kgd_pp_interface.h`.
    """
    try:
        data = (card.folder / "gpu_metrics").read_bytes()
        size, format_, content = struct.unpack_from("<HBB", data)
    except (OSError, struct.error):
        return None
    if (format_, content) not in _KNOWN_LAYOUTS or len(data) < max(size, 32):
        return Metrics(format_)
    (busy,) = struct.unpack_from("<H", data, 18)
    (energy,) = struct.unpack_from("<Q", data, 24)
    return Metrics(
        format_,
        busy if busy <= 100 else None,
        energy * _ENERGY_UNIT_J if energy not in (0, 0xFFFFFFFFFFFFFFFF) else None,
    )


def uuid(card: Card) -> str:
    """What ROCm calls the device, `GPU-` and 16 digits; empty where the driver does not tell it.

    Source: the kernel's `unique_id` of amdgpu, which is what ROCm's runtime makes its UUIDs of.
    """
    if card.driver != "amdgpu" or sleeps(card):
        return ""
    found = text(card.folder / "unique_id") or ""
    return f"GPU-{found.lower()}" if re.fullmatch(r"[0-9a-fA-F]{16}", found) else ""


def has_own_memory(card: Card) -> bool | None:
    """Whether a GPU has memory of its own; None where nobody knows."""
    found = metrics(card)
    return found.format == _DISCRETE if found is not None else None


def told(card: Card) -> Iterator[Told | tuple[str, None, str]]:
    """What is known by field, and `(field, None, reason)` for what must not be believed."""
    folder = card.folder
    busy = number(folder / "gpu_busy_percent")
    if busy == 100 and card.product in _ALWAYS_BUSY:
        yield "busy_percent", None, "this GPU's driver tells 100 % whatever it does"
    elif busy is not None and busy <= 100:
        yield "busy_percent", busy
    total, used = number(folder / "mem_info_vram_total"), number(folder / "mem_info_vram_used")
    if total is not None:
        yield "memory_total_bytes", total
    if used is not None:
        yield "memory_used_bytes", used
        if total is not None:
            yield "memory_free_bytes", max(0, total - used)
    found = metrics(card)
    memory_busy = number(folder / "mem_busy_percent")
    if memory_busy is None and found is not None:
        memory_busy = found.memory_busy
    if memory_busy is not None and memory_busy <= 100:
        yield "memory_busy_percent", memory_busy
    if found is not None and found.energy_j is not None:
        yield "energy_j", found.energy_j
    for sensors in sorted(folder.glob("hwmon/hwmon*")):
        yield from _sensors(sensors)


def _sensors(folder: Path) -> Iterator[Told]:
    if (heat := number(folder / "temp1_input")) is not None:
        yield "temperature_c", heat / 1000
    if (power := first(folder / "power1_average", folder / "power1_input")) is not None:
        yield "power_w", power / 1e6
    if (limit := number(folder / "power1_cap")) is not None:
        yield "power_limit_w", limit / 1e6
    if (turns := number(folder / "fan1_input")) is not None:
        yield "fan_rpm", turns
    speed, most = number(folder / "pwm1"), first(folder / "pwm1_max")
    if speed is not None and most:
        yield "fan_percent", round(100 * min(speed, most) / most, 1)
    for place, field in ((1, "clock_core_mhz"), (2, "clock_memory_mhz")):
        if (clock := number(folder / f"freq{place}_input")) is not None:
            yield field, clock / 1e6
