"""Objects of COM servers that run as programs of their own, made by the id of their class."""

from __future__ import annotations

import ctypes
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any
from uuid import UUID

__all__ = ["made_by_server"]

_ole32: Any = None
if sys.platform == "win32":
    _ole32 = ctypes.WinDLL("ole32")
_Release = ctypes.CFUNCTYPE(ctypes.c_ulong, ctypes.c_void_p)
_LOCAL_SERVER = 4
_CAPSULE = b"winrt.interface"  # what the projections call a capsule with a pointer


@contextmanager
def made_by_server(clsid: UUID, interface: UUID) -> Iterator[Any]:
    """A new object, in a capsule as `wrap_interface` of the projections takes it.

    The capsule is good within the block; what was wrapped lives on. The thread has to be in an
    apartment.

    Raises:
        OSError: no such server, or it does not start; `winerror` is the HRESULT.
    """
    pointer = ctypes.c_void_p()
    words = (clsid.bytes_le, None, _LOCAL_SERVER, interface.bytes_le, ctypes.byref(pointer))
    code = _ole32.CoCreateInstance(*words)
    if code or pointer.value is None:
        raise OSError(0, "no object was made", None, code)
    capsule = ctypes.pythonapi.PyCapsule_New
    capsule.restype = ctypes.py_object
    capsule.argtypes = (ctypes.c_void_p, ctypes.c_char_p, ctypes.c_void_p)
    try:
        yield capsule(pointer, _CAPSULE, None)
    finally:
        table = ctypes.cast(pointer, ctypes.POINTER(ctypes.POINTER(ctypes.c_void_p)))[0]
        _Release(table[2] or 0)(pointer)
