"""TOML with the place of every key, which the standard library's parser does not tell."""

from __future__ import annotations

import re
import tomllib
from pathlib import Path

from sashizu_core.documents import DEEPEST, Document, KeyPath, Place
from sashizu_core.errors import ConfigError

__all__ = ["key_places", "read_toml"]

_ERROR_PLACE = re.compile(r" \(at line (\d+), column (\d+)\)$")
_SPACE = re.compile(r"(?:[ \t\r\n]|#[^\n]*)*")
_BLANK = re.compile(r"[ \t]*")
_BARE_KEY = re.compile(r"[A-Za-z0-9_-]+")
_BARE_VALUE = re.compile(r"[^,\]}\n#]+")
_STRINGS = {
    # up to two more quotes at the end belong to the text
    '"""': re.compile(r'"""(?:[^\\]|\\.)*?"""(?:"{0,2})', re.DOTALL),
    "'''": re.compile(r"'''.*?'''(?:'{0,2})", re.DOTALL),
    '"': re.compile(r'"(?:[^"\\]|\\.)*"'),
    "'": re.compile(r"'[^']*'"),
}


def read_toml(text: str, file: Path | None = None) -> Document:
    """Parse TOML.

    Raises:
        ConfigError: it is no TOML; says where.
    """
    try:
        data = tomllib.loads(text)
        places = key_places(text)
    except tomllib.TOMLDecodeError as error:
        raise _syntax_error(str(error), text, file) from error
    except (ValueError, RecursionError) as error:
        raise ConfigError(f"is no TOML: {error}", file=file) from error
    for path, place in places.items():
        if len(path) > DEEPEST:
            message = f"tables are nested deeper than {DEEPEST}"
            raise ConfigError(message, file=file, line=place.line, column=place.column)
    return Document(data, places, file)


def _syntax_error(message: str, text: str, file: Path | None) -> ConfigError:
    if found := _ERROR_PLACE.search(message):
        line, column = int(found[1]), int(found[2])
        message = message[: found.start()]
    else:
        message = message.removesuffix(" (at end of document)")
        lines = text.split("\n")
        line, column = len(lines), len(lines[-1]) + 1
    return ConfigError(f"is no TOML: {message}", file=file, line=line, column=column)


def key_places(text: str) -> dict[KeyPath, Place]:
    """The place of every key, table and list item of a text that is valid TOML."""
    scanner = _Scanner(text)
    scanner.document()
    return scanner.places


class _Scanner:
    """Walks a text that the real parser has accepted, so it need not check anything."""

    def __init__(self, text: str) -> None:
        self.text = text.replace("\r\n", "\n")
        self.at = 0
        self.places: dict[KeyPath, Place] = {}
        self._items: dict[KeyPath, int] = {}
        self._line = 1
        self._line_start = 0
        self._counted = 0

    def document(self) -> None:
        prefix: KeyPath = ()
        while self._skip(_SPACE) < len(self.text):
            if self.text.startswith("[", self.at):
                prefix = self._header()
            else:
                self._pair(prefix)

    def _header(self) -> KeyPath:
        place = self._place()
        is_item = self.text.startswith("[[", self.at)
        self.at += 2 if is_item else 1
        keys = self._keys()
        self.at += 2 if is_item else 1
        path: KeyPath = ()
        for key, _ in keys[:-1]:
            path = (*path, key)
            self.places.setdefault(path, place)
            if path in self._items:
                path = (*path, self._items[path])
        path = (*path, keys[-1][0])
        self.places.setdefault(path, place)
        if is_item:
            self._items[path] = self._items.get(path, -1) + 1
            path = (*path, self._items[path])
            self.places[path] = place
        return path

    def _pair(self, prefix: KeyPath) -> None:
        path = prefix
        for key, place in self._keys():
            path = (*path, key)
            self.places.setdefault(path, place)
        self.at += 1  # the equals sign
        self._skip(_BLANK)
        self._value(path)

    def _keys(self) -> list[tuple[str, Place]]:
        """A dotted key; leaves the position after it and the blanks behind it."""
        keys = []
        while True:
            self._skip(_BLANK)
            place = self._place()
            start = self.at
            quote = self.text[start]
            self._skip(_STRINGS[quote] if quote in "\"'" else _BARE_KEY)
            keys.append((_decoded(self.text[start : self.at]), place))
            self._skip(_BLANK)
            if not self.text.startswith(".", self.at):
                return keys
            self.at += 1

    def _value(self, path: KeyPath) -> None:
        match self.text[self.at]:
            case "[":
                self._list(path)
            case "{":
                self._inline_table(path)
            case '"' | "'" as quote:
                triple = quote * 3
                is_long = self.text.startswith(triple, self.at)
                self._skip(_STRINGS[triple if is_long else quote])
            case _:
                self._skip(_BARE_VALUE)

    def _list(self, path: KeyPath) -> None:
        self.at += 1
        index = 0
        while not self._ends("]"):
            self.places[(*path, index)] = self._place()
            self._value((*path, index))
            index += 1

    def _inline_table(self, path: KeyPath) -> None:
        self.at += 1
        while not self._ends("}"):
            self._pair(path)

    def _ends(self, bracket: str) -> bool:
        self._skip(_SPACE)
        if self.text.startswith(",", self.at):
            self.at += 1
            self._skip(_SPACE)
        if self.text.startswith(bracket, self.at):
            self.at += 1
            return True
        return False

    def _skip(self, pattern: re.Pattern[str]) -> int:
        if found := pattern.match(self.text, self.at):
            self.at = found.end()
        return self.at

    def _place(self) -> Place:
        newlines = self.text.count("\n", self._counted, self.at)
        if newlines:
            self._line += newlines
            self._line_start = self.text.rindex("\n", 0, self.at) + 1
        self._counted = self.at
        return Place(self._line, self.at - self._line_start + 1)


def _decoded(raw: str) -> str:
    if raw[0] in "\"'":
        (key,) = tomllib.loads(f"{raw} = 0")
        return key
    return raw
