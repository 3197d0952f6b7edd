"""Small changes of a function: a test that notices none of them proves nothing."""

from __future__ import annotations

import ast
import copy
from collections.abc import Iterator

__all__ = ["mutants"]

MOST = 12
"""How many mutants are made of one function."""

_SWAPPED: dict[type[ast.AST], type[ast.AST]] = {
    ast.Add: ast.Sub,
    ast.Sub: ast.Add,
    ast.Mult: ast.Add,
    ast.Div: ast.Mult,
    ast.FloorDiv: ast.Mult,
    ast.Mod: ast.Mult,
    ast.Eq: ast.NotEq,
    ast.NotEq: ast.Eq,
    ast.Lt: ast.GtE,
    ast.LtE: ast.Gt,
    ast.Gt: ast.LtE,
    ast.GtE: ast.Lt,
    ast.In: ast.NotIn,
    ast.NotIn: ast.In,
    ast.Is: ast.IsNot,
    ast.IsNot: ast.Is,
    ast.And: ast.Or,
    ast.Or: ast.And,
}


def _changed(node: ast.AST) -> ast.AST | None:
    """The node with one thing changed, or None where nothing is to change."""
    match node:
        case ast.BinOp(op=op) | ast.BoolOp(op=op) if type(op) in _SWAPPED:
            node.op = _SWAPPED[type(op)]()  # type: ignore[assignment]
        case ast.Compare(ops=[op, *_]) if type(op) in _SWAPPED:
            node.ops[0] = _SWAPPED[type(op)]()  # type: ignore[call-overload]
        case ast.Constant(value=bool() as value):
            node.value = not value
        case ast.Constant(value=int() | float() as value):
            node.value = value + 1
        case ast.Constant(value=str() as value):
            node.value = value + "!"
        case ast.Return(value=ast.expr()):
            node.value = ast.Constant(None)
        case ast.Raise():
            return ast.copy_location(ast.Pass(), node)
        case _:
            return None
    return node


class _Change(ast.NodeTransformer):
    """Changes the n-th node that can be changed."""

    def __init__(self, wanted: int) -> None:
        self.left = wanted
        self.done = False

    def visit(self, node: ast.AST) -> ast.AST:
        if self.done:
            return node
        if isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant):
            return node  # a docstring
        before = self.left
        candidate = _changed(copy.copy(node) if not isinstance(node, ast.Compare) else _own(node))
        if candidate is not None:
            if before == 0:
                self.done = True
                return ast.copy_location(candidate, node)
            self.left -= 1
        return self.generic_visit(node)


def _own(node: ast.Compare) -> ast.Compare:
    return ast.Compare(node.left, list(node.ops), node.comparators)


def mutants(function: ast.FunctionDef) -> Iterator[ast.FunctionDef]:
    """Copies of a function with one change each, in the order of the source."""
    for number in range(MOST):
        changed = copy.deepcopy(function)
        change = _Change(number)
        changed.body = [change.visit(statement) for statement in changed.body]  # type: ignore[misc]
        if not change.done:
            return
        yield ast.fix_missing_locations(changed)
