"""The budget of a run in the rows of the cluster: one node for it, one beneath for each agent."""

from __future__ import annotations

from uuid import UUID, uuid5

from sashizu_core.runtime.handed_over import agent_key
from sashizu_core.runtime.handed_run import HandedRun
from sashizu_core.types import BudgetState, Limits

from sashizu_cluster.database import Database
from sashizu_cluster.errors import ClusterError, DatabaseGone
from sashizu_cluster.spending import ChunkSource, SharedSpend

__all__ = ["RunSpending"]


class RunSpending:
    """Where the agents of runs draw from. Thread-safe; blocks.

    What an agent holds belongs to its attempt: when the next one begins, its worker is gone, and
    what it held is charged in full.
    """

    def __init__(self, database: Database) -> None:
        self._database = database

    def source(self, run: HandedRun, number: int, attempt: int) -> ChunkSource:
        """What an agent draws from."""
        key = agent_key(run.run_id, number)
        spend = SharedSpend(self._database, f"{key}#{attempt}")
        spend.open(run.run_id, "run", run.asked.budget)
        node = str(uuid5(UUID(run.run_id), str(number)))
        spend.open(node, run.agents[0].name, Limits(), parent=run.run_id)
        for before in range(1, attempt):
            spend.take_over(f"{key}#{before}")
        return spend.source(node)

    def close(self, run_id: str) -> BudgetState | None:
        """End the run's node; what is still held beneath it is charged in full."""
        spend = SharedSpend(self._database, run_id)
        try:
            spend.close(run_id)
        except DatabaseGone:
            raise
        except ClusterError:  # no agent came so far as to open it
            return None
        return spend.state(run_id)
