"""COM objects whose methods are Python's, over the true binary interface of the Windows Runtime.

Which interfaces a class has, their identities, slots and parameters is read from `abi.json`. A
fake component is a Python class: properties of Windows are its attributes, methods are methods,
both in the spelling of Python (`get_ActionCatalog` is `action_catalog`, `InvokeAsync` is
`invoke_async`). Runs on a Windows CPython.
"""

from __future__ import annotations

import ctypes
import json
import re
import threading
import traceback
import uuid
import winreg
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, ClassVar

ABI: dict[str, Any] = json.loads((Path(__file__).parent / "abi.json").read_text("utf-8"))
ABI["interfaces"]["IActivationFactory"] = {
    "id": "00000035-0000-0000-c000-000000000046",
    "slots": {"6": ["ActivateInstance", "out object"]},
}
ABI["interfaces"]["IClassFactory"] = {"id": "00000001-0000-0000-c000-000000000046", "slots": {}}
CLASSES_KEY = r"Software\Microsoft\WindowsRuntime\ActivatableClassId"
NOT_REGISTERED, NOT_IMPLEMENTED, UNEXPECTED = 0x80040154, 0x80004001, 0x8000FFFF
CANCELLED = 0x800704C7
_LOCAL_SERVER, _MANY = 4, 1  # kinds of servers of COM, and how often one may be used
STARTED, COMPLETED, CANCELED, ERROR = range(4)

_SIMPLE: dict[str, Any] = {
    "bool": ctypes.c_ubyte,
    "u8": ctypes.c_ubyte,
    "i16": ctypes.c_int16,
    "u16": ctypes.c_uint16,
    "i32": ctypes.c_int32,
    "u32": ctypes.c_uint32,
    "i64": ctypes.c_int64,
    "u64": ctypes.c_uint64,
    "f32": ctypes.c_float,
    "f64": ctypes.c_double,
    "hresult": ctypes.c_int32,
    "enum": ctypes.c_int32,
    "token": ctypes.c_int64,
    "time": ctypes.c_int64,
    "span": ctypes.c_int64,
    "struct": ctypes.c_uint64,  # that of a window is the only one that is given
}
_combase = ctypes.WinDLL("combase")
_ole32 = ctypes.WinDLL("ole32")
_combase.WindowsGetStringRawBuffer.restype = ctypes.c_wchar_p
_combase.WindowsGetStringRawBuffer.argtypes = (ctypes.c_void_p, ctypes.c_void_p)
_combase.WindowsCreateString.argtypes = (ctypes.c_wchar_p, ctypes.c_uint32, ctypes.c_void_p)
_combase.WindowsDeleteString.argtypes = (ctypes.c_void_p,)
_ole32.CoRegisterClassObject.argtypes = (
    *(ctypes.c_char_p, ctypes.c_void_p, ctypes.c_uint32),
    *(ctypes.c_uint32, ctypes.c_void_p),
)
_ole32.CoTaskMemAlloc.restype = ctypes.c_void_p
_ole32.CoTaskMemAlloc.argtypes = (ctypes.c_size_t,)


class Failure(Exception):
    """What a method fails with, as Windows would see it."""

    def __init__(self, code: int) -> None:
        super().__init__(f"0x{code:08X}")
        self.code = code


@dataclass
class Later:
    """What an asynchronous method gives in the end: a value, an HRESULT, or nothing for ever.

    `pieces` are told as progress before. `fails` is the HRESULT of the operation, 0 for none.
    """

    value: Any = None
    pieces: Sequence[Any] = ()
    fails: int = 0
    hangs: bool = False
    cancelled: threading.Event = field(default_factory=threading.Event)


