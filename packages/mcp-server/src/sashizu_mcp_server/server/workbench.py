"""The tools of sashizu that clients call themselves: judged, held and recorded like an agent's."""

from __future__ import annotations

import logging
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path
from time import monotonic
from typing import Any

import anyio
import anyio.to_thread
from sashizu_core.agents.effective import allows_tool
from sashizu_core.approvals import Approvals
from sashizu_core.grants import Grants, Subject
from sashizu_core.handoff import Handoff
from sashizu_core.ids import RunId, new_agent_id, new_run_id, span_id, uuid7
from sashizu_core.operator_policy import OperatorPolicy
from sashizu_core.permissions import grants_sha256, readable
from sashizu_core.plugins import Registry
from sashizu_core.protocols import EventSink, ToolContext
from sashizu_core.redaction import Redactor
from sashizu_core.runtime.confining import confinement_of
from sashizu_core.runtime.held import open_sandbox
from sashizu_core.runtime.opening import Opened, run_context
from sashizu_core.sandboxing import Confinement, Sandbox
from sashizu_core.turn.record import Recorder
from sashizu_core.turn.steps import LAST_WORDS_S, StepContext
from sashizu_core.turn.toolcalls import ToolBox
from sashizu_core.types import ToolCall, ToolResult
from sashizu_core.workspace import Workspace

from sashizu_mcp_server.server.caller import AskingCaller

__all__ = ["CLIENT", "DIRECT_TOOLS", "Workbench", "direct_tools", "grants_of", "open_workbench"]

logger = logging.getLogger(__name__)

DIRECT_TOOLS = (
    *("read_file", "grep", "codebase_search", "apply_patch", "shell"),
    *("gpu_stats", "gpu_processes"),
)
"""Tools of agents that clients may call themselves, as far as the ceiling lets them."""

CLIENT = "mcp-client"
"""The name under which a client's own calls are judged and recorded."""


def grants_of(policy: OperatorPolicy) -> Grants:
    """What a client may do itself: all that the ceiling names; what is not bounded is granted."""
    return Grants(
        tools=policy.tools,
        fs_read=(".",) if policy.fs_read is None else policy.fs_read,
        fs_write=(".",) if policy.fs_write is None else policy.fs_write,
        net=() if policy.net is None else policy.net,
        exec=() if policy.exec is None else policy.exec,
        source=policy.source,
        rules=policy.rules,
    )


def direct_tools(registry: Registry, policy: OperatorPolicy) -> tuple[str, ...]:
    """Which of the tools exist for clients under a ceiling."""
    granted = grants_of(policy)
    return tuple(
        name
        for name in DIRECT_TOOLS
        if (spec := registry.tools.get(name)) is not None and allows_tool(spec, granted)
    )


class Workbench:
    """One agent instance, without a model, that does what clients ask for."""

    def __init__(self, box: ToolBox, recorder: Recorder) -> None:
        self._box = box
        self._recorder = recorder
        self._mutex = anyio.Lock()
        self.calls = 0

    async def call(self, name: str, arguments: str, *, alone: bool) -> ToolResult:
        """Run one tool; `alone` for one that changes something. `flush` when it is answered.

        Raises:
            RecordError: the record cannot be written.
        """
        self.calls += 1
        call = ToolCall(uuid7(), name, arguments)
        if alone:
            async with self._mutex:
                result, _ = await self._box.check(call)
        else:
            result, _ = await self._box.check(call)
        return result

    def flush(self) -> None:
        """Write down how calls ended, where that waits for the next one.

        Raises:
            RecordError: it cannot be written.
        """
        self._recorder.flush()


