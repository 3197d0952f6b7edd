from __future__ import annotations

import pytest
from sashizu_budget.ledger import Ledger
from sashizu_core.testing import BudgetContract, ShiftContract


class TestLedger(BudgetContract, ShiftContract):
    @pytest.fixture
    def budget(self) -> Ledger:
        return Ledger()
