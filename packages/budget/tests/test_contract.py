from __future__ import annotations

import pytest
from sashizu_budget.ledger import Ledger
from sashizu_core.protocols import Budget
from sashizu_core.testing.budget import BudgetContract


class TestLedger(BudgetContract):
    @pytest.fixture
    def budget(self) -> Budget:
        return Ledger()
