"""What the interpreter works with: raised errors, functions, scopes, the names of a module."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Any

from sashizu_offline.checks.tree import FUNCTIONS as FUNCTION_NODES
from sashizu_offline.checks.tree import Function
from sashizu_offline.derive.values import ERRORS, FUNCTIONS, NotEvaluable, checked

__all__ = [
    "IS_LOOP",
    "LOCALS",
    "Break",
    "Closure",
    "Continue",
    "Meter",
    "Raised",
    "Return",
    "Scopes",
    "as_load",
    "checked_or_code",
    "definitions",
    "local_names",
    "own_nodes",
]

Scopes = tuple[dict[str, Any], ...]
"""The names around an expression, the innermost first."""


class Raised(Exception):
    """The code raised `error`; `explicit` when a `raise` statement did, in line `line`."""

    def __init__(self, error: Exception, line: int, *, explicit: bool) -> None:
        super().__init__(repr(error))
        self.error = error
        self.line = line
        self.explicit = explicit


class Return(Exception):
    def __init__(self, value: Any) -> None:
        self.value = value


class Break(Exception):
    pass


class Continue(Exception):
    pass


@dataclass(eq=False)
class Closure:
    """A function or lambda with the names around it; `home` interprets its module."""

    node: Function | ast.Lambda
    scopes: Scopes
    home: object
    defaults: dict[str, Any] = field(default_factory=dict)


@dataclass
class Meter:
    """How many steps one evaluation has left in all modules it reaches, and how deep it is.

    `stock` is what all evaluations together have left.
    """

    fuel: int = 0
    depth: int = 0
    stock: int = 1_000_000

    def fill(self, most: int) -> None:
        """Begin an evaluation of at most so many steps."""
        self.stock += max(0, self.fuel)  # what the last one left
        self.fuel = min(most, self.stock)
        self.stock -= self.fuel
        self.depth = 0


LOCALS = "."
"""Where a scope keeps which names its function binds; no name can be spelled so."""

IS_LOOP = ","
"""Marks the scope of a comprehension."""


def local_names(node: Function | ast.Lambda) -> frozenset[str]:
    """The names that a function binds in its own body."""
    if isinstance(node, ast.Lambda):
        return frozenset()
    return frozenset(
        child.id
        for child in own_nodes(node)
        if isinstance(child, ast.Name) and isinstance(child.ctx, ast.Store)
    )


def checked_or_code(value: Any) -> Any:
    """Plain data, or a function or class of the interpreter, which may be passed around."""
    if isinstance(value, Closure) or value in _PASSED:
        return value
    return checked(value)


class _Passed:
    """Builtins that may be passed as values; looked up by identity, as values may be unhashable."""

    def __init__(self) -> None:
        self._ids = {id(value) for value in (*FUNCTIONS.values(), *ERRORS.values())}

    def __contains__(self, value: object) -> bool:
        return id(value) in self._ids


_PASSED = _Passed()


def as_load(target: ast.expr) -> ast.expr:
    """A target as an expression that is read."""
    match target:
        case ast.Name(id=name):
            return ast.copy_location(ast.Name(name, ast.Load()), target)
        case ast.Subscript(value=value, slice=where):
            return ast.copy_location(ast.Subscript(value, where, ast.Load()), target)
        case _:
            raise NotEvaluable("assignment to an attribute")


def own_nodes(function: Function) -> Iterator[ast.AST]:
    """The nodes of a function without those of functions inside it."""
    stack: list[ast.AST] = list(function.body)
    while stack:
        node = stack.pop()
        yield node
        if not isinstance(node, (*FUNCTION_NODES, ast.Lambda)):
            stack.extend(ast.iter_child_nodes(node))


@lru_cache(maxsize=8)
def definitions(tree: ast.Module) -> dict[str, ast.AST]:
    """The names that a module binds exactly once, at its top, and to what."""
    found: dict[str, ast.AST] = {}
    several: set[str] = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Global):
            several |= set(node.names)
    for statement in tree.body:
        for name, value in _bound(statement):
            if name in found:
                several.add(name)
            found[name] = value
    return {name: ast.Pass() if name in several else node for name, node in found.items()}


def _bound(node: ast.stmt) -> list[tuple[str, ast.AST]]:
    """The names that a statement of the module binds, and to what; `Pass` where it is not plain."""
    match node:
        case ast.FunctionDef(name=name) | ast.ClassDef(name=name) | ast.AsyncFunctionDef(name=name):
            return [(name, node)]
        case ast.Assign(targets=[ast.Name(id=name)], value=value):
            return [(name, value)]
        case ast.AnnAssign(target=ast.Name(id=name), value=ast.expr() as value):
            return [(name, value)]
        case _:
            return [(name, ast.Pass()) for name in _stored(node)]


def _stored(node: ast.stmt) -> set[str]:
    """The names that a compound statement of the module may bind."""
    names: set[str] = set()
    for child in ast.walk(node):
        match child:
            case ast.Name(id=name, ctx=ast.Store()):
                names.add(name)
            case ast.alias(name=name, asname=asname):
                names.add(asname or name.partition(".")[0])
            case ast.FunctionDef(name=name) | ast.ClassDef(name=name):
                names.add(name)
            case ast.AsyncFunctionDef(name=name):
                names.add(name)
            case ast.ExceptHandler(name=str(name)) | ast.MatchAs(name=str(name)):
                names.add(name)
            case _:
                pass
    return names
