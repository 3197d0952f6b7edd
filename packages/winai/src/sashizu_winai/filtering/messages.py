"""Messages of JSON-RPC, read so that nobody can read them otherwise."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Never

__all__ = [
    "LONGEST",
    "BadMessage",
    "Message",
    "Notification",
    "Request",
    "Response",
    "read_message",
]

LONGEST = 4 * 1024 * 1024
"""Characters of a message; a longer one does not pass."""

Id = str | int

_KEYS = frozenset({"jsonrpc", "id", "method", "params", "result", "error"})
_PARAMETERS = frozenset({"name", "arguments"})
"""What a message is judged and recorded by."""
_LONGEST_KEY = 100


class BadMessage(ValueError):
    """A text is no message that has one meaning."""


@dataclass(frozen=True, slots=True)
class Request:
    """Something is asked, and answered under the same id."""

    id: Id
    method: str
    params: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Notification:
    """Something is told, and not answered."""

    method: str
    params: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Response:
    """What came of a request; `result` is None where it failed."""

    id: Id
    result: Mapping[str, Any] | None


Message = Request | Notification | Response


def read_message(text: str) -> Message:
    """One message.

    Raises:
        BadMessage: it is none, or a key is in it twice, which two readers may understand in two
            ways.
    """
    if len(text) > LONGEST:
        raise BadMessage(f"the message has {len(text)} characters, and may have {LONGEST}")
    try:
        found = json.loads(text, object_pairs_hook=_once, parse_constant=_no_constant)
    except RecursionError as error:
        raise BadMessage("the message is nested too deeply") from error
    except ValueError as error:
        raise BadMessage(f"the message is no JSON: {error}") from error
    if not isinstance(found, dict) or found.get("jsonrpc") != "2.0":
        raise BadMessage("the message is none of JSON-RPC 2.0")
    _require_one_case(found)
    return _request(found) if "method" in found else _response(found)


def _request(found: Mapping[str, Any]) -> Request | Notification:
    method, params = found["method"], found.get("params", {})
    if not isinstance(method, str) or not isinstance(params, dict):
        raise BadMessage("the method is no text, or its parameters are no object")
    if "result" in found or "error" in found:
        raise BadMessage("the message asks and answers at once")
    return Request(_id(found), method, params) if "id" in found else Notification(method, params)


def _response(found: Mapping[str, Any]) -> Response:
    if ("result" in found) == ("error" in found):
        raise BadMessage("the message neither asks nor answers")
    result = found.get("result")
    if "result" in found and not isinstance(result, dict):
        raise BadMessage("the result is no object")
    return Response(_id(found), result)


def _id(found: Mapping[str, Any]) -> Id:
    value = found.get("id")
    if isinstance(value, bool) or not isinstance(value, str | int):
        raise BadMessage("the id is neither a text nor a whole number")
    return value


def _once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) != len(pairs):
        raise BadMessage("the message has a key twice")
    return found


def _require_one_case(found: Mapping[str, Any]) -> None:
    """Refuse what readers without regard to case, such as those of Go, may understand otherwise.

    Raises:
        BadMessage: a key of the message, or of its parameters, is one of ours in other letters.
    """
    params = found.get("params")
    for given, ours in (
        (found, _KEYS),
        (params if isinstance(params, dict) else {}, _PARAMETERS),
    ):
        for key in given:
            if key not in ours and key.casefold() in ours:
                raise BadMessage(f"the key {key[:_LONGEST_KEY]!r} differs by case from one in use")


def _no_constant(name: str) -> Never:
    raise BadMessage(f"the message has {name}, which is no number of JSON")