@asynccontextmanager
async def open_workbench(
    registry: Registry,
    root: Path,
    policy: OperatorPolicy,
    redactor: Redactor,
    *,
    sandbox: str,
    audit: bool,
    received: Handoff | None = None,
) -> AsyncIterator[Workbench]:
    """Open the tools for a workspace; one run on record, from here until the block ends.

    What was `received` from another process is above what clients do.

    Raises:
        MissingPackage: a record is wanted, and nobody keeps one.
        RecordError: the record cannot be written.
        UsageError: the sandbox that was chosen does not work here.
    """
    async with AsyncExitStack() as stack:
        opened = Opened(registry, stack)
        sinks: Sequence[EventSink] = await opened.sinks() if audit else ()
        run_id, agent_id = new_run_id(), new_agent_id()
        run = Recorder(sinks, _context(run_id, root, received), redactor)
        own = run.derive(
            agent_id=agent_id,
            agent_name=CLIENT,
            actor=f"agent:{CLIENT}",
            parent_agent_id=(received.agent_id or None) if received is not None else None,
            depth=received.depth + 1 if received is not None else 0,
            parent_span_id=run.context.get("span_id"),
            span_id=span_id(),
        )
        names = direct_tools(registry, policy)
        above = received.ceiling if received is not None else ()
        subject = Subject(agent_id, CLIENT, (*above, grants_of(policy)))
        workspace = stack.enter_context(Workspace.open(root))
        held, confinement = await _held(registry, names, subject, workspace, sandbox, stack)
        tools = {
            name: await stack.enter_async_context(registry.tools[name].open()) for name in names
        }
        box = ToolBox(
            tools,
            subject,
            ToolContext(
                agent_id=agent_id,
                agent_name=CLIENT,
                run_id=run_id,
                workspace=workspace,
                readable=readable(subject),
                sandbox=held,
                confinement=confinement,
            ),
            StepContext(own, run_id, agent_id),
            policies=await opened.policies(),
            approvals=Approvals(AskingCaller()),
            hide_secrets=True,
        )
        bench = Workbench(box, own)
        async with _on_record(None if received else run, own, bench, names, subject):
            yield bench


async def _held(
    registry: Registry,
    names: Sequence[str],
    subject: Subject,
    workspace: Workspace,
    wanted: str,
    stack: AsyncExitStack,
) -> tuple[Sandbox | None, Confinement | None]:
    """What holds the programs that clients start; nothing where they can start none."""
    if not any("shell.exec" in registry.tools[name].needs for name in names):
        return None, None
    sandbox = await open_sandbox(wanted, registry.sandboxes, stack)
    return sandbox, await anyio.to_thread.run_sync(confinement_of, workspace, subject, ())


def _context(run_id: RunId, root: Path, received: Handoff | None) -> Mapping[str, object]:
    if received is None:
        return run_context(run_id, root)
    return run_context(received.run_id, root, received.traceparent)


@asynccontextmanager
async def _on_record(
    run: Recorder | None, own: Recorder, bench: Workbench, names: Sequence[str], subject: Subject
) -> AsyncIterator[None]:
    """Record the beginning and the end; `run` is None within a run of another process."""
    started = monotonic()
    about: Mapping[str, Any] = {"agents": [CLIENT], "jobs": 1, "isolation": ["none"]}
    if run is not None:
        await run.record([run.event("run.started", {"op": "invoke_workflow", "attrs": about})])
    began = {
        "op": "invoke_agent",
        "policy_sha256": grants_sha256(subject.chain),
        "attrs": {"tools": list(names), "fs_read": list(subject.chain[-1].fs_read)},
    }
    await own.record([own.event("agent.started", began)])
    try:
        yield
    finally:
        ended = {"status": "ok", "duration_ns": int((monotonic() - started) * 1e9)}
        told = {"op": "invoke_agent", "attrs": {"outcome": "answered", "steps": bench.calls}}
        with anyio.move_on_after(LAST_WORDS_S, shield=True):
            own.write([own.event("agent.ended", {**ended, **told})])
            if run is not None:
                await run.record([run.event("run.ended", {**ended, "op": "invoke_workflow"})])
