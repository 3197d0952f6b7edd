"""Makes everything that repeats `include/sashizu_driver.h`, which is the only definition.

    python packages/gpu-driver/native/generate.py            write what differs
    python packages/gpu-driver/native/generate.py --check    name it instead; exit code 1 if any

Written are the layout assertions in the header itself, the ctypes module of the Python client, and
`vectors.json`: sizes, offsets, codes of both systems, and frames as bytes.
"""

from __future__ import annotations

import json
import re
import struct
import sys
from dataclasses import dataclass
from pathlib import Path

HERE = Path(__file__).resolve().parent
HEADER = HERE / "include" / "sashizu_driver.h"
MODULE = HERE.parent / "src" / "sashizu_gpu_driver" / "native" / "abi.py"
VECTORS = HERE / "vectors.json"

SCALARS = {  # C name: (ctypes name, struct letter, bytes)
    "uint8_t": ("c_uint8", "B", 1),
    "uint32_t": ("c_uint32", "I", 4),
    "int32_t": ("c_int32", "i", 4),
    "uint64_t": ("c_uint64", "Q", 8),
}
ACCESS = {"READ": 1, "WRITE": 2, "BOTH": 3}
COMMENT = re.compile(r"/\*.*?\*/", re.DOTALL)
DEFINE = re.compile(r"^#define SASHIZU_([A-Z0-9_]+) (0x[0-9A-F]+U|\d+U|\"[^\"]*\")$", re.MULTILINE)
STRUCT = re.compile(r"^struct sashizu_(\w+) \{\n(.*?)^\};$", re.DOTALL | re.MULTILINE)
FIELD = re.compile(r"(struct sashizu_\w+|\w+) (\w+)(?:\[(\d+)\])?")
TABLE = re.compile(r"^#define SASHIZU_(FUNCTIONS|STATUSES)\(X\) \\\n((?:\tX\(.*\n)+)", re.MULTILINE)
LAYOUT = re.compile(r"(/\* LAYOUT BEGIN \*/\n).*?(/\* LAYOUT END \*/)", re.DOTALL)


FUNCTION = """

class Function(int):
    \"\"\"A function. The number itself is its code on Linux, so that a call looks nothing up.\"\"\"

    windows: int
    name: str

    def __new__(cls, linux: int, windows: int, name: str) -> Self:
        made = super().__new__(cls, linux)
        made.windows, made.name = windows, name
        return made

"""


class Malformed(Exception):
    """The header says something that this generator, or its own rules, do not allow."""


@dataclass(frozen=True, slots=True)
class Field:
    name: str
    kind: str  # a scalar of `SCALARS` or the name of a struct
    count: int | None  # None: not an array
    offset: int


@dataclass(frozen=True, slots=True)
class Struct:
    name: str
    fields: tuple[Field, ...]
    size: int
    align: int


@dataclass(frozen=True, slots=True)
class Function:
    name: str
    number: int
    access: str
    layout: str


@dataclass(frozen=True, slots=True)
class Status:
    name: str
    number: int
    error: int
    ntstatus: int
    win32: int


@dataclass(frozen=True, slots=True)
class Interface:
    constants: dict[str, int | str]
    structs: dict[str, Struct]
    functions: tuple[Function, ...]
    statuses: tuple[Status, ...]

    def linux_code(self, function: Function) -> int:
        size = self.structs[function.layout].size
        return 3 << 30 | size << 16 | self.number("LINUX_TYPE") << 8 | function.number

    def windows_code(self, function: Function) -> int:
        access = ACCESS[function.access] << 14
        number = (self.number("WINDOWS_BASE") + function.number) << 2
        return self.number("WINDOWS_TYPE") << 16 | access | number

    def number(self, name: str) -> int:
        value = self.constants[name]
        assert isinstance(value, int)
        return value


