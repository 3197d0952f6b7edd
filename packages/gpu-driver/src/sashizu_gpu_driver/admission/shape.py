"""How large the parts of a model are that grow with the context, as its own files tell it.

Files of models come from anywhere: nothing here reads more of one than its head, or believes a
length that the file does not have.
"""

from __future__ import annotations

import json
import struct
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO

__all__ = ["Shape", "ShapeError", "shape_of"]

Value = int | float | str | bool | list[int]

_HEAD = 64 * 1024**2
"""So much of a file is read at most to find its shape, in bytes: vocabularies are in there too."""

_CONFIG = 16 * 1024**2
"""So long a `config.json` is read at most, in bytes."""

_PAIRS = 10_000
"""So many things a GGUF file tells of itself at most: those of today tell some dozens."""

_MOST = 1 << 32
"""No model remembers more numbers of one token."""

_FORMATS = dict(enumerate(("<B", "<b", "<H", "<h", "<I", "<i", "<f", "<?")))
_FORMATS |= dict(enumerate(("<Q", "<q", "<d"), start=10))
"""GGUF's numbers of kinds of values, and what `struct` calls them; 8 is a text, 9 a row."""

_STRING, _ARRAY = 8, 9
_WHOLE = frozenset({0, 1, 2, 3, 4, 5, 10, 11})
_KEPT = 4_096
"""Longer arrays are a vocabulary, no row of layers."""


class ShapeError(Exception):
    """A model's files do not tell its shape."""


@dataclass(frozen=True, slots=True)
class Shape:
    """`numbers` are what all layers together remember of one token: keys and values."""

    numbers: int


def shape_of(weights: Path) -> Shape:
    """The shape of a model in a GGUF file, or in a folder with `config.json` or such a file.

    Raises:
        ShapeError: there is none, or it does not tell enough.
    """
    try:
        config = weights / "config.json"
        if config.is_file():
            return _of_config(json.loads(_whole(config)))
        files = sorted(weights.glob("*.gguf")) if weights.is_dir() else [weights]
        for file in filter(Path.is_file, files):  # opening a pipe would wait for its writer
            with file.open("rb") as opened:
                return _of_gguf(_Reader(opened, min(file.stat().st_size, _HEAD)).facts())
    except (OSError, ValueError, struct.error, RecursionError) as error:
        raise ShapeError(str(error)) from error
    raise ShapeError("there is neither a config.json nor a file in GGUF's format")


def _whole(config: Path) -> bytes:
    with config.open("rb") as opened:
        found = opened.read(_CONFIG + 1)
    if len(found) > _CONFIG:
        raise ShapeError(f"config.json is longer than {_CONFIG} bytes")
    return found


def _shape(numbers: int) -> Shape:
    if not 0 < numbers <= _MOST:
        raise ShapeError("by the sizes it tells, no token or more than any model is remembered")
    return Shape(numbers)


def _of_config(config: Any) -> Shape:
    """As Hugging Face's `config.json` has it; of a model that sees too, its language part."""
    if not isinstance(config, dict):
        raise ShapeError("config.json is no object")
    nested = config.get("text_config")
    found = nested if isinstance(nested, dict) else config
    heads = _number(found, "num_attention_heads")
    told, grouped = found.get("head_dim"), found.get("num_key_value_heads")
    size = _number(found, "head_dim") if told else _number(found, "hidden_size") // heads
    groups = _number(found, "num_key_value_heads") if grouped else heads
    return _shape(2 * _number(found, "num_hidden_layers") * groups * size)


def _of_gguf(facts: Mapping[str, Value]) -> Shape:
    """As GGUF's specification has it; heads may be told by layer."""
    kind = facts.get("general.architecture")
    own = {
        key.removeprefix(f"{kind}."): value
        for key, value in facts.items()
        if key.startswith(f"{kind}.")
    }
    layers = _number(own, "block_count")
    heads = own.get("attention.head_count")
    groups = own.get("attention.head_count_kv", heads)
    if isinstance(groups, list) and min(groups, default=0) < 0:
        raise ShapeError("it has fewer heads than none")
    total = sum(groups) if isinstance(groups, list) else layers * _number({"": groups}, "")
    if "attention.key_length" in own:
        key = _number(own, "attention.key_length")
        value = _number(own, "attention.value_length") if "attention.value_length" in own else key
    else:
        key = value = _number(own, "embedding_length") // _number(own, "attention.head_count")
    return _shape(total * (key + value))


def _number(found: Mapping[str, Any], name: str) -> int:
    value = found.get(name)
    if isinstance(value, bool) or not isinstance(value, int) or value <= 0:
        raise ShapeError(f"it has no whole number {name or 'of heads'!r}")
    return value


class _Reader:
    """Reads the key-value pairs at the head of a GGUF file, versions 2 and 3."""

    def __init__(self, file: BinaryIO, size: int) -> None:
        self._file = file
        self._left = size

    def facts(self) -> dict[str, Value]:
        """What is told before the first vocabulary; that of an architecture comes before it."""
        magic, version, _, pairs = struct.unpack("<4sIQQ", self._take(24))
        if magic != b"GGUF" or version not in (2, 3):
            raise ShapeError("it is not a file in GGUF's format, version 2 or 3")
        if pairs > _PAIRS:
            raise ShapeError(f"it tells {pairs} things, and {_PAIRS} are read")
        facts: dict[str, Value] = {}
        for _ in range(pairs):
            key = self._string()
            if key.startswith("tokenizer.") and "general.architecture" in facts and len(facts) > 3:
                break
            (kind,) = struct.unpack("<I", self._take(4))
            value = self._value(kind)
            if value is not None:
                facts[key] = value
        return facts

    def _take(self, count: int) -> bytes:
        if count > self._left:
            raise ShapeError("it ends in the middle, or its head is too long")
        self._left -= count
        found = self._file.read(count)
        if len(found) != count:
            raise ShapeError("it ends in the middle")
        return found

    def _string(self) -> str:
        (length,) = struct.unpack("<Q", self._take(8))
        return self._take(length).decode("utf-8", "replace")

    def _value(self, kind: int) -> Value | None:
        if kind == _STRING:
            return self._string()
        if kind == _ARRAY:
            return self._array()
        if kind not in _FORMATS:
            raise ShapeError(f"it has a value of the unknown kind {kind}")
        form = _FORMATS[kind]
        value: Value = struct.unpack(form, self._take(struct.calcsize(form)))[0]
        return value

    def _array(self) -> list[int] | None:
        kind, count = struct.unpack("<IQ", self._take(12))
        if kind == _STRING:
            for _ in range(count):
                self._take(struct.unpack("<Q", self._take(8))[0])
            return None
        if kind not in _FORMATS:
            raise ShapeError(f"it has an array of the unknown kind {kind}")
        raw = self._take(count * struct.calcsize(_FORMATS[kind]))
        if kind not in _WHOLE or count > _KEPT:
            return None
        return [value for (value,) in struct.iter_unpack(_FORMATS[kind], raw)]
