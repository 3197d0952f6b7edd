"""What the drivers of Intel's GPUs and NPUs tell in files: `i915`, `xe`, `intel_vpu`."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from sashizu_gpu_driver.drm.cards import Card
from sashizu_gpu_driver.drm.files import first, number, text

__all__ = ["busy_counter_ns", "told"]

Told = tuple[str, float | int | str]


def told(card: Card) -> Iterator[Told]:
    """What is known by field; memory is asked elsewhere, because it takes a call of the driver."""
    clock = first(
        card.node / "gt_act_freq_mhz",
        card.node / "gt/gt0/rps_act_freq_mhz",
        card.node / "gt_cur_freq_mhz",
        card.folder / "tile0/gt0/freq0/act_freq",
        card.folder / "tile0/gt0/freq0/cur_freq",
        card.folder / "npu_current_frequency_mhz",
    )
    if clock is not None:
        yield "clock_core_mhz", clock
    if (used := number(card.folder / "npu_memory_utilization")) is not None:
        yield "memory_used_bytes", used
    for folder, prefix in (
        (card.node / "gt/gt0", "throttle_reason_"),
        (card.folder / "tile0/gt0/freq0/throttle", "reason_"),
    ):
        if (words := _throttles(folder, prefix)) is not None:
            yield "throttle", words
    for sensors in sorted(card.folder.glob("hwmon/hwmon*")):
        yield from _sensors(sensors)


def busy_counter_ns(card: Card) -> int | None:
    """How long an NPU has worked, in nanoseconds since its driver was loaded."""
    found = number(card.folder / "npu_busy_time_us")
    return found * 1000 if found is not None else None


def _throttles(folder: Path, prefix: str) -> str | None:
    status = first(folder / f"{prefix}status", folder / "status")
    if status is None:
        return None
    words = [
        path.name.removeprefix(prefix)
        for path in sorted(folder.glob(f"{prefix}*"))
        if path.name != f"{prefix}status" and text(path) == "1"
    ]
    return ", ".join(words) or ("yes" if status else "none")


def _sensors(folder: Path) -> Iterator[Told]:
    if (heat := first(folder / "temp1_input", folder / "temp2_input")) is not None:
        yield "temperature_c", heat / 1000
    if (energy := first(folder / "energy1_input", folder / "energy2_input")) is not None:
        yield "energy_j", energy / 1e6
    if (limit := first(folder / "power1_max", folder / "power2_max")) is not None:
        yield "power_limit_w", limit / 1e6
    if (turns := number(folder / "fan1_input")) is not None:
        yield "fan_rpm", turns