class Component:
    """An object that Windows can call.

    `of` is the name of its class; `without` are interfaces that it lacks, as an older build does;
    `moved` are slots that are in another place, as they never may be; `failing` are HRESULTs by
    the names of methods.
    """

    of: ClassVar[str] = ""

    def __init__(
        self,
        *,
        interfaces: Iterable[str] = (),
        without: Iterable[str] = (),
        moved: Mapping[int, int] | None = None,
    ) -> None:
        names = list(interfaces) or list(ABI["classes"][self.of]["interfaces"])
        self.faces = [name for name in dict.fromkeys(names) if name not in set(without)]
        self.failing: dict[str, int] = {}
        ids = b"".join(uuid.UUID(ABI["interfaces"][one]["id"]).bytes_le for one in self.faces)
        self._object = _library().component_new(self.of, len(self.faces), ids)
        for at, face in enumerate(self.faces):
            pointer = _library().component_face(self._object, at)
            _by_face[pointer] = self
            for slot, method in ABI["interfaces"][face]["slots"].items():
                thunk = _thunk(face, int(slot), tuple(method))
                place = (moved or {}).get(int(slot), int(slot))
                assert _library().component_slot(self._object, at, place, thunk)

    def face(self, name: str) -> int:
        """The pointer to one of its interfaces, for which whoever gets it has a reference."""
        if name not in self.faces:
            raise Failure(0x80004002)
        pointer: int = _library().component_face(self._object, self.faces.index(name))
        _method(pointer, 1)(pointer)
        return pointer

    def capsule(self) -> Any:
        """As the projections take a pointer that is not from a call of theirs."""
        make = ctypes.pythonapi.PyCapsule_New
        make.restype = ctypes.py_object
        make.argtypes = (ctypes.c_void_p, ctypes.c_char_p, ctypes.c_void_p)
        return make(self.face(self.faces[0]), b"winrt.interface", None)

    @property
    def held(self) -> int:
        """How many references others have."""
        return int(_library().component_references(self._object)) - 1


class Windows:
    """The components that the Windows Runtime finds. One for each process.

    `faults` are exceptions of fakes which are none that they mean.
    """

    def __init__(self, library: Path) -> None:
        self.path = library
        self.library = ctypes.WinDLL(str(library))
        for name in ("component_new", "component_face"):
            getattr(self.library, name).restype = ctypes.c_void_p
        self.library.component_new.argtypes = (ctypes.c_wchar_p, ctypes.c_int, ctypes.c_char_p)
        self.library.component_face.argtypes = (ctypes.c_void_p, ctypes.c_int)
        self.library.component_references.argtypes = (ctypes.c_void_p,)
        slot = (ctypes.c_void_p, ctypes.c_int, ctypes.c_int, ctypes.c_void_p)
        self.library.component_slot.argtypes = self.library.component_plain.argtypes = slot
        self.factories: dict[str, Component] = {}
        self.faults: list[str] = []
        self._found = ctypes.WINFUNCTYPE(ctypes.c_long, ctypes.c_wchar_p, ctypes.c_void_p)(
            self._find
        )
        self.library.component_factories(self._found)

    def serve(self, factory: Component) -> None:
        """Have Windows find the class, which is written into the registry."""
        with winreg.CreateKey(winreg.HKEY_LOCAL_MACHINE, f"{CLASSES_KEY}\\{factory.of}") as key:
            winreg.SetValueEx(key, "DllPath", 0, winreg.REG_SZ, str(self.path))
            for name in ("ActivationType", "Threading", "TrustLevel"):
                winreg.SetValueEx(key, name, 0, winreg.REG_DWORD, 0)
        self.factories[factory.of] = factory

    def remove(self) -> None:
        """Have Windows find none of the classes any more."""
        for name in self.factories:
            winreg.DeleteKey(winreg.HKEY_LOCAL_MACHINE, f"{CLASSES_KEY}\\{name}")
        self.factories.clear()

    def _find(self, name: str, out: int) -> int:
        factory = self.factories.get(name)
        if factory is None:
            return _signed(NOT_REGISTERED)
        _write(out, ctypes.c_void_p, factory.face("IActivationFactory"))
        return 0


class Factory(Component):
    """What a class is made by: its static methods, and `make` for one without arguments."""

    def __init__(self, of: str, make: Callable[[], Component] | None = None) -> None:
        self.of = of  # type: ignore[misc] - one class of Python for all those of Windows
        names = ["IActivationFactory", *ABI["classes"][of]["factories"]]
        super().__init__(interfaces=names)
        self._make = make

    def activate_instance(self) -> Component:
        if self._make is None:
            raise Failure(NOT_IMPLEMENTED)
        return self._make()


