"""What the examples of a docstring expect of a function."""

from __future__ import annotations

import ast
import doctest
from typing import Any

from sashizu_offline.checks.tree import parsed
from sashizu_offline.derive.expectations import Expectation, Maker, Outcome
from sashizu_offline.derive.literals import literal_text
from sashizu_offline.derive.machine import Machine, Raised
from sashizu_offline.derive.values import ERRORS, NotEvaluable

__all__ = ["examples"]


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
            after = ", nor those after it" if example is not found[-1] else ""
            outcome.problem = f"the example in line {line}{after} can not be confirmed: {error}"
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
