"""The types that a `.winmd` file defines, read strictly from its bytes.

The format is ECMA-335, partition II: a PE file (25) whose CLI header leads to the metadata (24).
Only what leads to the table TypeDef is read, and every offset is checked, because files are given
by users.
"""

from __future__ import annotations

import struct
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

from sashizu_core.errors import SashizuError

__all__ = ["LARGEST_FILE", "BadWinmd", "TypeKind", "WinmdType", "types_of"]

LARGEST_FILE = 256 * 1024 * 1024
"""Bytes of a file that are read at most; the largest that Microsoft ships has 25 MB."""

LONGEST_NAME = 1_023
"""Bytes of a name; the format allows no more (II.24.2.2)."""

TypeKind = Literal["class", "interface", "enum", "struct", "delegate", "attribute"]

_MODULE, _TYPE_REF, _TYPE_DEF, _FIELD, _METHOD_DEF = 0x00, 0x01, 0x02, 0x04, 0x06
_MODULE_REF, _TYPE_SPEC, _ASSEMBLY_REF = 0x1A, 0x1B, 0x23
_POINTER_TABLES = (0x03, 0x05)
_CLI_DIRECTORY = 14
_PUBLIC, _VISIBILITY, _INTERFACE, _WINDOWS_RUNTIME = 0x1, 0x7, 0x20, 0x4000
_BASES: Mapping[str, TypeKind] = {
    "System.Enum": "enum",
    "System.ValueType": "struct",
    "System.MulticastDelegate": "delegate",
    "System.Attribute": "attribute",
}


class BadWinmd(SashizuError):
    """A file is not metadata of Windows, or is damaged."""


@dataclass(frozen=True, slots=True)
class WinmdType:
    """One public type of the Windows Runtime. `namespace` is such as `Windows.AI.Actions`."""

    namespace: str
    name: str
    kind: TypeKind

    @property
    def full_name(self) -> str:
        return f"{self.namespace}.{self.name}"


def types_of(content: bytes) -> tuple[WinmdType, ...]:
    """The public Windows Runtime types that a file defines, sorted by name.

    Raises:
        BadWinmd: it is no such file, or anything in it points elsewhere than into it.
    """
    try:
        tables = _Tables(*_streams(content, _metadata_at(content)))
        found = [_type(tables, row) for row in range(tables.counts.get(_TYPE_DEF, 0))]
    except struct.error as error:
        raise BadWinmd(f"the file ends in the middle of its metadata: {error}") from error
    except UnicodeDecodeError as error:
        raise BadWinmd(f"a name in the metadata is not UTF-8: {error}") from error
    return tuple(sorted((one for one in found if one), key=lambda one: one.full_name))


# --- the file -------------------------------------------------------------------------------------


def _metadata_at(content: bytes) -> int:
    """The offset of the metadata, by way of the headers of the PE file."""
    if content[:2] != b"MZ":
        raise BadWinmd("the file is no PE file: it does not begin with 'MZ'")
    (pe,) = struct.unpack_from("<I", content, 0x3C)
    if content[pe : pe + 4] != b"PE\0\0":
        raise BadWinmd("the file is no PE file: it has no PE header")
    sections, optional_size = struct.unpack_from("<2xH12xH", content, pe + 4)
    optional = pe + 24
    (magic,) = struct.unpack_from("<H", content, optional)
    if magic not in (0x10B, 0x20B):
        raise BadWinmd(f"the optional header has the unknown form 0x{magic:X}")
    directories = optional + (96 if magic == 0x10B else 112)
    (count,) = struct.unpack_from("<I", content, directories - 4)
    (cli,) = struct.unpack_from("<I", content, directories + 8 * _CLI_DIRECTORY)
    if count <= _CLI_DIRECTORY or not cli:
        raise BadWinmd("the file holds no metadata: it has no CLI header")
    table = optional + optional_size
    header = _offset(content, table, sections, cli)
    (metadata,) = struct.unpack_from("<I", content, header + 8)
    return _offset(content, table, sections, metadata)


def _offset(content: bytes, table: int, sections: int, address: int) -> int:
    """Where in the file lies what has this address in memory."""
    for index in range(sections):
        size, start, raw_size, raw = struct.unpack_from("<4I", content, table + 40 * index + 8)
        if start <= address < start + max(size, raw_size):
            found = raw + address - start
            if address - start >= raw_size or found >= len(content):
                break
            return int(found)
    raise BadWinmd(f"the address 0x{address:X} lies in no section of the file")


