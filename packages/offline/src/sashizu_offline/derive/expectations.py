"""What a function is expected to do, as its own text says: examples, constants, raised errors."""

from __future__ import annotations

import ast
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from sashizu_offline.derive.literals import literal_text
from sashizu_offline.derive.machine import Machine, Raised

__all__ = ["Expectation", "Maker", "Outcome"]

Maker = Callable[[Mapping[str, ast.FunctionDef]], Machine]
"""Makes an interpreter of the module, with some of its functions replaced."""


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
    def statements(self) -> tuple[ast.stmt, ...]:
        """The body of a test. Names of the module are written as they are."""
        return (*self.setup, self._refusal if self.error else self._assertion)

    @property
    def _refusal(self) -> ast.With:
        match = f", match={_exactly(self.message)!r}" if self.message else ""
        (block,) = ast.parse(f"with pytest.raises({self.error}{match}): pass").body
        assert isinstance(block, ast.With)
        block.body = [ast.Expr(self.check)]
        return block

    @property
    def _assertion(self) -> ast.Assert:
        """As a tree: pasted as text, the operators of the check would take what follows along."""
        text = literal_text(self.value)
        assert text is not None
        operator = ast.Is() if _is_single(self.value) else ast.Eq()
        expected = ast.parse(text, mode="eval").body
        return ast.Assert(ast.Compare(self.check, [operator], [expected]))

    def holds(self, machine: Machine) -> bool:
        """Whether the written test would pass. Raises `NotEvaluable` where that can not be told."""
        names: dict[str, Any] = {}
        try:
            for statement in self.setup:
                machine.execute(statement, names)
            value = machine.evaluate(self.check, names)
        except Raised as raised:
            kinds = {kind.__name__ for kind in type(raised.error).__mro__}
            told = not self.message or re.search(_exactly(self.message), str(raised.error))
            return self.error in kinds and bool(told)
        if self.error:
            return False
        return value is self.value if _is_single(self.value) else bool(value == self.value)


def _is_single(value: Any) -> bool:
    return value is None or value is True or value is False


def _exactly(message: str) -> str:
    """A regular expression that matches nothing but a message; blanks stay readable."""
    return "^" + re.sub(r"([.^$*+?{}\[\]\\|()])", r"\\\1", message) + "$"


@dataclass
class Outcome:
    """What one source of expectations gave. `wrong` are examples that do not hold: line, text."""

    expectations: list[Expectation] = field(default_factory=list)
    problem: str = ""
    wrong: list[tuple[int, str]] = field(default_factory=list)
