"""Keeps a created agent among those of the repository, trusted as it was made."""

from __future__ import annotations

import os
from collections.abc import Sequence
from contextlib import AsyncExitStack
from pathlib import Path

import anyio.to_thread

from sashizu_core.agents import load_catalogue
from sashizu_core.agents.definition import agent_key
from sashizu_core.creation.creating import CreatedAgent
from sashizu_core.creation.written import agent_path
from sashizu_core.errors import SashizuError, UsageError
from sashizu_core.plugins import Registry
from sashizu_core.protocols import EventSink
from sashizu_core.runtime.asked import workspace_folder
from sashizu_core.runtime.opening import Opened, run_context
from sashizu_core.runtime.redacting import run_redactor
from sashizu_core.settings import Settings
from sashizu_core.trust import TrustStore
from sashizu_core.turn.record import Recorder

__all__ = ["save_agent"]


async def save_agent(
    created: CreatedAgent,
    *,
    settings: Settings,
    registry: Registry,
    workspace: Path | str = ".",
    audit: bool = True,
    sinks: Sequence[EventSink] = (),
) -> Path:
    """Write the agent's file into `.sashizu/agents` and trust it; the record says so first.

    Returns the file, relative to the workspace.

    Raises:
        UsageError: there is no definition, its name is taken, or the folder leads elsewhere.
        SashizuError: the file cannot be written.
        MissingPackage: a durable record is asked for and its package is absent.
        RecordError: the record cannot be written; then nothing is.
    """
    root = workspace_folder(workspace)
    if created.definition is None:
        raise UsageError(f"no agent was made, so that none is saved: {created.error}")
    name = created.definition.name
    _check_name(name, root, registry)
    path = agent_path(name)
    async with AsyncExitStack() as stack:
        opened = Opened(registry, stack)
        to = [*sinks, *(await opened.sinks() if audit else ())]
        context = run_context(created.run.run_id, root)
        recorder = Recorder(to, context, run_redactor(settings, registry))
        fields = {
            "op": "save_agent",
            "status": "saved",
            "path": path,
            "sha256": created.sha256,
            "bytes": len(created.text.encode()),
            "attrs": {"agent": name},
        }
        await recorder.record([recorder.event("config.changed", fields)])
        await recorder.durable()
        await anyio.to_thread.run_sync(_write, root, path, created.text)
        await anyio.to_thread.run_sync(TrustStore().trust, root, {path: created.sha256})
    return Path(path)


def _check_name(name: str, root: Path, registry: Registry) -> None:
    """Refuse a name that somebody has taken since the agent was made."""
    catalogue = load_catalogue(registry.agents.values(), workspace=root)
    taken = {agent_key(entry.name.rpartition(":")[2]): str(entry.file) for entry in catalogue}
    taken |= {problem.key: str(problem.file) for problem in catalogue.problems}
    if (where := taken.get(agent_key(name))) is not None:
        raise UsageError(f"the name {name!r} is taken by the agent in {where}")


def _write(root: Path, path: str, text: str) -> None:
    """Write a new file beneath the workspace; one that exists is left as it is."""
    target = root / path
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        if target.parent.resolve() != root.resolve() / Path(path).parent:
            raise UsageError(f"{path} is not written: its folder is a link to somewhere else")
        with target.open("xb") as file:
            file.write(text.encode())
            file.flush()
            os.fsync(file.fileno())
    except FileExistsError as error:
        raise UsageError(f"{path} is there already, and stays as it is") from error
    except OSError as error:
        raise SashizuError(f"{path} cannot be written: {error.strerror}") from error
