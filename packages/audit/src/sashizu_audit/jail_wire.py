"""What goes between the process that asks and the jailed one that answers: lines of JSON.

What comes out of the jail is data and nothing else: who has broken the inside of it cannot have
code run outside.
"""

from __future__ import annotations

import base64
import json
import math
from collections.abc import Callable, Mapping, Sequence
from datetime import date, datetime, time, timedelta
from decimal import Decimal
from typing import Any
from uuid import UUID

__all__ = ["decode_cell", "dump", "encode_cell", "load"]

_DECODERS: Mapping[str, Callable[[Any], object]] = {
    "bytes": lambda v: base64.b64decode(v, validate=True),
    "date": date.fromisoformat,
    "datetime": datetime.fromisoformat,
    "decimal": Decimal,
    "dict": lambda v: {decode_cell(key): decode_cell(value) for key, value in v},
    "float": float,
    "list": lambda v: [decode_cell(one) for one in v],
    "time": time.fromisoformat,
    "timedelta": lambda v: timedelta(days=v[0], seconds=v[1], microseconds=v[2]),
    "tuple": lambda v: tuple(decode_cell(one) for one in v),
    "uuid": UUID,
}


_ENCODERS: Sequence[tuple[type, str, Callable[[Any], object]]] = (
    (float, "float", str),
    (bytes, "bytes", lambda v: base64.b64encode(v).decode()),
    (datetime, "datetime", datetime.isoformat),  # before date, of which it is a kind
    (date, "date", date.isoformat),
    (time, "time", time.isoformat),
    (timedelta, "timedelta", lambda v: [v.days, v.seconds, v.microseconds]),
    (Decimal, "decimal", str),
    (UUID, "uuid", str),
    (dict, "dict", lambda v: [[encode_cell(key), encode_cell(one)] for key, one in v.items()]),
    (tuple, "tuple", lambda v: [encode_cell(one) for one in v]),
    (list, "list", lambda v: [encode_cell(one) for one in v]),
)


def encode_cell(value: object) -> Any:
    """A value of a row, or a parameter, as JSON; anything unknown as its text."""
    if value is None or isinstance(value, bool | str | int):
        return value
    if isinstance(value, float) and math.isfinite(value):
        return value
    for kind, name, encode in _ENCODERS:
        if isinstance(value, kind):
            return [name, encode(value)]
    return str(value)


def decode_cell(found: Any) -> object:
    """A value from its JSON.

    Raises:
        ValueError, TypeError, LookupError, ArithmeticError: it is none.
    """
    if found is None or isinstance(found, bool | str | int | float):
        return found
    kind, value = found
    return _DECODERS[kind](value)


def dump(message: Mapping[str, object]) -> bytes:
    """A message as one line."""
    return json.dumps(message, separators=(",", ":")).encode() + b"\n"


def load(line: bytes) -> dict[str, Any]:
    """A message from its line.

    Raises:
        ValueError: it is none.
    """
    found = json.loads(line)
    if not isinstance(found, dict):
        raise ValueError("no object")  # noqa: TRY004 - one error for all that is no message
    return found