def read(text: str) -> Interface:
    """The interface that this header defines.

    Raises:
        Malformed: A hole, an unknown type, a wrong beginning, a number used twice.
    """
    tables = {name: _rows(rows) for name, rows in TABLE.findall(text)}
    plain = COMMENT.sub("", text)
    structs: dict[str, Struct] = {}
    for name, body in STRUCT.findall(plain):
        structs[name] = _struct(name, body, structs)
    functions = tuple(Function(n, int(i), a, s) for n, i, a, s in tables["FUNCTIONS"])
    statuses = tuple(
        Status(n, int(i), int(e), int(nt, 16), int(w)) for n, i, e, nt, w in tables["STATUSES"]
    )
    for what in (functions, statuses):
        if [one.number for one in what] != list(range(len(what))):
            raise Malformed("numbers are not 0, 1, 2, ...")
    for function in functions:
        _check_call(function, structs)
    constants = {name: _constant(value) for name, value in DEFINE.findall(plain)}
    return Interface(constants, structs, functions, statuses)


def _rows(text: str) -> list[list[str]]:
    return [re.split(r",\s*", row) for row in re.findall(r"X\((.*?)\)", text)]


def _constant(text: str) -> int | str:
    return text[1:-1].replace("\\\\", "\\") if text.startswith('"') else int(text.rstrip("U"), 0)


def _struct(name: str, body: str, known: dict[str, Struct]) -> Struct:
    fields, at, widest = [], 0, 1
    for statement in filter(None, (part.strip() for part in body.split(";"))):
        found = FIELD.fullmatch(statement)
        if found is None:
            raise Malformed(f"struct {name}: {statement!r} is not 'type name' or 'type name[n]'")
        kind = found[1].removeprefix("struct sashizu_")
        if kind not in SCALARS and kind not in known:
            raise Malformed(f"struct {name}: {kind} is no fixed-width type and no known struct")
        size, align = _measure(kind, known)
        if at % align:
            raise Malformed(f"struct {name}: a hole before {found[2]}")
        count = int(found[3]) if found[3] else None
        fields.append(Field(found[2], kind, count, at))
        at, widest = at + size * (count or 1), max(widest, align)
    if at % widest:
        raise Malformed(f"struct {name}: a hole at its end")
    return Struct(name, tuple(fields), at, widest)


def _measure(kind: str, structs: dict[str, Struct]) -> tuple[int, int]:
    if kind in SCALARS:
        return SCALARS[kind][2], SCALARS[kind][2]
    return structs[kind].size, structs[kind].align


def _check_call(function: Function, structs: dict[str, Struct]) -> None:
    if function.access not in ACCESS:
        raise Malformed(f"{function.name}: {function.access} is no access")
    if function.layout not in structs:
        raise Malformed(f"{function.name}: there is no struct {function.layout}")
    start = [(field.name, field.kind) for field in structs[function.layout].fields[:2]]
    if start != [("size", "uint32_t"), ("abi", "uint32_t")]:
        raise Malformed(f"struct {function.layout} does not begin with size and abi")


def with_layout(text: str, interface: Interface) -> str:
    """The header with its layout assertions brought up to date."""
    lines = []
    for name, one in interface.structs.items():
        lines.append(f"SASHIZU_SIZE({name}, {one.size});\n")
        lines += [f"SASHIZU_AT({name}, {field.name}, {field.offset});\n" for field in one.fields]
    return LAYOUT.sub(lambda found: found[1] + "".join(lines) + found[2], text)


def module(interface: Interface) -> str:
    """The Python module: constants, functions, statuses, ctypes structures."""
    parts = [
        '"""The interface of the driver, made by `native/generate.py` from the C header."""\n',
        "from __future__ import annotations\n",
        "from ctypes import LittleEndianStructure, c_int32, c_uint8, c_uint32, c_uint64",
        "from enum import IntEnum",
        "from typing import Final, Self\n",
    ]
    for name, value in interface.constants.items():
        text = _hex(value) if isinstance(value, int) else json.dumps(value)
        parts.append(f"{name}: Final = {text}")
    parts.append(FUNCTION)
    for function in interface.functions:
        codes = f"{_hex(interface.linux_code(function))}, {_hex(interface.windows_code(function))}"
        parts.append(f'{function.name}: Final = Function({codes}, "{function.name}")')
    parts.append("\n\nclass Status(IntEnum):")
    parts += [f"    {status.name} = {status.number}" for status in interface.statuses]
    for label, column in (("ERRNO", "error"), ("WIN32", "win32")):
        parts.append(f"\n\n{label}: Final = {{")
        parts += [
            f"    {getattr(status, column)}: Status.{status.name}," for status in interface.statuses
        ]
        parts.append("}")
    parts += [_class(one) for one in interface.structs.values()]
    return "\n".join(parts).replace("}\n\n\nWIN32", "}\n\nWIN32") + "\n"


