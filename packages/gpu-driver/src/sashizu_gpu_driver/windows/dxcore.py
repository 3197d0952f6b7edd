"""The one module that calls DXCore (`dxcore.dll`): what adapters are, and what they tell of use.

Its objects are COM's: a pointer to a table of functions. Source: `dxcore_interface.h` of
Microsoft's DirectX-Headers, and "DXCore" of its documentation. The structures are those of 64 bits.
What an adapter does not tell fails or stays zeros: both are unknown here.
"""

from __future__ import annotations

import ctypes
import sys
import uuid
from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import Any, Literal

from sashizu_core.devices import DeviceError

__all__ = ["Adapter", "Adapters", "Kind", "load"]

Kind = Literal["gpu", "npu"]

_PLATFORM: str = sys.platform  # as text, so that type checkers read what follows everywhere


_WIDE = sys.maxsize > 1 << 32


def _guid(text: str) -> Any:
    return (ctypes.c_uint8 * 16).from_buffer_copy(uuid.UUID(text).bytes_le)


_FACTORY = _guid("78ee5945-c36e-4b13-a669-005dd11c0f06")
_LIST = _guid("526c7776-40e9-459b-b711-f32ad76dfc28")
_ADAPTER = _guid("f0db4c7f-fe5a-42a2-bd62-f2a6cf6fc83e")
_ADAPTER_1 = _guid("a0783366-cfa3-43be-9d79-55b2da97c63c")
_IS_NPU = _guid("d46140c4-add7-451b-9e56-06fe8c3b58ed")
_ABLE_TO = (
    _guid("8c47866b-7583-450d-f0f0-6bada895af4b"),  # graphics with Direct3D 11
    _guid("248e2800-a793-4724-abaa-23a6de1be090"),  # compute with Direct3D 12
    _guid("b71b0d41-1088-422f-a27c-0250b7d3a988"),  # machine learning with Direct3D 12
)

_RELEASE = 2
_CREATE_LIST = 3
_GET_ADAPTER, _COUNT, _IS_STALE = 3, 4, 5
_IS_VALID, _IS_ATTRIBUTE, _GET_PROPERTY, _PROPERTY_SIZE = 3, 4, 6, 7
_QUERY_STATE, _GET_WITH_INPUT = 9, 13
"""Places in the tables of functions: those of IUnknown come first."""

_LUID, _DESCRIPTION, _HARDWARE, _OWN_MEMORY, _IS_HARDWARE, _IS_INTEGRATED = 0, 2, 3, 7, 11, 12
_ENGINES = 16
_USED, _RUNNING, _TEMPERATURE, _ENGINE_CLOCK, _MEMORY_CLOCK = 2, 4, 6, 9, 10
"""DXCoreAdapterProperty and DXCoreAdapterState."""

_MOST_ENGINES = 256
_LONGEST = 4096


class _Pair(ctypes.Structure):
    """Two numbers: a LUID, or a physical adapter with a kind of memory or an engine."""

    _fields_ = (("first", ctypes.c_uint32), ("second", ctypes.c_uint32))


class _EngineTime(ctypes.Structure):
    _fields_ = (("running_us", ctypes.c_uint64), ("succeeded", ctypes.c_uint8))


class _EngineAsked(ctypes.Structure):
    _fields_ = (("engine", _Pair), ("process", ctypes.c_uint32))


class _Usage(ctypes.Structure):
    _fields_ = (("committed", ctypes.c_uint64), ("resident", ctypes.c_uint64))


class _Frequency(ctypes.Structure):
    _fields_ = (
        *(("now", ctypes.c_uint64), ("most", ctypes.c_uint64)),
        ("overclocked", ctypes.c_uint64),
    )


