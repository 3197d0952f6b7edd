"""How much memory an Intel GPU has: the one thing that takes a call of its driver.

Without CAP_PERFMON the kernel answers that all of it is free, so then nobody knows what is used.
Source of the layouts: `xe_drm.h` and `i915_drm.h` of the kernel.
"""

from __future__ import annotations

import ctypes
import os
import struct
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from sashizu_gpu_driver.drm.files import pairs

__all__ = ["Region", "i915_memory", "may_measure", "region_of", "xe_memory"]

_CAP_SYS_ADMIN, _CAP_PERFMON = 21, 38

_XE_QUERY = 0xC0286440  # _IOWR('d', 0x40, 40 bytes)
_I915_QUERY = 0xC0106479  # _IOWR('d', 0x79, 16 bytes)
_XE_REGIONS, _I915_REGIONS = 1, 4
_DEVICE = 1
"""The class of memory that belongs to the device, in both drivers."""

Call = Callable[[int, int, bytearray], None]
"""`ioctl(fd, request, buffer)`, which changes the buffer; raises OSError."""


@dataclass(frozen=True, slots=True)
class Region:
    """Bytes of device memory, and how many of them are free as the kernel says."""

    total: int
    free: int


def may_measure(root: Path) -> bool:
    """Whether the kernel tells this process the truth about memory that others use."""
    try:
        found = int(pairs(root / "proc/self/status", ":").get("CapEff", "0"), 16)
    except ValueError:
        return False
    return bool(found & (1 << _CAP_PERFMON | 1 << _CAP_SYS_ADMIN))


def _ioctl(fd: int, request: int, buffer: bytearray) -> None:
    import fcntl

    fcntl.ioctl(fd, request, buffer, True)


def region_of(node: Path, driver: str, call: Call = _ioctl) -> Region | None:
    """Ask the driver of a device node; None where it has no memory of its own, or is silent."""
    try:
        fd = os.open(node, os.O_RDWR | os.O_CLOEXEC)
    except OSError:
        return None
    try:
        return xe_memory(fd, call) if driver == "xe" else i915_memory(fd, call)
    except (OSError, struct.error):
        return None
    finally:
        os.close(fd)


def xe_memory(fd: int, call: Call) -> Region | None:
    """All regions of device memory of an `xe` device together.

    Raises:
        OSError: the driver does not know the call.
    """
    data = _answered(
        lambda size, address: _asked(
            fd, call, _XE_QUERY, struct.pack("<QIIQQQ", 0, _XE_REGIONS, size, address, 0, 0), 12
        )
    )
    (count,) = struct.unpack_from("<I", data)
    total = used = 0
    for place in range(count):
        kind, _, _, whole, taken = struct.unpack_from("<HHIQQ", data, 8 + 88 * place)
        if kind == _DEVICE:
            total, used = total + whole, used + taken
    return Region(total, total - used) if total else None


def i915_memory(fd: int, call: Call) -> Region | None:
    """All regions of device memory of an `i915` device together.

    Raises:
        OSError: the driver does not know the call.
    """

    def ask(size: int, address: int) -> int:
        item = ctypes.create_string_buffer(struct.pack("<QiIQ", _I915_REGIONS, size, 0, address))
        query = struct.pack("<IIQ", 1, 0, ctypes.addressof(item))
        call(fd, _I915_QUERY, bytearray(query))
        return int(struct.unpack_from("<i", item.raw, 8)[0])

    data = _answered(ask)
    (count,) = struct.unpack_from("<I", data)
    total = free = 0
    for place in range(count):
        kind, _, _, whole, left = struct.unpack_from("<HHIQQ", data, 16 + 88 * place)
        if kind == _DEVICE:
            total, free = total + whole, free + left
    return Region(total, free) if total else None


def _asked(fd: int, call: Call, request: int, text: bytes, at: int) -> int:
    buffer = bytearray(text)
    call(fd, request, buffer)
    return int(struct.unpack_from("<I", buffer, at)[0])


_MOST_BYTES = 64 * 1024


def _answered(ask: Callable[[int, int], int]) -> bytes:
    """Ask for the size first, as both drivers want it, and then for the answer."""
    size = ask(0, 0)
    if not 0 < size <= _MOST_BYTES:
        raise OSError(f"the driver wants to answer with {size} bytes")
    room = ctypes.create_string_buffer(size)
    ask(size, ctypes.addressof(room))
    return room.raw