class Operation(Component):
    """An asynchronous operation that has begun."""

    def __init__(self, face: str, later: Later) -> None:
        super().__init__(interfaces=(face, "Windows.Foundation.IAsyncInfo"))
        self._face = face
        self._later = later
        self._progress = self._completed = 0
        self.id, self.status = 1, STARTED
        self.error_code = 0

    @property
    def progress(self) -> int:
        return self._progress

    @progress.setter
    def progress(self, handler: int) -> None:
        self._progress = _kept(handler)

    @property
    def completed(self) -> int:
        return self._completed

    @completed.setter
    def completed(self, handler: int) -> None:
        self._completed = _kept(handler)
        if not self._later.hangs:
            threading.Thread(target=self._end, daemon=True).start()

    def _end(self) -> None:
        for piece in self._later.pieces:
            if self.status != STARTED:
                return
            if self._progress:
                _tell_progress(self._progress, self.face(self._face), piece)
        self._finish(ERROR if self._later.fails else COMPLETED, self._later.fails)

    def _finish(self, status: int, code: int) -> None:
        if self.status != STARTED:
            return
        self.status, self.error_code = status, _signed(code)
        if self._completed:
            tell = _method(self._completed, 3, ctypes.c_void_p, ctypes.c_int32)
            sender = self.face(self._face)
            tell(self._completed, sender, status)
            _method(sender, 2)(sender)
        for handler in filter(None, (self._completed, self._progress)):
            _method(handler, 2)(handler)
        self._completed = self._progress = 0

    def get_results(self) -> Any:
        if self.status == STARTED:
            raise Failure(0x8000000E)  # an illegal method call
        if self.error_code:
            raise Failure(self.error_code & 0xFFFFFFFF)
        return self._later.value

    def cancel(self) -> None:
        self._later.cancelled.set()
        self._finish(CANCELED, CANCELLED)

    def close(self) -> None:
        """There is nothing to close."""


_windows: list[Windows] = []
_by_face: dict[int, Component] = {}
_thunks: dict[tuple[Any, ...], Any] = {}


def plain_pointer(component: Component, slot: int, call: Callable[..., int], *types: Any) -> Any:
    """Put a function into a slot of an interface of plain COM; what is given keeps it alive.

    `call` gets what comes after the pointer to the object.
    """

    def enter(_this: int, *given: Any) -> int:
        return call(*given)

    made = ctypes.WINFUNCTYPE(ctypes.c_long, ctypes.c_void_p, *types)(enter)
    _library().component_plain(component._object, 0, slot, made)
    return made


@contextmanager
def plain_class(clsid: uuid.UUID, make: Callable[[], int]) -> Iterator[None]:
    """Register a server of COM: a class object, whose `CreateInstance` is in slot 3.

    `make` gives a pointer that is whose it is given to, or raises `Failure`.
    """
    server = Component(interfaces=["IClassFactory"])

    def create(_outer: int, _interface: int, out: int) -> int:
        try:
            _write(out, ctypes.c_void_p, make())
        except Failure as failure:
            return _signed(failure.code)
        return 0

    pointer = ctypes.c_void_p
    kept = [plain_pointer(server, 3, create, pointer, pointer, pointer)]
    kept += [plain_pointer(server, 4, lambda _lock: 0, ctypes.c_int)]
    cookie = ctypes.c_uint32()
    words = (clsid.bytes_le, server.face("IClassFactory"), _LOCAL_SERVER, _MANY)
    code = _ole32.CoRegisterClassObject(*words, ctypes.byref(cookie))
    assert code == 0, hex(code & 0xFFFFFFFF)
    try:
        yield
    finally:
        _ole32.CoRevokeClassObject(cookie)
        kept.clear()


def windows(library: Path) -> Windows:
    """The one of this process; the library of the first call stays."""
    if not _windows:
        _windows.append(Windows(library))
    return _windows[0]


def _library() -> Any:
    return _windows[0].library


def _thunk(face: str, slot: int, method: tuple[str, ...]) -> Any:
    """The function of C that stands in a slot: it finds the object by its pointer."""
    if (made := _thunks.get((face, slot))) is not None:
        return made
    name, parameters = method[0], [_Parameter(word) for word in method[1:]]
    types = [one for parameter in parameters for one in parameter.types]
    prototype = ctypes.WINFUNCTYPE(ctypes.c_long, ctypes.c_void_p, *types)

    def call(this: int, *given: Any) -> int:
        try:
            _carry_out(_by_face[this], name, parameters, list(given))
        except Failure as failure:
            return _signed(failure.code)
        except Exception:  # noqa: BLE001 - C is no place for it; the test is told
            _windows[0].faults.append(traceback.format_exc())
            return _signed(UNEXPECTED)
        return 0

    _thunks[face, slot] = prototype(call)
    return _thunks[face, slot]


