"""Calls as Windows makes them: by pointers and slots, in a thread of its own apartment."""

from __future__ import annotations

import ctypes
import uuid
from collections.abc import Callable
from typing import Any

import anyio
from com import ABI
from sashizu_winai.apartment import Apartment
from winrt.runtime import ApartmentType, init_apartment

POINTER = ctypes.c_void_p
LONGEST_S = 20.0
_LOCAL_SERVER = 4


class Caller:
    """A thread of Windows."""

    def __init__(self) -> None:
        self._apartment = Apartment(lambda: init_apartment(ApartmentType.MULTI_THREADED))

    async def do(self, function: Callable[..., Any], *args: object) -> Any:
        with anyio.fail_after(LONGEST_S):
            return await self._apartment.call("call as Windows does", function, *args)


def created(clsid: uuid.UUID, interface: str) -> int:
    """An object that COM makes of the class.

    Raises:
        OSError: there is no such class, or it makes none.
    """
    pointer = POINTER()
    words = (clsid.bytes_le, None, _LOCAL_SERVER, _id(interface), ctypes.byref(pointer))
    code = ctypes.WinDLL("ole32").CoCreateInstance(*words)
    if code:
        raise OSError(0, "not created", None, code)
    assert pointer.value is not None
    return pointer.value


def face(pointer: int, interface: str) -> int:
    """Another interface of the object."""
    found = POINTER()
    code = called(pointer, 0, ctypes.c_char_p, POINTER)(
        pointer, _id(interface), ctypes.byref(found)
    )
    assert code == 0, hex(code & 0xFFFFFFFF)
    assert found.value is not None
    return found.value


def called(pointer: int, slot: int, *types: Any) -> Callable[..., int]:
    """The method in a slot; it takes the pointer first."""
    table = ctypes.cast(pointer, ctypes.POINTER(ctypes.POINTER(POINTER)))[0]
    return ctypes.WINFUNCTYPE(ctypes.c_long, POINTER, *types)(table[slot])


def _id(interface: str) -> bytes:
    return uuid.UUID(ABI["interfaces"][interface]["id"]).bytes_le
