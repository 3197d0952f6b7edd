"""Reads what Windows would read in a driver, a library or a program for x86-64."""

from __future__ import annotations

import re
import struct
from pathlib import Path

NATIVE_SUBSYSTEM, AMD64 = 1, 0x8664
WANTED = 0x40 | 0x80 | 0x100  # dynamic base, integrity check, no execution of data
WRITE_AND_EXECUTE = 0x80000000 | 0x20000000
EXPORTS, IMPORTS = 0, 1  # their places among the tables that the header names
# Wine's stand-in for what it lacks: it puts two texts into registers, and ends the process.
STUB = re.compile(rb"\x48\x83\xec.\x48\x8d\x0d.{4}\x48\x8d\x15(.{4})\xe8", re.DOTALL)


class Image:
    """The bytes of a file, as they lie in memory once it is loaded.

    Raises:
        ValueError: it is no such file.
    """

    def __init__(self, data: bytes) -> None:
        header = _number(data, 0x3C)
        if data[:2] != b"MZ" or data[header : header + 4] != b"PE\0\0":
            raise ValueError("it is no file that Windows loads")
        self._data = data
        self._optional = header + 24
        self.machine, count = struct.unpack_from("<HH", data, header + 4)
        size, self.flags = struct.unpack_from("<HH", data, header + 20)
        self.subsystem, self.characteristics = struct.unpack_from("<HH", data, header + 92)
        rows = range(self._optional + size, self._optional + size + 40 * count, 40)
        self._sections = [struct.unpack_from("<4I", data, at + 8) for at in rows]
        self.rights = [_number(data, at + 36) for at in rows]

    @classmethod
    def of(cls, path: Path) -> Image:
        return cls(path.read_bytes())

    def imports(self) -> dict[str, list[str]]:
        """What it takes: from which library which names, sorted."""
        taken: dict[str, list[str]] = {}
        at, _ = self._table(IMPORTS)
        while at and (rows := struct.unpack("<5I", self._read(at, 20)))[3]:
            names, place = [], rows[0] or rows[4]
            while entry := struct.unpack("<Q", self._read(place, 8))[0]:
                names.append(f"#{entry & 0xFFFF}" if entry >> 63 else self._text(entry + 2))
                place += 8
            taken[self._text(rows[3])] = sorted(names)
            at += 20
        return taken

    def exports(self) -> dict[str, int]:
        """What it gives: the place of each name."""
        at, _ = self._table(EXPORTS)
        if not at:
            return {}
        count, functions, names, ordinals = struct.unpack("<4I", self._read(at + 24, 16))
        found = {}
        for number in range(count):
            name = self._text(_number(self._read(names + 4 * number, 4), 0))
            (ordinal,) = struct.unpack("<H", self._read(ordinals + 2 * number, 2))
            found[name] = _number(self._read(functions + 4 * ordinal, 4), 0)
        return found

    def stubs(self) -> set[str]:
        """The exports of a file of Wine's which only say their name and end the process."""
        found = set()
        for name, place in self.exports().items():
            code = STUB.match(self._read(place, 32))
            if code and self._text(place + code.end() - 1 + _signed(code[1])) == name:
                found.add(name)
        return found

    def _table(self, number: int) -> tuple[int, int]:
        return struct.unpack_from("<2I", self._data, self._optional + 112 + 8 * number)

    def _read(self, place: int, count: int) -> bytes:
        for size, start, held, at in self._sections:
            if start <= place < start + max(size, held):
                return self._data[at + place - start : at + place - start + count]
        return b""

    def _text(self, place: int) -> str:
        return self._read(place, 256).partition(b"\0")[0].decode("ascii", "replace")


def flaws(image: Image) -> list[str]:
    """What Windows, or a person who cares, would object to in this driver."""
    found = []
    if image.machine != AMD64 or image.subsystem != NATIVE_SUBSYSTEM:
        machine, subsystem = f"machine {image.machine:#x}", f"subsystem {image.subsystem}"
        found.append(f"{machine}, {subsystem}: not a driver for x86-64")
    if image.characteristics & WANTED != WANTED:
        found.append(f"characteristics {image.characteristics:#x} lack some of {WANTED:#x}")
    if image.flags & 1:
        found.append("it cannot be loaded at another address")
    if image.exports():
        found.append("it exports names")
    for number, rights in enumerate(image.rights):
        if rights & WRITE_AND_EXECUTE == WRITE_AND_EXECUTE:
            found.append(f"section {number} can be written and executed")
    return found


def lacking(driver: Image, libraries: Path) -> list[str]:
    """What a driver takes that the libraries of Wine in this folder do not do: `library!name`."""
    missing = []
    for library, names in driver.imports().items():
        path = libraries / library.lower()
        given = Image.of(path) if path.exists() else None
        there = given.exports().keys() - given.stubs() if given else set()
        missing += [f"{library}!{name}" for name in names if name not in there]
    return sorted(missing)


def _number(data: bytes, at: int) -> int:
    return int.from_bytes(data[at : at + 4], "little")


def _signed(four: bytes) -> int:
    return int.from_bytes(four, "little", signed=True)