class _Object:
    """One object of COM; given back with `close`, once."""

    def __init__(self, pointer: ctypes.c_void_p) -> None:
        self._pointer = pointer

    def close(self) -> None:
        if self._pointer.value:
            self._call(_RELEASE, ctypes.c_uint32)
            self._pointer = ctypes.c_void_p()

    def _call(self, place: int, answers: Any, *arguments: Any) -> Any:
        table = ctypes.cast(self._pointer, ctypes.POINTER(ctypes.POINTER(ctypes.c_void_p)))
        kinds = [type(one) for one in arguments]
        function = ctypes.CFUNCTYPE(answers, ctypes.c_void_p, *kinds)(table[0][place] or 0)
        return function(self._pointer, *arguments)

    def _good(self, place: int, *arguments: Any) -> bool:
        """Whether a function that answers with a HRESULT succeeded."""
        return int(self._call(place, ctypes.c_int32, *arguments)) >= 0

    def _made(self, place: int, *arguments: Any) -> ctypes.c_void_p | None:
        """The object that a function makes, None where it does not."""
        made = ctypes.c_void_p()
        return made if self._good(place, *arguments, _at(made)) and made.value else None


def _at(one: Any) -> ctypes.c_void_p:
    return ctypes.c_void_p(ctypes.addressof(one))


@dataclass(frozen=True, slots=True)
class _Facts:
    """What does not change while an adapter is there."""

    id: str
    name: str
    vendor: int
    kind: Kind
    integrated: bool
    own_memory: int | None


class Adapter(_Object):
    """A GPU or an NPU. `id` is its LUID as the counters of Windows write it, sizes are bytes."""

    def __init__(self, pointer: ctypes.c_void_p) -> None:
        super().__init__(pointer)
        try:
            self.facts = self._facts()
        except BaseException:
            self.close()
            raise
        self._engines = self._engine_count()

    @property
    def valid(self) -> bool:
        """Whether it is there still."""
        return bool(self._call(_IS_VALID, ctypes.c_bool))

    @property
    def is_hardware(self) -> bool:
        found = self._property(_IS_HARDWARE, ctypes.c_bool())
        return found is None or bool(found.value)

    def used_memory(self) -> int | None:
        """What is resident in the memory of its own."""
        told = self._state(_USED, _Pair(0, 0), _Usage())
        return (
            int(told.resident) if told is not None and (told.committed or told.resident) else None
        )

    def temperature_c(self) -> float | None:
        told = self._state(_TEMPERATURE, ctypes.c_uint32(0), ctypes.c_float())
        return round(float(told.value), 1) if told is not None and told.value > 0 else None

    def core_mhz(self) -> float | None:
        return self._mhz(_ENGINE_CLOCK, _Pair(0, 0))

    def memory_mhz(self) -> float | None:
        return self._mhz(_MEMORY_CLOCK, ctypes.c_uint32(0))

    def running_us(self) -> dict[int, int]:
        """How long each engine has run in all, in microseconds; empty where none tells it."""
        found: dict[int, int] = {}
        for engine in range(self._engines):
            told = self._state(_RUNNING, _EngineAsked(_Pair(0, engine), 0), _EngineTime())
            if told is not None:
                found[engine] = int(told.running_us)
        return found if any(found.values()) else {}

    def _mhz(self, state: int, asked: Any) -> float | None:
        told = self._state(state, asked, _Frequency())
        return told.now / 1e6 if told is not None and told.now else None

    def _facts(self) -> _Facts:
        luid = self._property(_LUID, _Pair())
        if luid is None:
            raise DeviceError("DXCore does not tell the LUID of an adapter")
        hardware = self._property(_HARDWARE, (ctypes.c_uint32 * 4)())
        memory = self._property(_OWN_MEMORY, ctypes.c_uint64())
        integrated = self._property(_IS_INTEGRATED, ctypes.c_bool())
        is_npu = bool(self._call(_IS_ATTRIBUTE, ctypes.c_bool, _at(_IS_NPU)))
        return _Facts(
            id=f"luid-{luid.second:08x}-{luid.first:08x}",
            name=self._description(),
            vendor=0 if hardware is None else int(hardware[0]),
            kind="npu" if is_npu else "gpu",
            integrated=bool(integrated is not None and integrated.value),
            own_memory=int(memory.value) if memory is not None and memory.value else None,
        )

    def _description(self) -> str:
        size = ctypes.c_size_t()
        place = ctypes.c_uint32(_DESCRIPTION)
        if not self._good(_PROPERTY_SIZE, place, _at(size)) or not 0 < size.value <= _LONGEST:
            return ""
        told = self._property(_DESCRIPTION, (ctypes.c_char * size.value)())
        return "" if told is None else bytes(told.value).decode("utf-8", "replace").strip()

    def _engine_count(self) -> int:
        count, first = ctypes.c_uint32(), ctypes.c_uint32(0)
        sizes = (ctypes.c_size_t(ctypes.sizeof(first)), ctypes.c_size_t(ctypes.sizeof(count)))
        asked = (ctypes.c_uint32(_ENGINES), sizes[0], _at(first), sizes[1], _at(count))
        told = self._is_newer and self._good(_GET_WITH_INPUT, *asked)
        return min(count.value, _MOST_ENGINES) if told else 0

    _is_newer = True

    def _property(self, which: int, room: Any) -> Any:
        size = ctypes.c_size_t(ctypes.sizeof(room))
        told = self._good(_GET_PROPERTY, ctypes.c_uint32(which), size, _at(room))
        return room if told else None

    def _state(self, which: int, asked: Any, room: Any) -> Any:
        told = self._good(
            *(_QUERY_STATE, ctypes.c_uint32(which)),
            *(ctypes.c_size_t(ctypes.sizeof(asked)), _at(asked)),
            *(ctypes.c_size_t(ctypes.sizeof(room)), _at(room)),
        )
        return room if told else None


