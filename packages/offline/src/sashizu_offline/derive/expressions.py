"""How the interpreter computes expressions and assigns their values."""

from __future__ import annotations

import ast
from collections.abc import Iterator, Mapping
from typing import Any

from sashizu_offline.checks.tree import Function
from sashizu_offline.derive.calls import Calls
from sashizu_offline.derive.scopes import (
    IS_LOOP,
    LOCALS,
    Meter,
    Raised,
    Scopes,
    checked_or_code,
    definitions,
)
from sashizu_offline.derive.values import (
    ERRORS,
    FUNCTIONS,
    NotEvaluable,
    checked,
    format_text,
    operate,
    unary,
)

__all__ = ["Expressions"]


class Expressions(Calls):
    """The part of the interpreter that computes values and knows the names of the module."""

    def __init__(self, tree: ast.Module, replaced: Mapping[str, Function], meter: Meter) -> None:
        super().__init__(meter)
        self._replaced = dict(replaced)
        self._definitions = definitions(tree)
        self._globals: dict[str, Any] = {}

    def module_name(self, name: str) -> Any:
        if name in self._globals:
            return self._globals[name]
        node = self._replaced.get(name) or self._definitions.get(name)
        if node is None:
            if "*" in self._definitions:
                raise NotEvaluable(f"the name {name!r}, which may come from 'import *'")
            if name in FUNCTIONS:
                return FUNCTIONS[name]
            if name in ERRORS:
                return ERRORS[name]
            raise NotEvaluable(f"the name {name!r}")
        value = self._defined(node) if not isinstance(node, ast.Pass) else self.imported(name)
        self._globals[name] = value
        if isinstance(value, list | dict | set):
            self.shared.add(id(value))
        return value

    def imported(self, name: str) -> Any:
        """The value of a name that another module defines."""
        raise NotImplementedError

    def _defined(self, node: ast.AST) -> Any:
        if isinstance(node, ast.FunctionDef):
            if node.decorator_list:
                raise NotEvaluable("a decorated function")
            return self.closure(node, ())
        if isinstance(node, ast.ClassDef):
            return self._error_class(node)
        if isinstance(node, ast.expr):
            return self.expression(node, ())
        raise NotEvaluable("a name that is bound in a way the interpreter does not follow")

    def _error_class(self, node: ast.ClassDef) -> Any:
        """An exception class whose body holds constants only."""
        plain = all(
            isinstance(s, ast.Pass)
            or (isinstance(s, ast.Expr | ast.Assign) and isinstance(s.value, ast.Constant))
            for s in node.body
        )
        if not plain or node.decorator_list or node.keywords or len(node.bases) != 1:
            raise NotEvaluable(f"the class {node.name!r}")
        base = self.expression(node.bases[0], ())
        if not (isinstance(base, type) and issubclass(base, Exception)):
            raise NotEvaluable(f"the class {node.name!r}")
        return type(node.name, (base,), {})

    def _lookup(self, name: str, scopes: Scopes) -> Any:
        for scope in scopes:
            if name in scope:
                return scope[name]
            if name in scope.get(LOCALS, ()):
                raise NotEvaluable(f"the variable {name!r}, which may be unset")
        return self.module_name(name)

    # --- assignment -------------------------------------------------------------------------------

    def assign(self, target: ast.expr, value: Any, scopes: Scopes) -> None:
        match target:
            case ast.Name(id=name):
                scopes[0][name] = value
            case ast.Tuple(elts=elts) | ast.List(elts=elts):
                self._unpack(target, elts, value, scopes)
            case ast.Subscript(value=owner, slice=where):
                container = self.own(self.expression(owner, scopes))
                if not isinstance(container, list | dict):
                    raise NotEvaluable("assignment to an item")
                self.guarded(
                    target,
                    container.__setitem__,
                    self.expression(where, scopes),
                    checked_or_code(value),
                )
            case _:
                raise NotEvaluable("assignment to an attribute")

    def _unpack(
        self,
        target: ast.expr,
        elts: list[ast.expr],
        value: Any,
        scopes: Scopes,
    ) -> None:
        if any(isinstance(item, ast.Starred) for item in elts):
            raise NotEvaluable("unpacking with a star")
        items = list(self.iterate(value))
        if len(items) != len(elts):
            error = ValueError(f"expected {len(elts)} values, got {len(items)}")
            raise Raised(error, target.lineno, explicit=False)
        for item, part in zip(elts, items, strict=True):
            self.assign(item, part, scopes)

    # --- expressions ------------------------------------------------------------------------------

    def expression(self, node: ast.expr, scopes: Scopes) -> Any:
        self.burn()
        method = getattr(self, f"_of_{type(node).__name__.lower()}", None)
        if method is None:
            raise NotEvaluable(f"an expression of kind {type(node).__name__}")
        return method(node, scopes)

    def _of_constant(self, node: ast.Constant, _scopes: Scopes) -> Any:
        return checked(node.value)

    def _of_name(self, node: ast.Name, scopes: Scopes) -> Any:
        return self._lookup(node.id, scopes)

    def _of_tuple(self, node: ast.Tuple, scopes: Scopes) -> Any:
        return tuple(self.elements(node.elts, scopes))

    def _of_list(self, node: ast.List, scopes: Scopes) -> Any:
        return self.elements(node.elts, scopes)

    def _of_set(self, node: ast.Set, scopes: Scopes) -> Any:
        return self.guarded(node, set, self.elements(node.elts, scopes))

    def _of_dict(self, node: ast.Dict, scopes: Scopes) -> Any:
        made: dict[Any, Any] = {}
        for key, value in zip(node.keys, node.values, strict=True):
            if key is None:
                merged = self.expression(value, scopes)
                if not isinstance(merged, dict):
                    raise NotEvaluable("** of no dict")
                made.update(merged)
            else:
                name, item = self.expression(key, scopes), self.expression(value, scopes)
                self.guarded(node, made.__setitem__, name, item)
        return made

    def _of_boolop(self, node: ast.BoolOp, scopes: Scopes) -> Any:
        stop_at = isinstance(node.op, ast.Or)
        value: Any = None
        for part in node.values:
            value = self.expression(part, scopes)
            if bool(value) is stop_at:
                return value
        return value

    def _of_binop(self, node: ast.BinOp, scopes: Scopes) -> Any:
        left, right = self.expression(node.left, scopes), self.expression(node.right, scopes)
        return self.operated(node, node.op, left, right)

    def operated(self, node: ast.AST, op: ast.AST, left: Any, right: Any) -> Any:
        checked_or_code(left)
        checked_or_code(right)
        return self.guarded(node, operate, op, left, right)

    def _of_unaryop(self, node: ast.UnaryOp, scopes: Scopes) -> Any:
        return self.guarded(node, unary, node.op, self.expression(node.operand, scopes))

    def _of_compare(self, node: ast.Compare, scopes: Scopes) -> Any:
        left = self.expression(node.left, scopes)
        result: Any = True
        for op, part in zip(node.ops, node.comparators, strict=True):
            right = self.expression(part, scopes)
            result = self.operated(node, op, left, right)
            if not result:
                return result
            left = right
        return result

    def _of_ifexp(self, node: ast.IfExp, scopes: Scopes) -> Any:
        return self.expression(
            node.body if self.expression(node.test, scopes) else node.orelse, scopes
        )

    def _of_namedexpr(self, node: ast.NamedExpr, scopes: Scopes) -> Any:
        if IS_LOOP in scopes[0]:
            raise NotEvaluable("an assignment inside a comprehension")
        value = self.expression(node.value, scopes)
        scopes[0][node.target.id] = value
        return value

    def _of_joinedstr(self, node: ast.JoinedStr, scopes: Scopes) -> Any:
        return checked("".join(str(self.expression(part, scopes)) for part in node.values))

    def _of_formattedvalue(self, node: ast.FormattedValue, scopes: Scopes) -> Any:
        value = self.expression(node.value, scopes)
        spec = "" if node.format_spec is None else str(self.expression(node.format_spec, scopes))
        return self.guarded(node, format_text, value, node.conversion, spec)

    def _of_subscript(self, node: ast.Subscript, scopes: Scopes) -> Any:
        owner = self.expression(node.value, scopes)
        if not isinstance(owner, str | bytes | list | tuple | dict | range):
            raise NotEvaluable("an item of no plain container")
        return self.guarded(node, lambda: owner[self.expression(node.slice, scopes)])

    def _of_slice(self, node: ast.Slice, scopes: Scopes) -> Any:
        parts = [
            None if part is None else self.expression(part, scopes)
            for part in (node.lower, node.upper, node.step)
        ]
        return slice(*parts)

    def _of_lambda(self, node: ast.Lambda, scopes: Scopes) -> Any:
        return self.closure(node, scopes)

    def _of_listcomp(self, node: ast.ListComp, scopes: Scopes) -> Any:
        return [self.expression(node.elt, inner) for inner in self._loops(node.generators, scopes)]

    def _of_setcomp(self, node: ast.SetComp, scopes: Scopes) -> Any:
        items = [self.expression(node.elt, inner) for inner in self._loops(node.generators, scopes)]
        return self.guarded(node, set, items)

    def _of_generatorexp(self, node: ast.GeneratorExp, scopes: Scopes) -> Any:
        inner = self._loops(node.generators, scopes)
        return iter([self.expression(node.elt, names) for names in inner])

    def _of_dictcomp(self, node: ast.DictComp, scopes: Scopes) -> Any:
        pairs = [
            (self.expression(node.key, inner), self.expression(node.value, inner))
            for inner in self._loops(node.generators, scopes)
        ]
        return self.guarded(node, dict, pairs)

    def _loops(self, generators: list[ast.comprehension], scopes: Scopes) -> Iterator[Scopes]:
        """The scopes of every turn of the nested loops."""
        if not generators:
            yield scopes
            return
        first, *rest = generators
        inner: Scopes = ({IS_LOOP: True}, *scopes)
        for item in self.items(first.iter, scopes):
            self.assign(first.target, item, inner)
            if all(self.expression(test, inner) for test in first.ifs):
                yield from self._loops(rest, inner)