def _carry_out(
    component: Component, name: str, parameters: list[_Parameter], given: list[Any]
) -> None:
    inputs: list[Any] = []
    outputs: list[tuple[_Parameter, list[Any]]] = []
    for parameter in parameters:
        own = [given.pop(0) for _ in parameter.types]
        if parameter.out:
            outputs.append((parameter, own))
        else:
            inputs.append(parameter.read(own))
    if code := component.failing.get(name):
        raise Failure(code)
    result = _asked(component, name, inputs)
    for parameter, own in outputs:
        parameter.write(own, result)


def _asked(component: Component, name: str, inputs: list[Any]) -> Any:
    if name.startswith("get_"):
        return getattr(component, _spelled(name[4:]))
    if name.startswith("put_"):
        return setattr(component, _spelled(name[4:]), *inputs)
    return getattr(component, _spelled(name))(*inputs)


def _spelled(name: str) -> str:
    name = "create" if name == ".ctor" else name
    return re.sub(r"(?<=[a-z0-9])(?=[A-Z])", "_", name).lower()


class _Parameter:
    """One parameter of a method, and how it crosses the border."""

    def __init__(self, word: str) -> None:
        self._way, self._code, *named = word.split(" ", 2)
        self._face = _default_face(named[0]) if named else ""
        self._simple = _SIMPLE.get(self._code, ctypes.c_void_p)
        self.out = self._way.startswith("out")
        self.types: list[Any] = [self._simple if self._way == "in" else ctypes.c_void_p]
        if self._way in ("in-array", "out-array"):
            self.types.insert(0, ctypes.c_void_p if self.out else ctypes.c_uint32)

    def read(self, given: list[Any]) -> Any:
        if self._way == "in":
            return self._value(given[0])
        count, first = given
        values = ctypes.cast(first, ctypes.POINTER(self._simple))
        return [self._value(values[at]) for at in range(count)]

    def write(self, given: list[Any], result: Any) -> None:
        if self._way == "out":
            _write(given[0], self._simple, self._encoded(result))
            return
        width = ctypes.sizeof(self._simple)
        memory = _ole32.CoTaskMemAlloc(max(width * len(result), 1))
        for at, one in enumerate(result):
            _write(memory + at * width, self._simple, self._encoded(one))
        _write(given[0], ctypes.c_uint32, len(result))
        _write(given[1], ctypes.c_void_p, memory)

    def _value(self, raw: Any) -> Any:
        if self._code == "string":
            return _combase.WindowsGetStringRawBuffer(raw, None) or ""
        if self._code == "bool":
            return bool(raw)
        if self._code in ("class", "interface", "object", "generic"):
            return _by_face.get(raw, raw)
        return raw

    def _encoded(self, value: Any) -> Any:
        if self._code == "string":
            return string(value)
        if isinstance(value, Later):
            value = Operation(self._face, value)
        if isinstance(value, Component):
            return value.face(self._face or value.faces[0])
        if self._code == "hresult":
            return _signed(value)
        return value


def string(text: str) -> int | None:
    """A string of Windows; whoever gets it frees it."""
    made = ctypes.c_void_p()
    length = len(text.encode("utf-16-le", "surrogatepass")) // 2
    _combase.WindowsCreateString(text, length, ctypes.byref(made))
    return made.value


def _default_face(name: str) -> str:
    found = ABI["classes"].get(name)
    return found["interfaces"][0] if found else name


def _method(pointer: int, slot: int, *types: Any) -> Callable[..., int]:
    """A method of somebody else's object, by its slot. It takes the pointer first."""
    table = ctypes.cast(pointer, ctypes.POINTER(ctypes.POINTER(ctypes.c_void_p)))[0]
    return ctypes.WINFUNCTYPE(ctypes.c_long, ctypes.c_void_p, *types)(table[slot])


def _kept(handler: int) -> int:
    """A handler that stays after the call that gave it."""
    _method(handler, 1)(handler)
    return handler


def _tell_progress(handler: int, sender: int, piece: Any) -> None:
    if isinstance(piece, str):
        made = string(piece)
        _method(handler, 3, ctypes.c_void_p, ctypes.c_void_p)(handler, sender, made)
        _combase.WindowsDeleteString(made)
    else:
        _method(handler, 3, ctypes.c_void_p, ctypes.c_double)(handler, sender, piece)
    _method(sender, 2)(sender)


def _write(address: int, kind: Any, value: Any) -> None:
    ctypes.cast(address, ctypes.POINTER(kind))[0] = kind(value)


def _signed(code: int) -> int:
    return code - (1 << 32) if code & 0x80000000 and code > 0 else code