class _OlderAdapter(Adapter):
    """One of a Windows whose adapters have no properties of engines."""

    _is_newer = False


class _List(_Object):
    def adapters(self) -> Iterator[Adapter]:
        for number in range(self._call(_COUNT, ctypes.c_uint32)):
            place = ctypes.c_uint32(number)
            for kind, made in ((_ADAPTER_1, Adapter), (_ADAPTER, _OlderAdapter)):
                pointer = self._made(_GET_ADAPTER, place, _at(kind))
                if pointer is not None:
                    with suppress(DeviceError):  # one without a name of its own; the others go on
                        yield made(pointer)
                    break

    @property
    def stale(self) -> bool:
        return bool(self._call(_IS_STALE, ctypes.c_bool))


class Adapters(_Object):
    """All adapters of this machine that are hardware."""

    def __init__(self, library: Any) -> None:
        """Ask `library`, which is dxcore.dll or speaks as it does.

        Raises:
            DeviceError: it gives nothing.
        """
        factory = ctypes.c_void_p()
        library.DXCoreCreateAdapterFactory.restype = ctypes.c_int32
        status = library.DXCoreCreateAdapterFactory(_at(_FACTORY), _at(factory)) & 0xFFFFFFFF
        if status & 0x80000000 or not factory.value:
            raise DeviceError(f"DXCoreCreateAdapterFactory: error 0x{status:08X}")
        super().__init__(factory)
        self._lists: list[_List] = []
        self._known: dict[str, Adapter] = {}

    def present(self) -> Sequence[Adapter]:
        """Those that are there now, each once."""
        there = all(one.valid for one in self._known.values())
        if not self._lists or not there or any(one.stale for one in self._lists):
            self._forget()
            self._look()
        return list(self._known.values())

    def close(self) -> None:
        self._forget()
        super().close()

    def _look(self) -> None:
        for able_to in _ABLE_TO:
            asked = (ctypes.c_uint32(1), _at(able_to), _at(_LIST))
            pointer = self._made(_CREATE_LIST, *asked)
            if pointer is None:
                continue  # an older Windows does not know it
            found = _List(pointer)
            self._lists.append(found)
            for adapter in found.adapters():
                if adapter.is_hardware and adapter.facts.id not in self._known:
                    self._known[adapter.facts.id] = adapter
                else:
                    adapter.close()

    def _forget(self) -> None:
        for one in (*self._known.values(), *self._lists):
            one.close()
        self._known, self._lists = {}, []


def load() -> Adapters:
    """Those of this machine.

    Raises:
        DeviceError: this is not Windows, or one without DXCore, or a Python of 32 bits.
    """
    if _PLATFORM != "win32":
        raise DeviceError(f"DXCore is on Windows; this is {_PLATFORM}")
    if not _WIDE:
        raise DeviceError("DXCore is asked by a Python of 64 bits; this one has 32")
    try:
        library: Any = getattr(ctypes, "WinDLL")("dxcore")  # noqa: B009 - only Windows has it
        return Adapters(library)
    except (OSError, AttributeError) as error:
        raise DeviceError(f"dxcore.dll cannot be used: {error}") from error
