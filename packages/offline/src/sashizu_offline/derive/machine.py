"""An interpreter of pure Python functions: bounded, without imports, attributes or effects.

It understands enough to follow functions over plain data. Whatever it does not understand raises
`NotEvaluable`; it never guesses. The code it reads is hostile: nothing of it is compiled or run.
"""

from __future__ import annotations

import ast
from collections.abc import Callable, Mapping
from typing import Any

from sashizu_offline.checks.tree import Function
from sashizu_offline.derive.expressions import Expressions
from sashizu_offline.derive.scopes import Break, Continue, Meter, Raised, Return, Scopes, as_load
from sashizu_offline.derive.values import NotEvaluable, checked

__all__ = ["Links", "Machine", "Raised"]

Links = Callable[[str], "tuple[ast.Module, str, Links] | None"]

_FUEL = 30_000
"""How many steps one expression may take."""


class Machine(Expressions):
    """Interprets one module's functions. Every `call` and `evaluate` starts with a full tank.

    `links` finds the definition of a name that the module imports: the tree that defines it, the
    name there and the links of that tree; None where that is not known. `replaced` are functions
    that stand in for those of the module.
    """

    def __init__(
        self,
        tree: ast.Module,
        links: Links | None = None,
        replaced: Mapping[str, Function] | None = None,
        meter: Meter | None = None,
    ) -> None:
        super().__init__(tree, replaced or {}, meter or Meter())
        self._links = links

    def imported(self, name: str) -> Any:
        found = self._links(name) if self._links is not None else None
        if found is None:
            raise NotEvaluable(f"the name {name!r}, which is imported or bound in several places")
        tree, other, links = found
        self.burn()
        return Machine(tree, links, meter=self.meter).module_name(other)

    def evaluate(self, node: ast.expr, names: dict[str, Any]) -> Any:
        """The value of an expression; `names` are its variables.

        Raises:
            NotEvaluable: it can not be told.
            Raised: the code raises.
        """
        return checked(self._entered(lambda: self.expression(node, (names,))))

    def execute(self, node: ast.stmt, names: dict[str, Any]) -> None:
        """Run a statement, changing `names`. Raises as `evaluate`."""
        self._entered(lambda: self._statement(node, (names,)))

    def call(self, name: str, arguments: Mapping[str, Any]) -> Any:
        """The value of calling a function of the module by keyword. Raises as `evaluate`."""
        return checked(
            self._entered(lambda: self.invoke(self.module_name(name), [], dict(arguments), 0))
        )

    def _entered(self, work: Callable[[], Any]) -> Any:
        self.meter.fill(_FUEL)
        try:
            return work()
        except (NotEvaluable, Raised):
            raise
        except Exception as error:
            # Whatever the interpreter itself stumbles over is something it does not understand.
            raise NotEvaluable(f"{type(error).__name__} in the interpreter") from error

    def block(self, body: list[ast.stmt], scopes: Scopes) -> None:
        for statement in body:
            self._statement(statement, scopes)

    def _statement(self, node: ast.stmt, scopes: Scopes) -> None:
        self.burn()
        method = getattr(self, f"_do_{type(node).__name__.lower()}", None)
        if method is None:
            raise NotEvaluable(f"a statement of kind {type(node).__name__}")
        method(node, scopes)

    def _do_pass(self, node: ast.Pass, scopes: Scopes) -> None:
        pass

    def _do_expr(self, node: ast.Expr, scopes: Scopes) -> None:
        self.expression(node.value, scopes)

    def _do_return(self, node: ast.Return, scopes: Scopes) -> None:
        raise Return(None if node.value is None else self.expression(node.value, scopes))

    def _do_break(self, _node: ast.Break, _scopes: Scopes) -> None:
        raise Break

    def _do_continue(self, _node: ast.Continue, _scopes: Scopes) -> None:
        raise Continue

    def _do_functiondef(self, node: ast.FunctionDef, scopes: Scopes) -> None:
        if node.decorator_list:
            raise NotEvaluable("a decorated function")
        scopes[0][node.name] = self.closure(node, scopes)

    def _do_assign(self, node: ast.Assign, scopes: Scopes) -> None:
        value = self.expression(node.value, scopes)
        for target in node.targets:
            self.assign(target, value, scopes)

    def _do_annassign(self, node: ast.AnnAssign, scopes: Scopes) -> None:
        if node.value is not None:
            self.assign(node.target, self.expression(node.value, scopes), scopes)

    def _do_augassign(self, node: ast.AugAssign, scopes: Scopes) -> None:
        current = self.expression(as_load(node.target), scopes)
        added = self.expression(node.value, scopes)
        if isinstance(current, list | dict | set):
            raise NotEvaluable("an augmented assignment that changes a container in place")
        self.assign(node.target, self.operated(node, node.op, current, added), scopes)

    def _do_delete(self, node: ast.Delete, scopes: Scopes) -> None:
        for target in node.targets:
            if not isinstance(target, ast.Subscript):
                raise NotEvaluable("del of a name")
            owner = self.own(self.expression(target.value, scopes))
            key = self.expression(target.slice, scopes)
            self.guarded(node, owner.__delitem__, key)

    def _do_assert(self, node: ast.Assert, scopes: Scopes) -> None:
        if not self.expression(node.test, scopes):
            parts = () if node.msg is None else (self.expression(node.msg, scopes),)
            raise Raised(AssertionError(*parts), node.lineno, explicit=False)

    def _do_raise(self, node: ast.Raise, scopes: Scopes) -> None:
        if node.exc is None:
            raise NotEvaluable("a bare raise")
        value = self.expression(node.exc, scopes)
        if isinstance(value, type) and issubclass(value, Exception):
            value = value()
        if not isinstance(value, Exception):
            raise NotEvaluable("raise of no exception")
        raise Raised(value, node.lineno, explicit=True)

    def _do_if(self, node: ast.If, scopes: Scopes) -> None:
        self.block(node.body if self.expression(node.test, scopes) else node.orelse, scopes)

    def _do_while(self, node: ast.While, scopes: Scopes) -> None:
        while self.expression(node.test, scopes):
            self.burn()
            try:
                self.block(node.body, scopes)
            except Break:
                return
            except Continue:
                continue
        self.block(node.orelse, scopes)

    def _do_for(self, node: ast.For, scopes: Scopes) -> None:
        for item in self.items(node.iter, scopes):
            self.assign(node.target, item, scopes)
            try:
                self.block(node.body, scopes)
            except Break:
                return
            except Continue:
                continue
        self.block(node.orelse, scopes)

    def _do_try(self, node: ast.Try, scopes: Scopes) -> None:
        try:
            self.block(node.body, scopes)
        except Raised as raised:
            self._handle(node, raised, scopes)
        else:
            self.block(node.orelse, scopes)
        finally:
            self.block(node.finalbody, scopes)

    def _handle(self, node: ast.Try, raised: Raised, scopes: Scopes) -> None:
        for handler in node.handlers:
            wanted = Exception if handler.type is None else self.expression(handler.type, scopes)
            kinds = wanted if isinstance(wanted, tuple) else (wanted,)
            if not all(isinstance(kind, type) for kind in kinds):
                raise NotEvaluable("an except clause")
            if isinstance(raised.error, kinds):
                if handler.name:
                    scopes[0][handler.name] = raised.error
                try:
                    self.block(handler.body, scopes)
                except NotEvaluable as error:
                    if str(error) == "a bare raise":
                        raise raised from None
                    raise
                return
        raise raised