def _hex(value: int) -> str:
    return f"0x{value:X}"


def _class(one: Struct) -> str:
    lines = [f"\n\nclass {_camel(one.name)}(LittleEndianStructure):", "    _fields_ = ("]
    for field in one.fields:
        kind = SCALARS[field.kind][0] if field.kind in SCALARS else _camel(field.kind)
        kind += f" * {field.count}" if field.count else ""
        lines.append(f'        ("{field.name}", {kind}),')
    return "\n".join([*lines, "    )"])


def _camel(name: str) -> str:
    return "".join(part.title() for part in name.split("_"))


def vectors(interface: Interface) -> str:
    """Sizes, places, codes, and for each function a frame in which every byte tells its place."""
    document = {
        "abi": interface.number("ABI"),
        "structs": {
            one.name: {
                "size": one.size,
                "offsets": {field.name: field.offset for field in one.fields},
            }
            for one in interface.structs.values()
        },
        "functions": {
            function.name: {
                "number": function.number,
                "struct": function.layout,
                "linux": interface.linux_code(function),
                "windows": interface.windows_code(function),
                "frame": _frame(interface, function.layout).hex(),
                "values": _values(interface, function.layout),
            }
            for function in interface.functions
        },
        "statuses": {
            status.name: [status.number, status.error, status.ntstatus, status.win32]
            for status in interface.statuses
        },
    }
    return json.dumps(document, indent=1) + "\n"


def _values(interface: Interface, name: str) -> dict[str, int | list[int]]:
    """For each scalar a number that no other has; arrays of structs are flattened to `a.0.b`."""
    values: dict[str, int | list[int]] = {}

    def fill(one: Struct, prefix: str, base: int) -> None:
        for field in one.fields:
            for at in range(field.count or 1):
                label = f"{prefix}{field.name}" + (f".{at}" if field.count else "")
                size, _ = _measure(field.kind, interface.structs)
                place = base + field.offset + at * size
                if field.kind in SCALARS:
                    values[label] = (place * 0x9E3779B97F4A7C15 + 1) % (1 << (8 * size - 1))
                else:
                    fill(interface.structs[field.kind], f"{label}.", place)

    fill(interface.structs[name], "", 0)
    values["size"], values["abi"] = interface.structs[name].size, interface.number("ABI")
    return values


def _frame(interface: Interface, name: str) -> bytes:
    values = iter(_values(interface, name).values())
    letters: list[str] = []

    def spell(one: Struct) -> None:
        for field in one.fields:
            for _ in range(field.count or 1):
                if field.kind in SCALARS:
                    letters.append(SCALARS[field.kind][1])
                else:
                    spell(interface.structs[field.kind])

    spell(interface.structs[name])
    frame = struct.pack("<" + "".join(letters), *values)
    assert len(frame) == interface.structs[name].size
    return frame


def outputs(header: str) -> dict[Path, str]:
    """What each file should be for this header."""
    interface = read(header)
    return {
        HEADER: with_layout(header, interface),
        MODULE: module(interface),
        VECTORS: vectors(interface),
    }


def main(words: list[str]) -> int:
    if words not in ([], ["--check"]):
        print(__doc__, file=sys.stderr)
        return 2
    stale = 0
    for path, text in outputs(HEADER.read_text("utf-8")).items():
        if path.is_file() and path.read_text("utf-8") == text:
            continue
        stale += 1
        print(f"{'differs' if words else 'written'}: {path.relative_to(HERE.parent)}")
        if not words:
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text, "utf-8")
    return 1 if words and stale else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
