"""Objects of this process for Windows: class objects of COM, registered while they are wanted.

Unverified on Windows, like `_winrt`.
"""

from __future__ import annotations

import ctypes
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any
from uuid import UUID

import anyio
from winrt.runtime.interop import as_interface
from winrt.system import Object

from sashizu_winai.apartment import Apartment
from sashizu_winai.com_class import UNKNOWN, ClassObject, guid_bytes
from sashizu_winai.errors import error_of

__all__ = ["registered"]

_LOCAL_SERVER = 4
_MULTIPLE_USE = 1
_CLOSE_S = 5.0


@asynccontextmanager
async def registered(
    apartment: Apartment, operation: str, clsid: UUID, make: Callable[[], Object]
) -> AsyncIterator[None]:
    """Have COM make objects of a class here, while this is open.

    Raises:
        WindowsAiError: COM refuses the class.
    """
    known = ClassObject(lambda: _pointer(make()))
    cookies = await apartment.call(operation, _register, operation, clsid, known)
    try:
        yield
    finally:
        with anyio.move_on_after(_CLOSE_S, shield=True):
            await apartment.call(operation, _revoke, *cookies)


def _pointer(made: Object) -> tuple[int, object]:
    """The address of an object, and the capsule that holds it."""
    get = ctypes.pythonapi.PyCapsule_GetPointer
    get.restype, get.argtypes = ctypes.c_void_p, [ctypes.py_object, ctypes.c_char_p]
    capsule = as_interface(made, UNKNOWN)
    return int(get(capsule, b"winrt.interface") or 0), capsule


def _register(operation: str, clsid: UUID, known: ClassObject) -> tuple[Any, int]:
    """Register a class; what is given ends it. The apartment lives on without a thread in it."""
    usage, cookie = ctypes.c_void_p(), ctypes.c_uint32()
    code = ctypes.WinDLL("combase").CoIncrementMTAUsage(ctypes.byref(usage))
    if code < 0:
        raise error_of(operation, code)
    code = ctypes.WinDLL("ole32").CoRegisterClassObject(
        guid_bytes(clsid),
        ctypes.c_void_p(known.pointer),
        _LOCAL_SERVER,
        _MULTIPLE_USE,
        ctypes.byref(cookie),
    )
    if code < 0:
        ctypes.WinDLL("combase").CoDecrementMTAUsage(usage)
        raise error_of(operation, code)
    return usage, cookie.value


def _revoke(usage: Any, cookie: int) -> None:
    ctypes.WinDLL("ole32").CoRevokeClassObject(ctypes.c_uint32(cookie))
    ctypes.WinDLL("combase").CoDecrementMTAUsage(usage)
