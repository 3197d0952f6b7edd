"""What the body of a function says it does: the constant it returns, the errors it raises."""

from __future__ import annotations

import ast
import itertools
from collections.abc import Iterator
from contextlib import suppress
from typing import Any

from sashizu_offline.derive.expectations import Expectation, Maker, Outcome
from sashizu_offline.derive.literals import literal_text
from sashizu_offline.derive.machine import Raised
from sashizu_offline.derive.values import NotEvaluable

__all__ = ["constants", "raises"]

_PRODUCTS = 400
"""How many combinations of arguments are tried for one function."""

_BY_ANNOTATION: dict[str, tuple[Any, ...]] = {
    "int": (0, -1, 1, 2, 10),
    "float": (0.0, -1.0, 1.0, 0.5),
    "str": ("", "a", "a b", "1", "-"),
    "bytes": (b"", b"a"),
    "bool": (False, True),
    "list": ([], [1]),
    "tuple": ((), (1,)),
    "dict": ({}, {"a": 1}),
    "set": (set(), {1}),
}


def constants(make: Maker, node: ast.FunctionDef) -> Outcome:
    """The value of a function that needs no argument and only returns."""
    outcome = Outcome()
    body = [s for s in node.body if not _is_text(s)]
    arguments = node.args
    required = len(arguments.posonlyargs) + len(arguments.args) - len(arguments.defaults)
    if required or any(default is None for default in arguments.kw_defaults):
        return outcome
    if len(body) != 1 or not isinstance(body[0], ast.Return):
        return outcome
    check = ast.Call(ast.Name(node.name, ast.Load()), [], [])
    ast.fix_missing_locations(ast.copy_location(check, node))
    try:
        value = make({}).evaluate(check, {})
    except Raised:
        return outcome
    if value is not None and literal_text(value) is not None:
        outcome.expectations.append(Expectation(node.lineno, "constant", (), check, value))
    return outcome


def _is_text(node: ast.stmt) -> bool:
    return isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant)


def _annotated(annotation: ast.expr | None) -> tuple[Any, ...] | None:
    """Values of an annotated type; None for a type that has none here; all for no annotation."""
    if annotation is None:
        return None
    text = ast.unparse(annotation).strip("'\"")
    names = [part.strip().partition("[")[0].lower() for part in text.split("|")]
    values: list[Any] = []
    for name in names:
        if name == "none":
            values.append(None)
        elif name in ("sequence", "iterable"):
            values += _BY_ANNOTATION["list"]
        elif name in _BY_ANNOTATION:
            values += _BY_ANNOTATION[name]
        else:
            return ()
    return tuple(values)


def _neighbours(value: Any) -> list[Any]:
    if isinstance(value, bool) or not isinstance(value, int | float | str):
        return []
    if isinstance(value, str):
        return [value, value + "x"]
    return [value, value - 1, value + 1]


def _compared(make: Maker, node: ast.FunctionDef) -> Iterator[Any]:
    """The values that the function compares with: literals, and constants of the module."""
    own = {argument.arg for argument in ast.walk(node) if isinstance(argument, ast.arg)}
    for child in ast.walk(node):
        if not isinstance(child, ast.Compare):
            continue
        for part in (child.left, *child.comparators):
            if isinstance(part, ast.Constant):
                yield part.value
            elif isinstance(part, ast.Name) and part.id not in own:
                with suppress(NotEvaluable, Raised):
                    yield make({}).evaluate(part, {})


def _candidates(make: Maker, node: ast.FunctionDef) -> dict[str, list[Any]]:
    """Values to try for each required argument."""
    seen = [near for value in _compared(make, node) for near in _neighbours(value)]
    arguments = [*node.args.posonlyargs, *node.args.args]
    required = arguments[: len(arguments) - len(node.args.defaults)]
    required += [
        argument
        for argument, default in zip(node.args.kwonlyargs, node.args.kw_defaults, strict=True)
        if default is None
    ]
    found: dict[str, list[Any]] = {}
    for argument in required:
        typed = _annotated(argument.annotation)
        if typed is None:
            numbers = [value for value in seen if isinstance(value, int | float)]
            found[argument.arg] = [*seen, *([0, -1, 1] if numbers else ["", "a", 0, 1])]
        else:
            kinds = {type(value) for value in typed}
            found[argument.arg] = [*[v for v in seen if type(v) in kinds], *typed]
    return found


def _raising_lines(node: ast.FunctionDef) -> set[int]:
    """The lines of `raise` statements right below an `if` of the function's own block."""
    return {
        inner.lineno
        for statement in node.body
        if isinstance(statement, ast.If)
        for inner in (*statement.body, *statement.orelse)
        if isinstance(inner, ast.Raise)
    }


def _combinations(candidates: dict[str, list[Any]]) -> Iterator[dict[str, Any]]:
    pools = []
    for values in candidates.values():
        unique: list[Any] = []
        for value in values:
            if not any(type(value) is type(v) and value == v for v in unique):
                unique.append(value)
        pools.append(unique)
    for combination in itertools.islice(itertools.product(*pools), _PRODUCTS):
        yield dict(zip(candidates, combination, strict=True))


def raises(make: Maker, node: ast.FunctionDef) -> Outcome:
    """An argument for each checked `raise` that reaches it."""
    outcome = Outcome()
    wanted = _raising_lines(node)
    if not wanted or any(isinstance(c, ast.Yield | ast.YieldFrom) for c in ast.walk(node)):
        return outcome
    problem = ""
    for arguments in _combinations(_candidates(make, node)):
        if not wanted:
            break
        try:
            make({}).call(node.name, arguments)
        except NotEvaluable as error:
            problem = f"it can not be followed: {error}"
        except Raised as raised:
            if raised.explicit and raised.line in wanted:
                wanted.discard(raised.line)
                outcome.expectations.append(_raise(node, arguments, raised))
    if wanted and not outcome.expectations:
        outcome.problem = problem or "no simple argument reaches its raise"
    return outcome


def _raise(node: ast.FunctionDef, arguments: dict[str, Any], raised: Raised) -> Expectation:
    positional = [argument.arg for argument in (*node.args.posonlyargs, *node.args.args)]
    args = [_parsed(arguments[name]) for name in positional if name in arguments]
    words = [
        ast.keyword(name, _parsed(value))
        for name, value in arguments.items()
        if name not in positional
    ]
    call = ast.Call(ast.Name(node.name, ast.Load()), args, words)
    ast.fix_missing_locations(ast.copy_location(call, node))
    name, message = type(raised.error).__name__, str(raised.error)
    if isinstance(raised.error, KeyError):
        message = ""
    return Expectation(raised.line, "raises", (), call, error=name, message=message)


def _parsed(value: Any) -> ast.expr:
    text = literal_text(value)
    assert text is not None
    return ast.parse(text, mode="eval").body
