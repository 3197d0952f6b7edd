"""A class object of COM (`IClassFactory`), so that Windows can have objects of this process.

It is made of plain C callbacks and knows no projection, so that it works, and is tested, wherever
there is a C ABI. The table of functions is that of unknwn.h.
"""

from __future__ import annotations

import ctypes
from collections.abc import Callable
from typing import Any
from uuid import UUID

__all__ = ["CLASS_FACTORY", "UNKNOWN", "ClassObject", "guid_bytes", "query"]

UNKNOWN = UUID("00000000-0000-0000-c000-000000000046")
CLASS_FACTORY = UUID("00000001-0000-0000-c000-000000000046")

_OK = 0
_NO_INTERFACE = 0x80004002
_POINTER = 0x80004003
_FAILED = 0x80004005
_NO_AGGREGATION = 0x80040110

_Query = ctypes.CFUNCTYPE(ctypes.c_int32, ctypes.c_void_p, ctypes.c_void_p, ctypes.c_void_p)
_Count = ctypes.CFUNCTYPE(ctypes.c_uint32, ctypes.c_void_p)
_Create = ctypes.CFUNCTYPE(
    ctypes.c_int32, ctypes.c_void_p, ctypes.c_void_p, ctypes.c_void_p, ctypes.c_void_p
)
_Lock = ctypes.CFUNCTYPE(ctypes.c_int32, ctypes.c_void_p, ctypes.c_int32)


def guid_bytes(value: UUID) -> ctypes.Array[ctypes.c_char]:
    """A GUID in memory, as COM reads it: 16 bytes, the first three parts little-endian."""
    return ctypes.create_string_buffer(value.bytes_le, 16)


def query(pointer: int, interface: int, out: int) -> int:
    """Ask an object for an interface: `IUnknown::QueryInterface`, whose code this is."""
    table = ctypes.cast(pointer, ctypes.POINTER(ctypes.c_void_p))[0]
    first = ctypes.cast(table or 0, ctypes.POINTER(ctypes.c_void_p))[0]
    code: int = _Query(first or 0)(pointer, interface, out)
    return code & 0xFFFFFFFF


class ClassObject:
    """Gives objects of one class. It has to be kept as long as COM knows it.

    Args:
        make: makes an object: the address of any of its interfaces, and what keeps it alive until
            it was asked for the interface that is wanted.
    """

    def __init__(self, make: Callable[[], tuple[int, object]]) -> None:
        self._make = make
        self._callbacks: tuple[Any, ...] = (
            _Query(self._query),
            _Count(lambda _this: 2),  # it lives as long as the process wants, whoever counts
            _Count(lambda _this: 1),
            _Create(self._create),
            _Lock(lambda _this, _lock: _OK),
        )
        pointers = [ctypes.cast(one, ctypes.c_void_p) for one in self._callbacks]
        self._table = (ctypes.c_void_p * len(pointers))(*pointers)
        self._object = ctypes.c_void_p(ctypes.addressof(self._table))

    @property
    def pointer(self) -> int:
        """The address of the class object."""
        return ctypes.addressof(self._object)

    def _query(self, this: int, interface: int, out: int) -> int:
        if not out:
            return _signed(_POINTER)
        wanted = UUID(bytes_le=ctypes.string_at(interface, 16))
        ours = wanted in (UNKNOWN, CLASS_FACTORY)
        ctypes.cast(out, ctypes.POINTER(ctypes.c_void_p))[0] = this if ours else None
        return _OK if ours else _signed(_NO_INTERFACE)

    def _create(self, _this: int, outer: int, interface: int, out: int) -> int:
        if not out:
            return _signed(_POINTER)
        ctypes.cast(out, ctypes.POINTER(ctypes.c_void_p))[0] = None
        if outer:
            return _signed(_NO_AGGREGATION)
        try:
            pointer, keeper = self._make()
            code = query(pointer, interface, out)
            del keeper
        except Exception:  # noqa: BLE001 - nothing of Python may reach the caller
            code = _FAILED
        return _signed(code)


def _signed(code: int) -> int:
    return code - (1 << 32) if code & 0x80000000 else code