def _streams(content: bytes, root: int) -> tuple[bytes, bytes]:
    """The streams of tables and of strings."""
    signature, length = struct.unpack_from("<I8xI", content, root)
    if signature != 0x424A5342:
        raise BadWinmd("the metadata does not begin with its signature")
    at = root + 16 + length
    (count,) = struct.unpack_from("<2xH", content, at)
    at += 4
    found: dict[bytes, slice] = {}
    for _ in range(count):
        offset, size = struct.unpack_from("<2I", content, at)
        end = content.find(b"\0", at + 8, at + 8 + 32)
        if end < 0 or root + offset + size > len(content):
            raise BadWinmd("a stream of the metadata lies outside of the file")
        found[content[at + 8 : end]] = slice(root + offset, root + offset + size)
        at = end + 4 - (end - at) % 4
    try:
        return content[found[b"#~"]], content[found[b"#Strings"]]
    except KeyError as error:
        raise BadWinmd(f"the metadata has no stream {error.args[0]!r}") from error


# --- the tables -----------------------------------------------------------------------------------


class _Tables:
    """The tables up to TypeDef. Rows count from 0; in indices of the format they count from 1."""

    def __init__(self, tables: bytes, strings: bytes) -> None:
        self._strings = strings
        heaps, valid = struct.unpack_from("<6xBxQ", tables, 0)
        present = [table for table in range(64) if valid >> table & 1]
        if any(table in present for table in _POINTER_TABLES):
            raise BadWinmd("the metadata is not optimised, as that of Windows is")
        self.counts = dict(
            zip(present, struct.unpack_from(f"<{len(present)}I", tables, 24), strict=True)
        )
        text, guid = "I" if heaps & 1 else "H", "I" if heaps & 2 else "H"
        scope = self._coded(_MODULE, _MODULE_REF, _ASSEMBLY_REF, _TYPE_REF)
        base = self._coded(_TYPE_DEF, _TYPE_REF, _TYPE_SPEC)
        field, method = self._index(_FIELD), self._index(_METHOD_DEF)
        module = struct.Struct(f"<H{text}3{guid}")
        self._ref = struct.Struct(f"<{scope}2{text}")
        self._def = struct.Struct(f"<I2{text}{base}{field}{method}")
        refs = 24 + 4 * len(present) + module.size * self.counts.get(_MODULE, 0)
        defs = refs + self._ref.size * self.counts.get(_TYPE_REF, 0)
        end = defs + self._def.size * self.counts.get(_TYPE_DEF, 0)
        if end > len(tables):
            raise BadWinmd("the tables are longer than the file")
        self._tables, self._refs, self._defs = tables, refs, defs

    def type_def(self, row: int) -> tuple[Any, ...]:
        """Flags, name, namespace, base, first field, first method."""
        return self._def.unpack_from(self._tables, self._defs + row * self._def.size)

    def base_name(self, coded: int) -> str:
        """The full name of what a coded index TypeDefOrRef means; empty for none."""
        tag, row = coded & 3, (coded >> 2) - 1
        if row < 0 or tag == 2:
            return ""
        if tag == 3 or row >= self.counts.get((_TYPE_DEF, _TYPE_REF)[tag], 0):
            raise BadWinmd("a type derives from one that is not there")
        if tag == 0:
            _, name, namespace, *_ = self.type_def(row)
        else:
            at = self._refs + row * self._ref.size
            _, name, namespace = self._ref.unpack_from(self._tables, at)
        return f"{self.text(namespace)}.{self.text(name)}"

    def text(self, at: int) -> str:
        """A name of the heap."""
        end = self._strings.find(b"\0", at, at + LONGEST_NAME + 1)
        if end < 0:
            raise BadWinmd("a name has no end, or lies outside of the heap of strings")
        return self._strings[at:end].decode()

    def _index(self, table: int) -> str:
        return "I" if self.counts.get(table, 0) > 0xFFFF else "H"

    def _coded(self, *tables: int) -> str:
        """The form of an index into one of several tables, which two bits tell apart."""
        return "I" if any(self.counts.get(one, 0) >= 1 << 14 for one in tables) else "H"


def _type(tables: _Tables, row: int) -> WinmdType | None:
    flags, name, namespace, base, *_ = tables.type_def(row)
    if flags & _VISIBILITY != _PUBLIC or not flags & _WINDOWS_RUNTIME:
        return None
    kind = "interface" if flags & _INTERFACE else _BASES.get(tables.base_name(base), "class")
    return WinmdType(tables.text(namespace), tables.text(name), kind)
