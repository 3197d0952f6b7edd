"""What the interpreter may do with values: plain data, bounded in size, and nothing else."""

from __future__ import annotations

import ast
import builtins
import operator
import re
from collections.abc import Callable, Iterator
from string import Formatter
from typing import Any

__all__ = [
    "ERRORS",
    "FUNCTIONS",
    "MUTATORS",
    "NotEvaluable",
    "checked",
    "format_text",
    "method_of",
    "operate",
    "unary",
]

MAX_SIZE = 20_000
"""The longest text or container, in items."""

MAX_BITS = 4_096
"""The largest integer."""


class NotEvaluable(Exception):
    """The interpreter does not know what would happen."""


def _words(text: str) -> frozenset[str]:
    return frozenset(text.split())


_SIZED = (str, bytes, list, tuple, dict, set, frozenset)
_LAZY: tuple[type, ...] = (map, filter, zip, enumerate, reversed, slice)
_LAZY += (type(iter([])), type(iter(())), type(iter("")), type(iter(range(0))), type(iter({})))
_LAZY += (type(reversed([])), type({}.items()), type({}.keys()), type({}.values()))

ERRORS: dict[str, type[Exception]] = {
    name: kind
    for name in _words(
        "Exception ArithmeticError AssertionError AttributeError IndexError KeyError  "
        "LookupError NotImplementedError OverflowError RuntimeError StopIteration TypeError  "
        "UnicodeError ValueError ZeroDivisionError OSError PermissionError FileNotFoundError  "
        "EOFError TimeoutError ConnectionError FileExistsError RecursionError  "
        "UnicodeDecodeError"
    )
    if isinstance(kind := getattr(builtins, name), type)
}

_METHODS: dict[type, frozenset[str]] = {
    str: _words(
        "capitalize casefold center count encode endswith expandtabs find format index  "
        "isalnum isalpha isascii isdecimal isdigit isidentifier islower isnumeric  "
        "isprintable isspace istitle isupper join ljust lower lstrip partition removeprefix  "
        "removesuffix replace rfind rindex rjust rpartition rsplit rstrip split splitlines  "
        "startswith strip swapcase title translate upper zfill"
    ),
    bytes: _words(
        "count decode endswith find hex index join lower partition replace rfind rpartition  "
        "rsplit split startswith strip lstrip rstrip upper"
    ),
    list: _words("append clear copy count extend index insert pop remove reverse sort"),
    tuple: frozenset(("count", "index")),
    dict: _words("clear copy get items keys pop popitem setdefault update values"),
    set: _words(
        "add clear copy difference discard intersection isdisjoint issubset issuperset pop  "
        "remove symmetric_difference union update"
    ),
    frozenset: _words("difference intersection isdisjoint issubset issuperset union"),
    int: frozenset(("bit_length", "bit_count", "to_bytes")),
    float: frozenset(("is_integer",)),
}

MUTATORS = _words(
    "append clear extend insert pop remove reverse sort popitem setdefault update add  discard"
)
"""Methods that change the value they are called on."""

FUNCTIONS: dict[str, Any] = {
    name: getattr(builtins, name)
    for name in _words(
        "abs all any bin bool bytes chr dict divmod enumerate filter float frozenset hex int  "
        "isinstance iter len list map max min next oct ord range repr reversed round set  "
        "sorted str sum tuple zip"
    )
}
"""Builtins that compute with plain data."""

_BINARY: dict[type[ast.AST], Callable[[Any, Any], Any]] = {
    ast.Add: operator.add,
    ast.Sub: operator.sub,
    ast.Div: operator.truediv,
    ast.FloorDiv: operator.floordiv,
    ast.BitAnd: operator.and_,
    ast.BitOr: operator.or_,
    ast.BitXor: operator.xor,
    ast.RShift: operator.rshift,
    ast.Eq: operator.eq,
    ast.NotEq: operator.ne,
    ast.Lt: operator.lt,
    ast.LtE: operator.le,
    ast.Gt: operator.gt,
    ast.GtE: operator.ge,
    ast.Is: operator.is_,
    ast.IsNot: operator.is_not,
    ast.In: lambda left, right: left in right,
    ast.NotIn: lambda left, right: left not in right,
}


def checked(value: Any) -> Any:
    """The value, if it is plain and small.

    Raises:
        NotEvaluable: it is not.
    """
    if value is None or isinstance(value, bool | float):
        return value
    if isinstance(value, int):
        if value.bit_length() > MAX_BITS:
            raise NotEvaluable("an integer grows too large")
        return value
    if isinstance(value, range):
        if (value.stop - value.start) // value.step > MAX_SIZE:
            raise NotEvaluable("a value grows too large")
        return value
    if isinstance(value, _SIZED):
        if len(value) > MAX_SIZE:
            raise NotEvaluable("a value grows too large")
        return value
    if isinstance(value, _LAZY):
        return value
    raise NotEvaluable(f"a value of type {type(value).__name__}")


