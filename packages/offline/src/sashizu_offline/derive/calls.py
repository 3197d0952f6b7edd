"""How the interpreter calls: functions of the module, and builtins that only compute."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from typing import Any

from sashizu_offline.checks.tree import Function
from sashizu_offline.derive.scopes import (
    LOCALS,
    Closure,
    Meter,
    Raised,
    Return,
    Scopes,
    checked_or_code,
    local_names,
    own_nodes,
)
from sashizu_offline.derive.values import MUTATORS, NotEvaluable, checked, method_of

__all__ = ["Calls"]

_MAX_DEPTH = 40
_ORDERLESS = (len, sorted, any, all, min, max, set, frozenset, bool, isinstance)
_CONSUMERS = (list, tuple, set, frozenset, sorted, sum, max, min, any, all)


class Calls:
    """The part of the interpreter that calls."""

    def __init__(self, meter: Meter) -> None:
        self.meter = meter
        self.shared: set[int] = set()

    def expression(self, node: ast.expr, scopes: Scopes) -> Any:
        raise NotImplementedError

    def block(self, body: list[ast.stmt], scopes: Scopes) -> None:
        raise NotImplementedError

    def burn(self) -> None:
        """Take one step.

        Raises:
            NotEvaluable: there were too many.
        """
        self.meter.fuel -= 1
        if self.meter.fuel < 0:
            raise NotEvaluable("it takes too many steps")

    def own(self, container: Any) -> Any:
        """A container that may be changed: not one that the module shares between calls."""
        if id(container) in self.shared:
            raise NotEvaluable("the function changes a value of the module")
        return container

    def elements(self, elts: list[ast.expr], scopes: Scopes) -> list[Any]:
        made: list[Any] = []
        for item in elts:
            if isinstance(item, ast.Starred):
                made.extend(self.items(item.value, scopes))
            else:
                made.append(self.expression(item, scopes))
        return made

    def items(self, node: ast.expr, scopes: Scopes) -> Iterator[Any]:
        value = self.expression(node, scopes)
        if not hasattr(value, "__iter__") or isinstance(value, Closure | type):
            raise Raised(TypeError("not iterable"), node.lineno, explicit=False)
        return self.iterate(value)

    def iterate(self, value: Any, *, in_order: bool = True) -> Iterator[Any]:
        checked(value)
        if in_order and isinstance(value, set | frozenset):
            raise NotEvaluable("the order of a set")
        for item in value:
            self.burn()
            yield item

    def _of_call(self, node: ast.Call, scopes: Scopes) -> Any:
        function = self._callee(node.func, scopes)
        args = self.elements(node.args, scopes)
        words: dict[str, Any] = {}
        for word in node.keywords:
            if word.arg is None:
                raise NotEvaluable("a call with **")
            words[word.arg] = self.expression(word.value, scopes)
        return self.invoke(function, args, words, node.lineno)

    def _callee(self, func: ast.expr, scopes: Scopes) -> Any:
        if not isinstance(func, ast.Attribute):
            return self.expression(func, scopes)
        owner = self.expression(func.value, scopes)
        if func.attr in MUTATORS:
            self.own(owner)
        return method_of(owner, func.attr)

    def invoke(self, function: Any, args: list[Any], words: dict[str, Any], line: int) -> Any:
        if isinstance(function, Closure):
            home = function.home
            assert isinstance(home, Calls)
            return home.enter(function, args, words, line)
        if isinstance(function, type) and issubclass(function, Exception):
            return function(*args)
        if function is isinstance:
            return self._isinstance(args)
        if not callable(function):
            raise Raised(TypeError("not callable"), line, explicit=False)
        native_args = [self._native(value, line) for value in args]
        native_words = {name: self._native(value, line) for name, value in words.items()}
        in_order = function not in _ORDERLESS
        if in_order and any(isinstance(value, set | frozenset) for value in native_args):
            raise NotEvaluable("the order of a set")
        if function in _CONSUMERS:
            native_args = [self._bounded(value) for value in native_args]
        return self._guarded_call(function, native_args, native_words, line)

    def _isinstance(self, args: list[Any]) -> bool:
        value, wanted = args
        kinds = wanted if isinstance(wanted, tuple) else (wanted,)
        if isinstance(value, Closure) or not all(isinstance(kind, type) for kind in kinds):
            raise NotEvaluable("isinstance of something that is no plain data")
        return isinstance(value, kinds)

    def _bounded(self, value: Any) -> Any:
        """An iterable as a list that was paid for, so that nothing endless is consumed."""
        if isinstance(value, str | bytes | int | float | dict | set | frozenset | None):
            return value
        return list(self.iterate(value)) if hasattr(value, "__iter__") else value

    def _native(self, value: Any, line: int) -> Any:
        """A closure as something that builtins can call."""
        if isinstance(value, Closure):
            return lambda *args: self.invoke(value, list(args), {}, line)
        if isinstance(value, Exception):
            raise NotEvaluable("an exception as a value")
        return value

    def _guarded_call(
        self, function: Any, args: list[Any], words: dict[str, Any], line: int
    ) -> Any:
        try:
            return checked_or_code(function(*args, **words))
        except (NotEvaluable, Raised, RecursionError):
            raise
        except Exception as error:  # noqa: BLE001 - what the builtin raises, the code would raise
            raise Raised(error, line, explicit=False) from None

    def guarded(self, node: ast.AST, function: Any, *args: Any) -> Any:
        """Call our own code; what Python itself would raise becomes `Raised`."""
        try:
            return function(*args)
        except (NotEvaluable, Raised, RecursionError):
            raise
        except Exception as error:  # noqa: BLE001 - what it raises, the code would raise
            raise Raised(error, getattr(node, "lineno", 0), explicit=False) from None

    def closure(self, node: Function | ast.Lambda, scopes: Scopes) -> Closure:
        arguments = node.args
        names = [argument.arg for argument in (*arguments.posonlyargs, *arguments.args)]
        made = Closure(node, scopes, self)
        defaulted = names[len(names) - len(arguments.defaults) :]
        for name, default in zip(defaulted, arguments.defaults, strict=True):
            made.defaults[name] = self.expression(default, scopes)
        for argument, default_or_none in zip(
            arguments.kwonlyargs, arguments.kw_defaults, strict=True
        ):
            if default_or_none is not None:
                made.defaults[argument.arg] = self.expression(default_or_none, scopes)
        self.shared |= {
            id(value) for value in made.defaults.values() if isinstance(value, list | dict | set)
        }
        return made

    def enter(self, function: Closure, args: list[Any], words: dict[str, Any], line: int) -> Any:
        self.burn()
        if self.meter.depth >= _MAX_DEPTH:
            raise NotEvaluable("it calls too deeply")
        names = self._bind(function, args, words, line)
        names[LOCALS] = local_names(function.node)
        scopes = (names, *function.scopes)
        self.meter.depth += 1
        try:
            if isinstance(function.node, ast.Lambda):
                return self.expression(function.node.body, scopes)
            return self._run(function.node, scopes)
        finally:
            self.meter.depth -= 1

    def _run(self, node: Function, scopes: Scopes) -> Any:
        if isinstance(node, ast.AsyncFunctionDef):
            raise NotEvaluable("an async function")
        if any(
            isinstance(c, ast.Yield | ast.YieldFrom | ast.Global | ast.Nonlocal)
            for c in own_nodes(node)
        ):
            raise NotEvaluable("a generator, or a function with global state")
        try:
            self.block(node.body, scopes)
        except Return as returned:
            return returned.value
        return None

    def _bind(
        self, function: Closure, args: list[Any], words: dict[str, Any], line: int
    ) -> dict[str, Any]:
        arguments = function.node.args
        positional = [argument.arg for argument in (*arguments.posonlyargs, *arguments.args)]
        names: dict[str, Any] = dict(zip(positional, args, strict=False))
        extra = args[len(positional) :]
        if arguments.vararg:
            names[arguments.vararg.arg] = tuple(extra)
        allowed = {*positional, *(argument.arg for argument in arguments.kwonlyargs)}
        unknown = {name: value for name, value in words.items() if name not in allowed}
        if arguments.kwarg:
            names[arguments.kwarg.arg] = unknown
        wrong = (extra and not arguments.vararg) or (unknown and not arguments.kwarg)
        if wrong or any(name in names for name in words if name in allowed):
            raise Raised(TypeError("wrong arguments"), line, explicit=False)
        names.update({name: value for name, value in words.items() if name in allowed})
        for name in allowed - names.keys():
            if name not in function.defaults:
                raise Raised(TypeError(f"missing argument {name!r}"), line, explicit=False)
            names[name] = function.defaults[name]
        return names
