"""What the controller sees of devices: cards, made of what backends tell."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence

from sashizu_core.devices import Device, DeviceProcess, Known, Reading, Stats, Unknown

from sashizu_gpu_driver.admission.asked import Card
from sashizu_gpu_driver.admission.need import MOST

__all__ = ["HOST", "card_of", "host_card", "is_short"]

SHORT_PERCENT = 20.0
"""From which share of waiting on nothing more is loaded."""

HOST = "host"
"""The name of the memory of the machine: of its processors, and of devices that have none."""


def card_of(
    device: Device,
    stats: Stats,
    processes: Sequence[DeviceProcess] | Unknown,
    now_ns: int,
    top_of: Callable[[int], int] = lambda pid: pid,
    *,
    short: bool = False,
) -> Card:
    """One device as the controller sees it. `top_of` is the process that another one belongs to."""
    total, free = stats.get("memory_total_bytes"), stats.get("memory_free_bytes")
    busy = stats.number("busy_percent")
    throttle = stats.get("throttle")
    size = _bytes(total)
    known = total if isinstance(total, Known) and size is not None else None
    why = "" if known is not None else f"its memory is unknown: {_reason(total)}"
    return Card(
        device=device.id,
        total=size or 0,
        reserved=_bytes(stats.get("memory_reserved_bytes")) or 0,
        free=_bytes(free),
        used=_used(processes, top_of, size or 0),
        integrated=device.memory in ("unified", "shared"),
        busy=busy / 100 if busy is not None else None,
        temperature_c=stats.number("temperature_c"),
        throttled=isinstance(throttle, Known) and _slowed(str(throttle.value)),
        unusable=why,
        short=short,
        source=known.source if known is not None else "",
        age_s=known.age_s(now_ns) if known is not None else 0.0,
        memory=HOST if device.memory == "unified" else "",
    )


def _slowed(throttle: str) -> bool:
    """Whether something holds a device back; that it is idle, or set so, is not that."""
    return bool(set(throttle.split(", ")) - {"none", "idle", "setting", "display"})


def _reason(reading: Reading) -> str:
    return reading.reason if isinstance(reading, Unknown) else f"it has {reading.value} bytes"


def _bytes(reading: Reading, most: int = MOST) -> int | None:
    """A size, None where it is unknown or none that memory has."""
    if not isinstance(reading, Known) or isinstance(reading.value, str):
        return None
    return int(reading.value) if 0 <= reading.value <= most else None


def _used(
    processes: Sequence[DeviceProcess] | Unknown, top_of: Callable[[int], int], most: int
) -> dict[int, int] | None:
    """Bytes by process, or None if one of them is not known for sure, or more than there is."""
    if isinstance(processes, Unknown):
        return None
    found: dict[int, int] = {}
    for process in processes:
        used = _bytes(process.used_bytes, most)
        if used is None or process.ours is not True:
            return None
        top = top_of(process.pid)
        found[top] = min(found.get(top, 0) + used, most)  # what they share is told of each
    return found


def is_short(text: str) -> bool:
    """Whether programs of the machine wait much for memory, by /proc/pressure/memory.

    The kernel's documentation, "PSI - Pressure Stall Information": `some avg10` is the share of the
    last ten seconds in which at least one task waited, in percent.
    """
    found = re.search(r"^some avg10=(\d+(?:\.\d+)?)", text, re.MULTILINE)
    return found is not None and float(found[1]) >= SHORT_PERCENT


def host_card() -> Card:
    """The memory of this machine, which any program may take; proc(5), /proc/meminfo.

    Elsewhere than on Linux only the ledger bounds what is placed there.
    """
    import os
    from pathlib import Path

    try:
        lines = Path("/proc/meminfo").read_text("ascii").splitlines()
        table = {
            name: int(rest.split()[0]) * 1024 for name, _, rest in (s.partition(":") for s in lines)
        }
        return Card(HOST, table["MemTotal"], free=table["MemAvailable"], source="/proc/meminfo")
    except (OSError, KeyError, ValueError, IndexError):
        if not hasattr(os, "sysconf"):
            return Card(HOST, 0, unusable="the memory of this machine is not known here")
        total = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
        return Card(HOST, total, source="sysconf")
