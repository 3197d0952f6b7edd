"""What sashizu-cluster offers to the registry; import-light."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Mapping, Sequence
from contextlib import asynccontextmanager

from sashizu_core.executors import Executor, Operation
from sashizu_core.hookspecs import hookimpl
from sashizu_core.settings import Settings
from sashizu_core.specs import CommandSpec, ExecutorSpec

__all__ = ["register_commands", "register_executors"]


@hookimpl
def register_executors(settings: Settings) -> Sequence[ExecutorSpec]:
    """The workers of a cluster."""

    @asynccontextmanager
    async def open_(operations: Mapping[str, Operation]) -> AsyncGenerator[Executor]:
        from sashizu_cluster.opening import open_executor

        async with open_executor(settings, operations) as executor:
            yield executor

    return [ExecutorSpec("cluster", "agents work on the workers of a cluster", open_)]


@hookimpl
def register_commands() -> Sequence[CommandSpec]:
    return [
        CommandSpec(
            "cluster", "Set up a cluster, and see what it does.", "sashizu_cluster.cli:app"
        ),
        CommandSpec(
            "worker", "Work on what is handed to the cluster.", "sashizu_cluster.worker_cli:app"
        ),
    ]
