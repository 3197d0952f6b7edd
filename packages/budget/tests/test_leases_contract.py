"""A tree below a redeemed lease promises all that a tree of one process does."""

from __future__ import annotations

from pathlib import Path

import pytest
from sashizu_budget.ledger import Ledger
from sashizu_core.handoff import LeasingBudget
from sashizu_core.protocols import BudgetNode, Busy, Refused
from sashizu_core.testing import BudgetContract, ShiftContract
from sashizu_core.types import Limits


class Leasing(Ledger):
    """Every tree lives on a lease of its own."""

    def root(self, name: str, limits: Limits) -> BudgetNode:  # type: ignore[override]
        lease = self.lease(Ledger().root("giver", Limits()), name, limits)
        assert not isinstance(lease, Busy | Refused)
        return self.redeem(lease.lease_id).node


class TestLeases(BudgetContract, ShiftContract):
    @pytest.fixture
    def budget(self, tmp_path: Path) -> Ledger:
        return Leasing(spend=tmp_path / "spend.sqlite")


def test_the_ledger_can_lease() -> None:
    assert isinstance(Ledger(), LeasingBudget)
