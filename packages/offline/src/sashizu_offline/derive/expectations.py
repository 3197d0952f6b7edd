"""What a function is expected to do, as its own text says: examples, constants, raised errors."""

from __future__ import annotations

import ast
import doctest
import itertools
import re
from collections.abc import Callable, Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any

from sashizu_offline.checks.tree import parsed
from sashizu_offline.derive.literals import literal_text
from sashizu_offline.derive.machine import Machine, Raised
from sashizu_offline.derive.values import ERRORS, NotEvaluable

__all__ = ["Expectation", "Maker", "Outcome", "constants", "examples", "raises"]

Maker = Callable[[Mapping[str, ast.FunctionDef]], Machine]
"""Makes an interpreter of the module, with some of its functions replaced."""

_PRODUCTS = 400
"""How many combinations of arguments are tried for one function."""


@dataclass(frozen=True, slots=True)
class Expectation:
    """Something that holds of a function, and how to test it.

    `setup` runs first; then `check` has the value `value`, or raises the error named `error`.
    """

    line: int
    kind: str
    setup: tuple[ast.stmt, ...]
    check: ast.expr
    value: Any = None
    error: str = ""
    message: str = ""

    @property
    def lines(self) -> tuple[str, ...]:
        """The body of a test. Names of the module are written as they are."""
        before = tuple(line for s in self.setup for line in ast.unparse(s).split("\n"))
        call = ast.unparse(self.check)
        if self.error:
            match = f", match={_exactly(self.message)!r}" if self.message else ""
            return (*before, f"with pytest.raises({self.error}{match}):", f"    {call}")
        expected = literal_text(self.value)
        if self.value is None or self.value is True or self.value is False:
            return (*before, f"assert {call} is {expected}")
        return (*before, f"assert {call} == {expected}")

    def holds(self, machine: Machine) -> bool:
        """Whether it still holds. Raises `NotEvaluable` where that can not be told."""
        names: dict[str, Any] = {}
        try:
            for statement in self.setup:
                machine.execute(statement, names)
            value = machine.evaluate(self.check, names)
        except Raised as raised:
            same = type(raised.error).__name__ == self.error
            return same and (not self.message or str(raised.error) == self.message)
        return not self.error and type(value) is type(self.value) and bool(value == self.value)


def _exactly(message: str) -> str:
    """A regular expression that matches nothing but a message; blanks stay readable."""
    return "^" + re.sub(r"([.^$*+?{}\[\]\\|()])", r"\\\1", message) + "$"


@dataclass
class Outcome:
    """What one source of expectations gave. `wrong` are examples that do not hold: line, text."""

    expectations: list[Expectation] = field(default_factory=list)
    problem: str = ""
    wrong: list[tuple[int, str]] = field(default_factory=list)


# --- docstring examples ---------------------------------------------------------------------------


def _calls(node: ast.AST, name: str) -> bool:
    return any(
        isinstance(child, ast.Call) and isinstance(child.func, ast.Name) and child.func.id == name
        for child in ast.walk(node)
    )


def _docstring_line(node: ast.FunctionDef) -> int:
    first = node.body[0]
    return first.lineno


def examples(make: Maker, node: ast.FunctionDef) -> Outcome:
    """The examples of the docstring that the interpreter can confirm."""
    outcome = Outcome()
    text = ast.get_docstring(node, clean=False)
    if not text or ">>>" not in text:
        return outcome
    try:
        found = doctest.DocTestParser().get_examples(text)
    except ValueError:
        outcome.problem = "the examples of its docstring do not parse"
        return outcome
    names: dict[str, Any] = {}
    setup: list[ast.stmt] = []
    for example in found:
        line = _docstring_line(node) + example.lineno
        try:
            _one_example(make, node, example, line, names, setup, outcome)
        except NotEvaluable as error:
            outcome.problem = f"the example in line {line} can not be confirmed: {error}"
            break
    return outcome


def _one_example(
    make: Maker,
    node: ast.FunctionDef,
    example: doctest.Example,
    line: int,
    names: dict[str, Any],
    setup: list[ast.stmt],
    outcome: Outcome,
) -> None:
    try:
        body = parsed(example.source).body
    except SyntaxError as error:
        raise NotEvaluable("it is no Python") from error
    machine = make({})
    if not example.want and example.exc_msg is None:
        for statement in body:
            if isinstance(statement, ast.Import | ast.ImportFrom):
                continue  # the names of the module are at hand; others will be unknown
            machine.execute(statement, names)
            setup.append(statement)
        return
    if len(body) != 1 or not isinstance(body[0], ast.Expr):
        raise NotEvaluable("it prints something")
    check = body[0].value
    if not _calls(check, node.name):
        return
    if example.exc_msg is not None:
        outcome.expectations.append(_expected_error(machine, example, line, names, setup, check))
        return
    _expected_value(machine, example, line, names, setup, check, outcome)


def _expected_error(
    machine: Machine,
    example: doctest.Example,
    line: int,
    names: dict[str, Any],
    setup: list[ast.stmt],
    check: ast.expr,
) -> Expectation:
    kind = (example.exc_msg or "").partition(":")[0].strip().rpartition(".")[2]
    try:
        machine.evaluate(check, names)
    except Raised as raised:
        if type(raised.error).__name__ == kind and kind in ERRORS:
            return Expectation(line, "example", tuple(setup), check, error=kind)
    raise NotEvaluable("another error, or none, is raised")


def _expected_value(
    machine: Machine,
    example: doctest.Example,
    line: int,
    names: dict[str, Any],
    setup: list[ast.stmt],
    check: ast.expr,
    outcome: Outcome,
) -> None:
    try:
        value = machine.evaluate(check, names)
    except Raised as raised:
        raise NotEvaluable(f"{type(raised.error).__name__} is raised") from raised
    expected = literal_text(value)
    if expected is None:
        raise NotEvaluable("its value can not be written down")
    wanted = example.want.strip()
    if repr(value) == wanted or _same_literal(wanted, value):
        outcome.expectations.append(Expectation(line, "example", tuple(setup), check, value))
    elif example.options or "..." in wanted or "<" in wanted:
        raise NotEvaluable("its output is only sketched")
    else:
        call = ast.unparse(check)
        outcome.wrong.append((line, f"the example says {call} is {wanted}, but it is {expected}"))
        raise NotEvaluable("it does not hold")


def _same_literal(text: str, value: Any) -> bool:
    try:
        other = ast.literal_eval(text)
    except (ValueError, SyntaxError):
        return False
    return type(other) is type(value) and bool(other == value)


# --- constants ------------------------------------------------------------------------------------


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


# --- raised errors --------------------------------------------------------------------------------

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
