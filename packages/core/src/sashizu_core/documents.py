"""Files that people write: read with a size cap, and complained about with line and column."""

from __future__ import annotations

import os
import re
import stat
import types
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from hashlib import sha256
from pathlib import Path
from typing import Annotated, Any, Union, get_args, get_origin

from pydantic import BaseModel, ValidationError

from sashizu_core.errors import ConfigError, nearest
from sashizu_core.unfollowed import open_unfollowed

__all__ = [
    "DEEPEST",
    "Document",
    "KeyPath",
    "Place",
    "SourceText",
    "complaint",
    "dotted",
    "is_secret",
    "read_source",
    "read_text",
]

KeyPath = tuple[str | int, ...]
"""Where a value stands in a document: keys of tables and indexes of lists, outermost first."""

DEEPEST = 32
"""How deep tables and lists may be nested in a file."""

_SECRET = re.compile(
    r"(^|[_.-])(api_?key|key|token|secret|password|authorization|cookie)$", re.IGNORECASE
)
_BARE_KEY = re.compile(r"[A-Za-z0-9_-]+")


@dataclass(frozen=True, slots=True)
class Place:
    """A place in a file; both numbers count from 1."""

    line: int
    column: int


@dataclass(frozen=True)
class Document:
    """What a file says, and where it says it."""

    data: Mapping[str, Any]
    places: Mapping[KeyPath, Place] = field(default_factory=dict)
    file: Path | None = None

    def place(self, path: KeyPath) -> Place | None:
        """The place of a value, or of the nearest thing around it."""
        while path and path not in self.places:
            path = path[:-1]
        return self.places.get(path)

    def error(self, path: KeyPath, message: str) -> ConfigError:
        """A `ConfigError` at the place of a value."""
        place = self.place(path)
        if place is None:
            return ConfigError(message, file=self.file)
        return ConfigError(message, file=self.file, line=place.line, column=place.column)


@dataclass(frozen=True, slots=True)
class SourceText:
    """The text of a file, and the SHA-256 of exactly the bytes it was made of, as 64 hex digits."""

    text: str
    sha256: str


def read_text(path: Path, *, limit_bytes: int, follow_links: bool = True) -> str:
    """The text of a small regular file.

    Never blocks on a pipe or a device, and never reads more than the limit.

    Raises:
        FileNotFoundError: there is none.
        ConfigError: it cannot be read, is no regular file, is too large, or is not UTF-8.
    """
    return read_source(path, limit_bytes=limit_bytes, follow_links=follow_links).text


def read_source(path: Path, *, limit_bytes: int, follow_links: bool = True) -> SourceText:
    """The same with the fingerprint of the bytes, which are read once.

    Raises:
        FileNotFoundError: there is none.
        ConfigError: as for `read_text`.
    """
    flags = os.O_RDONLY | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_BINARY", 0)
    try:
        if path.is_dir():  # which Windows opens for nobody, and says that it is not allowed
            raise ConfigError("is no regular file", file=path)
        opened = os.open if follow_links else open_unfollowed
        descriptor = opened(path, flags)
    except FileNotFoundError:
        raise
    except OSError as error:
        raise ConfigError(f"cannot be read: {error.strerror}", file=path) from error
    try:
        if not stat.S_ISREG(os.fstat(descriptor).st_mode):
            raise ConfigError("is no regular file", file=path)
        with os.fdopen(descriptor, "rb", closefd=False) as file:
            content = file.read(limit_bytes + 1)
    finally:
        os.close(descriptor)
    if len(content) > limit_bytes:
        raise ConfigError(f"is larger than {limit_bytes} bytes", file=path)
    try:
        return SourceText(content.decode("utf-8-sig"), sha256(content).hexdigest())
    except UnicodeDecodeError as error:
        line = content.count(b"\n", 0, error.start) + 1
        raise ConfigError("is not UTF-8 text", file=path, line=line) from error


def is_secret(path: Sequence[str | int]) -> bool:
    """Whether a value may be a secret, by the keys it stands under, so that nobody prints it."""
    return "headers" in path or bool(path and _SECRET.search(str(path[-1])))


def dotted(path: Iterable[str | int]) -> str:
    """A key path as TOML writes it: `models."my model".base_url`, lists as `budget[2]`."""
    text = ""
    for part in path:
        if isinstance(part, int):
            text += f"[{part + 1}]"
            continue
        plain = part if _BARE_KEY.fullmatch(part) else '"' + part.replace('"', '\\"') + '"'
        text += f".{plain}" if text else plain
    return text


def complaint(
    error: ValidationError,
    model: type[BaseModel],
    error_at: Callable[[KeyPath, str], ConfigError],
    *,
    at: KeyPath = (),
) -> ConfigError:
    """What is wrong with a part of a document, in words; every fault has its own line.

    `error_at` makes an error at a place, as `Document.error` does; `at` is where the part stands.
    Values are shown unless they may be secrets.
    """
    faults = []
    for details in error.errors(include_url=False):
        path, message = _fault(details, model, at)
        faults.append(error_at(path, message))
    faults.sort(key=lambda fault: (str(fault.file), fault.line or 0, fault.column or 0))
    if len(faults) > 1:
        faults[0].args = ("\n".join(str(fault) for fault in faults),)
    return faults[0]


def _fault(details: Mapping[str, Any], model: type[BaseModel], at: KeyPath) -> tuple[KeyPath, str]:
    loc: KeyPath = details["loc"]
    path = at + loc
    name = dotted(path) or "the file"
    match details["type"]:
        case "extra_forbidden":
            known = _known_keys(model, loc[:-1])
            return path, f"unknown key {name!r}{nearest(str(loc[-1]), known)}"
        case "missing":
            return path, f"{name!r} is missing"
        case "value_error":  # ours: they say what was found
            return path, f"{name!r}: {str(details['msg']).removeprefix('Value error, ')}"
        case _:
            return path, f"{name!r}: {details['msg']}{_shown(path, details.get('input'))}"


def _shown(path: KeyPath, value: Any) -> str:
    if is_secret(path) or not isinstance(value, str | int | float | bool):
        return ""
    text = repr(value)
    return f" (found {text if len(text) <= 60 else text[:57] + '...'})"


def _known_keys(model: Any, loc: Sequence[str | int]) -> list[str]:
    """The keys that a model knows at a place below it; none where that is no table."""
    for part in loc:
        if isinstance(part, str) and _is_model(model):
            names = {field.alias or name: field for name, field in model.model_fields.items()}
            model = _table_in(names[part].annotation) if part in names else None
        elif model is not None:
            arguments = [part for part in get_args(model) if part is not ...]
            model = _table_in(arguments[-1]) if arguments else None
    if not _is_model(model):
        return []
    return [field.alias or name for name, field in model.model_fields.items()]


def _is_model(value: Any) -> bool:
    return isinstance(value, type) and issubclass(value, BaseModel)


def _table_in(annotation: Any) -> Any:
    """The model, or the container of models, inside an optional or annotated type."""
    origin = get_origin(annotation)
    if origin is Annotated:
        return _table_in(get_args(annotation)[0])
    if origin in (Union, types.UnionType):
        candidates = [_table_in(arg) for arg in get_args(annotation) if arg is not type(None)]
        return next((found for found in candidates if found is not None), None)
    if _is_model(annotation) or get_args(annotation):
        return annotation
    return None
