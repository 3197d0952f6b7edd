"""The filter of the settings: one run on record, and an agent instance for each connection."""

from __future__ import annotations

from collections import deque
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path
from time import monotonic_ns
from typing import TYPE_CHECKING, Any
from weakref import finalize

import anyio
from sashizu_core.events import Event
from sashizu_core.grants import Grants, Subject
from sashizu_core.ids import new_agent_id, new_run_id, span_id
from sashizu_core.permissions import grants_sha256
from sashizu_core.runtime.opening import Opened, run_context
from sashizu_core.runtime.redacting import run_redactor
from sashizu_core.settings import Settings
from sashizu_core.turn.record import Recorder
from sashizu_core.turn.steps import LAST_WORDS_S

from sashizu_winai.filtering.connection import JudgedConnection
from sashizu_winai.filtering.pinning import PinnedTools
from sashizu_winai.filtering.recording import ConnectionRecord
from sashizu_winai.filtering.verdicts import FilteredConnection, Parties
from sashizu_winai.settings import winai_settings

if TYPE_CHECKING:
    from sashizu_core.plugins import Registry

__all__ = ["FILTER", "PolicyFilter", "open_filter"]

FILTER = "mcp-filter"
"""The name under which connections are on record."""

MOST_CONNECTIONS = 1_000
"""Connections at the same time; further ones are refused."""


class PolicyFilter:
    """Judges by the grants of the settings, below the operator's ceilings and rules.

    Nobody says that a connection has ended: it has when its object is gone.

    Args:
        run: writes the record of the run that this is.
        chain: what everybody is allowed, outermost first.
        pins: fingerprints of tools by `SERVER/TOOL`.
    """

    def __init__(self, run: Recorder, chain: Sequence[Grants], pins: Mapping[str, str]) -> None:
        self._run = run
        self._chain = tuple(chain)
        self._pins = pins
        self._begun: dict[str, tuple[Recorder, int]] = {}
        self._gone: deque[str] = deque()  # filled in any thread

    async def connection(self, parties: Parties) -> FilteredConnection | None:
        """A connection, put on record.

        Raises:
            RecordError: it cannot be recorded.
        """
        while self._gone:
            own, since = self._begun.pop(self._gone.popleft())
            own.write([_ended(own, since)])
        if len(self._begun) >= MOST_CONNECTIONS:
            return None
        agent_id = new_agent_id()
        own = self._run.derive(
            agent_id=agent_id,
            agent_name=FILTER,
            actor=f"agent:{FILTER}",
            depth=0,
            parent_span_id=self._run.context.get("span_id"),
            span_id=span_id(),
        )
        about = {
            "client": parties.client,
            "client_pid": parties.client_pid,
            "server": parties.server,
            "server_pid": parties.server_pid,
        }
        began = {
            "op": "invoke_agent",
            "mcp_server": parties.server_id,
            "policy_sha256": grants_sha256(self._chain),
            "attrs": about,
        }
        await own.record([own.event("agent.started", began)])
        self._begun[agent_id] = own, monotonic_ns()
        found = JudgedConnection(
            parties.server_id,
            Subject(agent_id, FILTER, self._chain),
            ConnectionRecord(own, parties.server_id),
            PinnedTools(self._pins),
        )
        finalize(found, self._gone.append, agent_id).atexit = False
        return found

    def end(self) -> None:
        """Write the end of every connection.

        Raises:
            RecordError: it cannot be written.
        """
        begun, self._begun, self._gone = self._begun, {}, deque()
        for own, since in begun.values():
            own.write([_ended(own, since)])


def _ended(own: Recorder, since: int) -> Event:
    took = monotonic_ns() - since
    told: dict[str, Any] = {"op": "invoke_agent", "status": "ok", "duration_ns": took}
    return own.event("agent.ended", {**told, "attrs": {"outcome": "answered"}})


@asynccontextmanager
async def open_filter(
    settings: Settings, registry: Registry, *, audit: bool = True
) -> AsyncIterator[PolicyFilter]:
    """The filter of the settings, as a run on record from here until the block ends.

    Raises:
        ConfigError: the settings are wrong.
        MissingPackage: a record is wanted, and nobody keeps one.
        RecordError: the record cannot be written.
    """
    table = winai_settings(settings).mcp_filter
    own = Grants(tools=frozenset(table.allow), source="[winai.mcp_filter]")
    chain = (*settings.policy.ceilings(own), own)
    async with AsyncExitStack() as stack:
        sinks = await Opened(registry, stack).sinks() if audit else ()
        redactor = run_redactor(settings, registry)
        run = Recorder(sinks, run_context(new_run_id(), Path.cwd()), redactor)
        about = {"agents": [FILTER], "jobs": 1, "isolation": ["none"]}
        await run.record([run.event("run.started", {"op": "invoke_workflow", "attrs": about})])
        since, found = monotonic_ns(), PolicyFilter(run, chain, table.pins)
        try:
            yield found
        finally:
            with anyio.move_on_after(LAST_WORDS_S, shield=True):
                found.end()
                took = monotonic_ns() - since
                ended = {"op": "invoke_workflow", "status": "ok", "duration_ns": took}
                await run.record([run.event("run.ended", ended)])
