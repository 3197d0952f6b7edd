"""YAML with the place of every key: plain data only, without aliases, tags or surprises."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import yaml
from yaml.constructor import SafeConstructor
from yaml.resolver import Resolver

from sashizu_core.documents import DEEPEST, Document, KeyPath, Place
from sashizu_core.errors import ConfigError

__all__ = ["read_yaml"]

_Parser: Any = getattr(yaml, "CSafeLoader", yaml.SafeLoader)


def read_yaml(text: str, file: Path | None = None, *, first_line: int = 1) -> Document:
    """Parse one YAML document whose top is a map.

    Aliases are refused, because a few lines of them can stand for gigabytes; so are tags, keys that
    are no text, and keys given twice. `first_line` is the line of the file that the text begins in.

    Raises:
        ConfigError: it is no such YAML; says where.
    """
    composer = _Composer(text, file, first_line)
    data = composer.document()
    if not isinstance(data, dict):
        what = "is empty" if data is None else "is no map of keys to values"
        raise ConfigError(what, file=file, line=first_line, column=1)
    return Document(data, composer.places, file)


class _Scalars(SafeConstructor, Resolver):
    """Gives plain text the type that YAML gives it."""

    def __init__(self) -> None:
        SafeConstructor.__init__(self)
        Resolver.__init__(self)

    def value(self, event: Any) -> Any:
        tag = self.resolve(yaml.ScalarNode, event.value, event.implicit)  # type: ignore[no-untyped-call]
        node = yaml.ScalarNode(tag, event.value, event.start_mark, event.end_mark)
        return self.construct_object(node)


class _Composer:
    """Makes data of the parser's events, and remembers where each part began."""

    def __init__(self, text: str, file: Path | None, first_line: int) -> None:
        self._file = file
        self._text = text
        self._first_line = first_line
        self._scalars = _Scalars()
        self.places: dict[KeyPath, Place] = {}

    def document(self) -> Any:
        parser = None
        try:
            parser = _Parser(self._text)
            self._next = parser.get_event
            self._next()  # stream start
            if isinstance(event := self._next(), yaml.StreamEndEvent):
                return None
            data = self._node(self._next(), ())
            self._next()  # document end
            if not isinstance(event := self._next(), yaml.StreamEndEvent):
                raise self._error(event, "holds more than one document")
        except yaml.YAMLError as error:
            raise self._syntax_error(error) from error
        except UnicodeError as error:
            raise ConfigError("is no YAML: it is no Unicode text", file=self._file) from error
        finally:
            if parser is not None:
                parser.dispose()
        return data

    def _node(self, event: Any, path: KeyPath) -> Any:
        self._check(event, path)
        match event:
            case yaml.ScalarEvent():
                return self._scalar(event)
            case yaml.SequenceStartEvent():
                return self._sequence(path)
            case _:
                return self._mapping(path)

    def _check(self, event: Any, path: KeyPath) -> None:
        if isinstance(event, yaml.AliasEvent):
            raise self._error(event, "aliases are not read; write the value out")
        if event.tag not in (None, "!"):
            raise self._error(event, f"the tag {event.tag!r} is not read")
        if len(path) > DEEPEST:
            raise self._error(event, f"is nested deeper than {DEEPEST}")
        self.places.setdefault(path, self._place(event))

    def _scalar(self, event: Any) -> Any:
        try:
            return self._scalars.value(event)
        except (ValueError, OverflowError, KeyError) as error:
            raise self._error(event, f"cannot be read: {error}") from error

    def _sequence(self, path: KeyPath) -> list[Any]:
        items: list[Any] = []
        while not isinstance(event := self._next(), yaml.SequenceEndEvent):
            items.append(self._node(event, (*path, len(items))))
        return items

    def _mapping(self, path: KeyPath) -> dict[str, Any]:
        found: dict[str, Any] = {}
        while not isinstance(event := self._next(), yaml.MappingEndEvent):
            self._check(event, ())
            key = self._scalar(event) if isinstance(event, yaml.ScalarEvent) else None
            if not isinstance(key, str):
                raise self._error(event, "a key must be text; put it in quotes")
            if key in found:
                raise self._error(event, f"the key {key!r} is given twice")
            self.places[*path, key] = self._place(event)
            found[key] = self._node(self._next(), (*path, key))
        return found

    def _place(self, event: Any) -> Place:
        mark = event.start_mark
        return Place(mark.line + self._first_line, mark.column + 1)

    def _error(self, event: Any, message: str) -> ConfigError:
        place = self._place(event)
        return ConfigError(message, file=self._file, line=place.line, column=place.column)

    def _syntax_error(self, error: yaml.YAMLError) -> ConfigError:
        mark = getattr(error, "problem_mark", None) or getattr(error, "context_mark", None)
        if mark is not None:
            problem = getattr(error, "problem", None) or getattr(error, "context", None)
            line, column = mark.line + self._first_line, mark.column + 1
            return ConfigError(f"is no YAML: {problem}", file=self._file, line=line, column=column)
        line = self._text.count("\n", 0, getattr(error, "position", 0)) + self._first_line
        reason = getattr(error, "reason", "it cannot be parsed")
        return ConfigError(f"is no YAML: {reason}", file=self._file, line=line)
