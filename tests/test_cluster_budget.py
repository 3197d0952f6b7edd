"""The ledger on rows of PostgreSQL promises all that the ledger of one process does."""

from __future__ import annotations

from collections.abc import Iterator
from uuid import uuid4

import pytest
from sashizu_budget.ledger import Ledger
from sashizu_cluster.database import Database
from sashizu_cluster.schema import set_up
from sashizu_cluster.spending import SharedSpend
from sashizu_cluster.testing import TemporaryPostgres
from sashizu_core.drawing import DrawingBudget
from sashizu_core.protocols import BudgetNode
from sashizu_core.testing import BudgetContract, ShiftContract
from sashizu_core.types import Limits

pytestmark = pytest.mark.postgres


class ClusterLedger(Ledger):
    """Every tree lives on rows of its own, beneath the organisation and a run without limits."""

    def __init__(self, spend: SharedSpend) -> None:
        super().__init__()
        self.spend = spend

    def root(self, name: str, limits: Limits) -> BudgetNode:  # type: ignore[override]
        run = self.spend.open(str(uuid4()), "the run", Limits())
        node = self.spend.open(str(uuid4()), name, limits, parent=run)
        return self.drawn_from(self.spend.source(node))


@pytest.fixture(scope="module")
def database(postgres: TemporaryPostgres) -> Iterator[Database]:
    dsn = postgres.dsn(postgres.create_database())
    set_up(dsn)
    database = Database(dsn)
    yield database
    database.close()


class TestSharedSpend(BudgetContract, ShiftContract):
    @pytest.fixture
    def budget(self, database: Database) -> Iterator[Ledger]:
        ledger = ClusterLedger(SharedSpend(database, "worker-1"))
        yield ledger
        ledger.close()


def test_the_ledger_takes_rows_of_others() -> None:
    assert isinstance(Ledger(), DrawingBudget)
