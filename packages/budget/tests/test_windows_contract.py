"""Below windows a tree promises all that it does alone."""

from __future__ import annotations

from pathlib import Path

import pytest
from sashizu_budget.drawing import DrawingNode
from sashizu_budget.ledger import Ledger
from sashizu_budget.spend_connection import SpendFile
from sashizu_budget.windows import Windows
from sashizu_core.protocols import ShiftingBudget
from sashizu_core.testing import BudgetContract, ShiftContract
from sashizu_core.types import Limits


class TestBelowWindowsOfAnotherProject(BudgetContract, ShiftContract):
    """Everything is counted, and nothing of it limited."""

    @pytest.fixture
    def budget(self, tmp_path: Path) -> ShiftingBudget:
        spend = tmp_path / "spend.sqlite"
        Windows(SpendFile(spend), "/elsewhere").set("project", Limits(tokens=1))
        ledger = Ledger(spend=spend, project=tmp_path)
        assert isinstance(ledger.root("run", Limits()), DrawingNode)
        return ledger


class Tight(Ledger):
    """Every tree is limited by a window of its own as much as by its own root."""

    def root(self, name: str, limits: Limits) -> DrawingNode:
        assert self._spend is not None
        assert self._project is not None
        self._project = self._project / "next"
        windows = Windows(SpendFile(self._spend), str(self._project.resolve()))
        others = Windows(SpendFile(self._spend), "/elsewhere")
        others.set("project", Limits(tokens=1))  # there is always one
        counted = {unit: getattr(limits, unit) for unit in ("tokens", "nusd", "requests")}
        windows.set("project", Limits(**{unit: n for unit, n in counted.items() if n}))
        root = super().root(name, limits)
        assert isinstance(root, DrawingNode)
        return root


class TestBelowWindowsAsTightAsTheRun(BudgetContract, ShiftContract):
    @pytest.fixture
    def budget(self, tmp_path: Path) -> ShiftingBudget:
        return Tight(spend=tmp_path / "spend.sqlite", project=tmp_path)
