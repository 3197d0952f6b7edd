"""The executor of a cluster does what every executor does."""

from collections.abc import AsyncIterator
from functools import partial

import pytest
from sashizu_cluster.board import WorkBoard
from sashizu_cluster.cluster_executor import cluster_executor
from sashizu_cluster.database import Database
from sashizu_cluster.engine import EngineClient
from sashizu_core.executors import Executor
from sashizu_core.testing import ExecutorContract
from sashizu_core.testing.executor_operations import CONTRACT_OPERATIONS

pytestmark = pytest.mark.postgres


class TestClusterExecutor(ExecutorContract):
    @pytest.fixture
    async def executor(self, cluster: str) -> AsyncIterator[Executor]:
        database = Database(cluster)
        board = WorkBoard(database, "test")
        client = partial(EngineClient, cluster, "default", "test")
        async with cluster_executor(board, client, CONTRACT_OPERATIONS) as executor:
            yield executor
        board.drain(draining=False)
        database.close()
