"""An expectation as the body of a test."""

from __future__ import annotations

import ast
from collections.abc import Collection, Sequence

from sashizu_offline.checks.tree import compiled, parsed
from sashizu_offline.derive.expectations import Expectation
from sashizu_offline.derive.values import NotEvaluable

__all__ = ["test_body"]


def test_body(module: str, bound: Collection[str], found: Expectation) -> tuple[str, ...]:
    """The lines of a test, with what it needs of the module imported first.

    The import stands inside the test, so that a module that fails to import fails its own tests
    alone. `bound` are the names that the module binds: they come before Python's own.

    Raises:
        NotEvaluable: it can not be written, or would say something else than what was derived.
    """
    names = _read(found.statements)
    if "pytest" in _named((*found.setup, found.check)):
        raise NotEvaluable("its test can not be written: it uses the name 'pytest'")
    try:
        lines = [line for s in found.statements for line in ast.unparse(s).split("\n")]
        needed = ", ".join(sorted(names & set(bound)))
        body = (f"from {module} import {needed}", "", *lines)
        text = "\n".join(["def test():", *(f"    {line}" for line in body)])
        compiled(text)
        inside = parsed(text).body[0]
    except (SyntaxError, ValueError, RecursionError, MemoryError) as error:
        raise NotEvaluable("its test can not be written as Python") from error
    assert isinstance(inside, ast.FunctionDef)
    if list(map(ast.dump, inside.body[1:])) != list(map(ast.dump, found.statements)):
        raise NotEvaluable("its test can not be written on lines of its own")
    return body


test_body.__test__ = False  # type: ignore[attr-defined]  # it makes tests and is none


def _read(statements: Sequence[ast.stmt]) -> set[str]:
    """The names that are read. A read that comes after a binding counts too: it does no harm."""
    found: set[str] = set()
    for statement in statements:
        for node in ast.walk(statement):
            match node:
                case ast.Name(id=name, ctx=ast.Load()) | ast.AugAssign(target=ast.Name(id=name)):
                    found.add(name)
                case _:
                    pass
    return found


def _named(nodes: Sequence[ast.AST]) -> set[str]:
    """Every name that is read or bound."""
    found: set[str] = set()
    for node in nodes:
        for child in ast.walk(node):
            match child:
                case ast.Name(id=name) | ast.arg(arg=name) | ast.FunctionDef(name=name):
                    found.add(name)
                case ast.alias(name=name, asname=other):
                    found.add(other or name)
                case _:
                    pass
    return found