def operate(kind: ast.AST, left: Any, right: Any) -> Any:
    """The result of a binary operator or comparison."""
    match kind:
        case ast.Mult():
            return checked(_times(left, right))
        case ast.Pow():
            return checked(_power(left, right))
        case ast.LShift():
            if isinstance(right, int) and right > MAX_BITS:
                raise NotEvaluable("an integer grows too large")
            return checked(left << right)
        case ast.Mod():
            if isinstance(left, str | bytes):
                return checked(_percent(left, right))
            return checked(left % right)
        case ast.Is() | ast.IsNot() if not _is_single(left) and not _is_single(right):
            raise NotEvaluable("the identity of values")
        case _ if type(kind) in _BINARY:
            return checked(_BINARY[type(kind)](left, right))
    raise NotEvaluable(f"the operator {type(kind).__name__}")


def _is_single(value: Any) -> bool:
    return value is None or value is True or value is False


def unary(kind: ast.AST, value: Any) -> Any:
    """The result of a unary operator."""
    match kind:
        case ast.Not():
            return not value
        case ast.USub():
            return checked(-value)
        case ast.UAdd():
            return checked(+value)
        case _:
            return checked(~value)


def _times(left: Any, right: Any) -> Any:
    for many, text in ((left, right), (right, left)):
        is_sized = isinstance(many, int) and isinstance(text, str | bytes | list | tuple)
        if is_sized and many * len(text) > MAX_SIZE:
            raise NotEvaluable("a value grows too large")
    return left * right


def _power(base: Any, exponent: Any) -> Any:
    if isinstance(base, int) and isinstance(exponent, int):
        if exponent > 0 and base.bit_length() * exponent > MAX_BITS:
            raise NotEvaluable("an integer grows too large")
    elif not isinstance(base, int | float) or not isinstance(exponent, int | float):
        raise NotEvaluable("a power of no number")
    return base**exponent


def _percent(template: Any, values: Any) -> Any:
    text = template.decode("latin-1") if isinstance(template, bytes) else template
    if re.search(r"\d{4,}|\*", text):
        raise NotEvaluable("a format with a large width")
    for value in values if isinstance(values, tuple) else (values,):
        checked(value)
    return template % values


def format_text(value: Any, conversion: int, spec: str) -> str:
    """A field of an f-string. `conversion` as in `ast.FormattedValue`."""
    checked(value)
    if isinstance(value, set | frozenset):
        raise NotEvaluable("the order of a set")
    if re.search(r"\d{4,}", spec):
        raise NotEvaluable("a format with a large width")
    if conversion != -1:
        convert: dict[str, Callable[[Any], str]] = {"s": str, "r": repr, "a": ascii}
        value = convert[chr(conversion)](value)
    return format(value, spec)


def _format(template: str, args: tuple[Any, ...], words: dict[str, Any]) -> str:
    """`str.format` without attributes and items, which would reach into objects."""
    for _, name, spec, _ in Formatter().parse(template):
        if (name and re.search(r"[.\[]", name)) or (spec and re.search(r"\d{4,}|\{", spec)):
            raise NotEvaluable("a format with attributes or a large width")
    return template.format(*args, **words)


def method_of(owner: Any, name: str) -> Callable[..., Any]:
    """A method of a plain value that only computes, or changes that value.

    Raises:
        NotEvaluable: it is none of those.
    """
    allowed = _METHODS.get(type(owner), frozenset())
    if name not in allowed:
        raise NotEvaluable(f"the attribute {name!r} of a {type(owner).__name__}")
    if name == "pop" and isinstance(owner, set):
        raise NotEvaluable("the order of a set")
    if name == "format":
        return lambda *args, **words: _format(owner, args, words)
    bound: Callable[..., Any] = getattr(owner, name)

    def called(*args: Any, **words: Any) -> Any:
        _check_arguments(owner, name, args, words)
        for size in _sizes(owner, name, args):
            if size > MAX_SIZE:
                raise NotEvaluable("a value grows too large")
        return bound(*args, **words)

    return called


_CODECS = frozenset({"utf-8", "utf8", "ascii", "latin-1", "latin1", "utf-16", "utf-32"})


def _check_arguments(owner: Any, name: str, args: tuple[Any, ...], words: dict[str, Any]) -> None:
    if name in ("encode", "decode") and not {*args[:1], *words.values()} <= _CODECS:
        raise NotEvaluable("a codec or error handler")
    unordered = any(isinstance(value, set | frozenset) for value in args)
    if unordered and not isinstance(owner, set | frozenset):
        raise NotEvaluable("the order of a set")


def _sizes(owner: Any, name: str, args: tuple[Any, ...]) -> Iterator[int]:
    """How large the result of a method can get, where that is not plain from its arguments."""
    if name in ("center", "ljust", "rjust", "zfill", "expandtabs", "to_bytes"):
        yield from (value * (len(owner) if name == "expandtabs" else 1) for value in args[:1])
    elif name == "replace" and len(args) > 1:
        yield (len(owner) + 1) * (len(args[1]) + 1)
    elif name == "join" and args and hasattr(args[0], "__len__"):
        yield (len(owner) + 1) * len(args[0])
