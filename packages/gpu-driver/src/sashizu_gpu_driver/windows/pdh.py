"""The one module that calls Windows' performance counters (`pdh.dll`).

Source: "Performance Counters" of Microsoft's documentation of Win32. The structures are those of
64-bit Windows.
"""

from __future__ import annotations

import ctypes
import sys
from typing import Any

from sashizu_core.devices import DeviceError

__all__ = ["PATHS", "Counters"]

PATHS = {
    "engine": r"\GPU Engine(*)\Utilization Percentage",
    "adapter": r"\GPU Adapter Memory(*)\Dedicated Usage",
    "process": r"\GPU Process Memory(*)\Dedicated Usage",
}

_PLATFORM: str = sys.platform  # as text, so that type checkers read what follows everywhere

_DOUBLE = 0x200
_NO_CAP = 0x8000
_MORE_DATA = 0x800007D2


class _Item(ctypes.Structure):
    """`PDH_FMT_COUNTERVALUE_ITEM_W`, with its number as a double."""

    _fields_ = (
        ("name", ctypes.c_wchar_p),
        ("status", ctypes.c_uint32),
        ("value", ctypes.c_double),
    )


class Counters:
    """What Windows counts of GPUs, since it was last asked.

    Raises:
        DeviceError: this is not Windows, or one that counts nothing of GPUs.
    """

    def __init__(self) -> None:
        if _PLATFORM != "win32":
            raise DeviceError(f"Windows' counters are on Windows; this is {_PLATFORM}")
        self._pdh: Any = getattr(ctypes, "WinDLL")("pdh")  # noqa: B009 - only Windows has it
        self._query = ctypes.c_void_p()
        self._called("PdhOpenQueryW", None, 0, ctypes.byref(self._query))
        self._handles: dict[str, ctypes.c_void_p] = {}
        for name, path in PATHS.items():
            handle = ctypes.c_void_p()
            self._called(
                "PdhAddEnglishCounterW",
                self._query,
                ctypes.c_wchar_p(path),
                ctypes.c_void_p(),
                ctypes.byref(handle),
            )
            self._handles[name] = handle

    def collect(self) -> dict[str, list[tuple[str, float]]]:
        """Values by the name of the instance, for each of `PATHS`; empty before the second time.

        Raises:
            DeviceError: Windows did not answer.
        """
        self._called("PdhCollectQueryData", self._query)
        return {name: self._values(handle) for name, handle in self._handles.items()}

    def close(self) -> None:
        self._pdh.PdhCloseQuery(self._query)

    def _called(self, name: str, *arguments: Any) -> None:
        status = getattr(self._pdh, name)(*arguments) & 0xFFFFFFFF
        if status:
            raise DeviceError(f"{name}: error 0x{status:08X}")

    def _values(self, handle: ctypes.c_void_p) -> list[tuple[str, float]]:
        size, count = ctypes.c_uint32(), ctypes.c_uint32()
        ask = self._pdh.PdhGetFormattedCounterArrayW
        format_ = ctypes.c_uint32(_DOUBLE | _NO_CAP)
        status = ask(handle, format_, ctypes.byref(size), ctypes.byref(count), None) & 0xFFFFFFFF
        if status != _MORE_DATA:
            return []  # nothing is counted, or a rate has been looked at only once
        room = ctypes.create_string_buffer(size.value)
        status = ask(handle, format_, ctypes.byref(size), ctypes.byref(count), room) & 0xFFFFFFFF
        if status:
            return []
        items = ctypes.cast(room, ctypes.POINTER(_Item))
        return [
            (items[place].name, items[place].value)
            for place in range(count.value)
            if items[place].status in (0, 1) and items[place].name
        ]
