"""Tell CUDA of memory, so that GPUs copy from it at full speed; without CUDA, say why not."""

from __future__ import annotations

import contextlib
import ctypes
import sys
from dataclasses import dataclass
from typing import Any

__all__ = ["Registration", "register"]

_PORTABLE = 1
"""The registration counts for every context of the process."""


@dataclass(frozen=True, slots=True)
class Registration:
    """Memory that CUDA knows, until it is closed."""

    _library: Any
    _address: int

    def close(self) -> None:
        """Have CUDA forget it; needed before it is unmapped."""
        with contextlib.suppress(AttributeError):
            self._library.cuMemHostUnregister(ctypes.c_void_p(self._address))


def register(address: int, size: int) -> Registration | str:
    """Register memory with the context of the first GPU, or say why that cannot be."""
    try:
        library = ctypes.CDLL("nvcuda.dll" if sys.platform == "win32" else "libcuda.so.1")
    except OSError:
        return "there is no driver library of CUDA"
    try:
        if problem := _context(library):
            return problem
        code = library.cuMemHostRegister_v2(
            ctypes.c_void_p(address), ctypes.c_size_t(size), ctypes.c_uint(_PORTABLE)
        )
    except AttributeError as error:
        return f"the driver is too old: {error}"
    return f"cuMemHostRegister: error {code}" if code else Registration(library, address)


def _context(library: Any) -> str:
    """Make the primary context of the first GPU current in this thread; what went wrong."""
    if code := library.cuInit(0):
        return f"cuInit: error {code}"
    device, context = ctypes.c_int(), ctypes.c_void_p()
    if code := library.cuDeviceGet(ctypes.byref(device), 0):
        return f"cuDeviceGet: error {code}"
    if code := library.cuDevicePrimaryCtxRetain(ctypes.byref(context), device):
        return f"cuDevicePrimaryCtxRetain: error {code}"
    code = library.cuCtxSetCurrent(context)
    return f"cuCtxSetCurrent: error {code}" if code else ""
