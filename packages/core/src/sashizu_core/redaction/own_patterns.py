"""Patterns of the operator: regular expressions that cannot be made to take long."""

from __future__ import annotations

import importlib
import re
from typing import Any

__all__ = ["MOST_STEPS", "compiled"]

MOST_STEPS = 1024
"""How many characters an expression may look at before it gives up at one place of a text."""

_ENDLESS = 4096  # characters that an open end stands for
_parser: Any = importlib.import_module("re._parser")


class _Refused(ValueError):
    pass


def compiled(pattern: str) -> re.Pattern[str]:
    """An expression that takes time in proportion to any text.

    Only what the longest text that it might match allows: literals, classes, groups, alternatives,
    anchors and bounded repetitions (`{1,64}`). `+` and `*` stand for themselves at the very end.

    Raises:
        ValueError: it is no regular expression, matches nothing, or could take long; says why.
    """
    try:
        found = re.compile(pattern)
        tree = _parser.parse(pattern)
    except (re.error, RecursionError, OverflowError) as error:
        raise ValueError(f"{pattern!r} is no regular expression: {error}") from None
    if found.match("") is not None or tree.getwidth()[0] == 0:
        raise ValueError(f"{pattern!r} also matches nothing at all; name what must be there")
    ways, length = _effort(tree, last=True)
    if ways * length > MOST_STEPS:
        raise ValueError(
            f"{pattern!r} could look at {ways * length} characters at each place of a text, "
            f"{MOST_STEPS} are allowed: use shorter repetitions, and fewer in a row"
        )
    return found


def _effort(tree: Any, *, last: bool) -> tuple[int, int]:
    """In how many ways the parts of an expression can share a text, and its length at most."""
    ways, length = 1, 0
    items = list(tree)
    for index, (op, value) in enumerate(items):
        more, longer = _item(str(op), value, last=last and index == len(items) - 1)
        ways = min(ways * more, _ENDLESS)
        length = min(length + longer, _ENDLESS)
    return ways, max(1, length)


def _item(op: str, value: Any, *, last: bool) -> tuple[int, int]:
    match op:
        case "LITERAL" | "NOT_LITERAL" | "ANY" | "IN":
            return 1, 1
        case "AT":
            return 1, 0
        case "SUBPATTERN":
            return _effort(value[-1], last=last)
        case "ATOMIC_GROUP":
            return _effort(value, last=last)
        case "BRANCH":
            efforts = [_effort(branch, last=last) for branch in value[1]]
            return sum(ways for ways, _ in efforts), max(length for _, length in efforts)
        case "MAX_REPEAT" | "MIN_REPEAT" | "POSSESSIVE_REPEAT":
            return _repeated(op, *value, last=last)
    raise ValueError(f"{op.lower().replace('_', ' ')} is not among what patterns may use")


def _repeated(op: str, least: int, most: Any, tree: Any, *, last: bool) -> tuple[int, int]:
    ways, length = _effort(tree, last=False)
    if int(most) >= _ENDLESS:
        if not (last and ways == length == 1 and least > 0):
            raise ValueError("'+' and '*' are only for the end; write a bound, such as {1,64}")
        return 1, least  # it takes all it can, and nothing after it could fail
    if op == "POSSESSIVE_REPEAT" and ways == 1:
        return 1, length * most
    return min(_ENDLESS, sum(min(ways, _ENDLESS) ** k for k in range(least, most + 1))), (
        length * most
    )
