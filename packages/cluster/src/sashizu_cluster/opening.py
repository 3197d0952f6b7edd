"""Opens what is of a cluster, for the settings of this machine."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Mapping
from contextlib import asynccontextmanager
from functools import partial
from importlib.metadata import version

from anyio import to_thread
from sashizu_core.executors import Executor, Operation
from sashizu_core.settings import Settings

from sashizu_cluster.board import WorkBoard
from sashizu_cluster.cluster_executor import cluster_executor
from sashizu_cluster.database import Database
from sashizu_cluster.engine import EngineClient
from sashizu_cluster.schema import check_cluster
from sashizu_cluster.settings import cluster_settings, dsn_of

__all__ = ["VERSION", "open_executor"]

VERSION = version("sashizu-core")
"""Work goes to workers of the same version alone."""


@asynccontextmanager
async def open_executor(
    settings: Settings, operations: Mapping[str, Operation]
) -> AsyncGenerator[Executor]:
    """The executor of the cluster that the settings name.

    Raises:
        ConfigError: they name none.
        ClusterError: it cannot be reached, is not set up, or is of another version.
    """
    own = cluster_settings(settings)
    dsn = dsn_of(own)
    await to_thread.run_sync(check_cluster, dsn, own.name)
    database = Database(dsn)
    try:
        board = WorkBoard(database, VERSION)
        tenant = await to_thread.run_sync(database.tenant)
        client = partial(EngineClient, dsn, tenant, VERSION)
        async with cluster_executor(board, client, operations) as executor:
            yield executor
    finally:
        database.close()
