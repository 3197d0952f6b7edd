"""JSON before `json` is imported: the scanner of the standard library's C module."""

import _json

TYPE_CHECKING = False  # as `typing` has it, which takes longer to import than all of this
if TYPE_CHECKING:
    from typing import Any

__all__ = ["json_string", "read_json"]


class _Context:
    """What the C scanner asks for: plain values of plain types."""

    strict = True
    object_hook = None
    object_pairs_hook = None
    array_hook = None
    parse_float = float
    parse_int = int
    memo: "dict[str, str]" = {}  # noqa: RUF012 - the scanner's own

    @staticmethod
    def parse_constant(word: str) -> "Any":
        raise ValueError(f"{word} is no JSON")


_scan: "Any" = _json.make_scanner(_Context)  # type: ignore[arg-type]
_BLANK = " \t\r\n"


def read_json(data: bytes) -> "Any":
    """The value of one JSON text in UTF-8.

    Raises:
        ValueError: it is none.
    """
    text = data.decode("utf-8").strip(_BLANK)
    try:
        value, end = _scan(text, 0)
    except (StopIteration, RecursionError):
        raise ValueError("no JSON") from None
    if end != len(text):
        raise ValueError("more than one JSON value")
    return value


def json_string(text: str) -> str:
    """A text as a JSON string, as every writer of the server writes it: not in ASCII."""
    return _json.encode_basestring(text)
