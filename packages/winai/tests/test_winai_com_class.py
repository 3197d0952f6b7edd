"""The class object of COM, asked through its table of functions as Windows asks."""

from __future__ import annotations

import ctypes
from uuid import UUID, uuid4

import pytest
from sashizu_winai.com_class import CLASS_FACTORY, UNKNOWN, ClassObject, guid_bytes, query

CREATE = ctypes.CFUNCTYPE(
    ctypes.c_int32, ctypes.c_void_p, ctypes.c_void_p, ctypes.c_void_p, ctypes.c_void_p
)


def create(pointer: int, interface: UUID, outer: int = 0) -> tuple[int, int | None]:
    """Call the fourth function of the table: the HRESULT, and what was made."""
    table = ctypes.cast(pointer, ctypes.POINTER(ctypes.POINTER(ctypes.c_void_p)))[0]
    out = ctypes.c_void_p(1)
    wanted = guid_bytes(interface)
    code = CREATE(table[3])(pointer, outer, ctypes.addressof(wanted), ctypes.addressof(out))
    return code & 0xFFFFFFFF, out.value


def asked(pointer: int, interface: UUID) -> tuple[int, int | None]:
    out, wanted = ctypes.c_void_p(1), guid_bytes(interface)
    return query(pointer, ctypes.addressof(wanted), ctypes.addressof(out)), out.value


@pytest.mark.parametrize("interface", [UNKNOWN, CLASS_FACTORY])
def test_it_is_what_com_asks_for_and_nothing_else(interface):
    known = ClassObject(lambda: (0, None))

    assert asked(known.pointer, interface) == (0, known.pointer)
    assert asked(known.pointer, uuid4()) == (0x80004002, None)


def test_an_object_is_made_and_asked_for_what_is_wanted():
    made = ClassObject(lambda: (0, None))  # any object of COM will do, and this is one
    known = ClassObject(lambda: (made.pointer, made))

    assert create(known.pointer, UNKNOWN) == (0, made.pointer)
    assert create(known.pointer, uuid4()) == (0x80004002, None)


def test_what_cannot_be_made_is_a_code_and_no_exception():
    def broken():
        raise ValueError("no")

    assert create(ClassObject(broken).pointer, UNKNOWN) == (0x80004005, None)
    aggregated = ClassObject(broken)
    assert create(aggregated.pointer, UNKNOWN, outer=aggregated.pointer) == (0x80040110, None)
