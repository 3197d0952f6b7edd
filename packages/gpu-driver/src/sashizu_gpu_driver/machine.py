"""The memory of the machine, for devices that have none of their own."""

from __future__ import annotations

from pathlib import Path

from sashizu_core.devices import Known, Reading, Unknown

__all__ = ["machine_memory"]

_SOURCE = "meminfo"


def machine_memory(root: Path, now_ns: int) -> dict[str, Reading]:
    """What of the machine's memory a device with unified memory could use.

    `free` is what the kernel could make available without swapping.
    """
    try:
        lines = (root / "proc/meminfo").read_text("ascii", "replace").splitlines()
        found = {
            key: int(rest.split()[0]) * 1024
            for key, _, rest in (line.partition(":") for line in lines)
            if key in ("MemTotal", "MemAvailable")
        }
        total, free = found["MemTotal"], found["MemAvailable"]
    except (OSError, ValueError, KeyError, IndexError) as error:
        reason = f"memory is unified, and /proc/meminfo cannot be read: {error}"
        return {
            f"memory_{part}_bytes": Unknown(reason, _SOURCE)
            for part in ("total", "used", "free", "reserved")
        }
    return {
        "memory_total_bytes": Known(total, _SOURCE, now_ns),
        "memory_free_bytes": Known(free, _SOURCE, now_ns),
        "memory_used_bytes": Known(total - free, _SOURCE, now_ns),
        "memory_reserved_bytes": Unknown("memory is unified: the machine reserves none", _SOURCE),
    }
