"""What one server process serves, whatever the transport: tools, runs, resources, prompts."""

from __future__ import annotations

import logging
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path
from time import monotonic, time
from typing import Any

import anyio
from anyio.abc import TaskGroup, TaskStatus
from sashizu_core.agents import AgentDefinition, Catalogue, load_catalogue
from sashizu_core.errors import MissingPackage, RecordError, SashizuError, UsageError, nearest
from sashizu_core.handoff import LEASE_META, Handoff
from sashizu_core.limits import parse_limits
from sashizu_core.operator_policy import OperatorPolicy
from sashizu_core.plugins import open_registry
from sashizu_core.redaction import Redactor
from sashizu_core.runtime.redacting import run_redactor
from sashizu_core.settings import Settings, load_settings
from sashizu_core.specs import RecordRows
from sashizu_core.types import Limits, StepKind

from sashizu_mcp_server.server.budget import ServerLedger, share_budget
from sashizu_mcp_server.server.caller import CALLER, Caller
from sashizu_mcp_server.server.ceiling import BoundSettings, bounded, load_ceiling
from sashizu_mcp_server.server.following import following_tools
from sashizu_mcp_server.server.leased import leased_tools
from sashizu_mcp_server.server.listing import listing_tools
from sashizu_mcp_server.server.parked import Asking, ParkedCalls
from sashizu_mcp_server.server.results import TextOutput, ToolAnswer, output_schema
from sashizu_mcp_server.server.runs import RunBook
from sashizu_mcp_server.server.starting import starting_tools
from sashizu_mcp_server.server.tools import OfferedTool, hints
from sashizu_mcp_server.server.workbench import Workbench, direct_tools, open_workbench
from sashizu_mcp_server.startup.options import Options
from sashizu_mcp_server.startup.prepared import state_of

__all__ = ["Service", "open_service"]

logger = logging.getLogger(__name__)

LATE_S = 0.01
"""How long after a call that only read its end may be recorded, in seconds."""

LOOK_S = 1.0
"""How often a server looks whether its lease has ended, in seconds."""

LAST_RUNS_S = 8.0
"""How long runs may take to end when the server does, in seconds."""


class Service:
    """Everything behind the protocol. Belongs to the task group that it was opened with."""

    def __init__(
        self,
        options: Options,
        settings: BoundSettings,
        ledger: ServerLedger,
        root: Path,
        group: TaskGroup,
    ) -> None:
        self.settings = settings
        self.registry = ledger.registry
        self.root = root
        self.ledger = ledger.ledger
        self.budget = ledger.shared
        self.received = ledger.received
        self.redactor: Redactor = run_redactor(settings, ledger.registry)
        self.runs = RunBook(group)
        self.parked = ParkedCalls(group)
        self.tools: Mapping[str, OfferedTool] = {}
        self.made: dict[str, AgentDefinition] = {}
        self._options = options
        self._group = group
        self._bench: Workbench | None = None
        self._catalogue: tuple[tuple[str, ...], Catalogue] | None = None
        self._recording = False
        self._opening = anyio.Lock()
        self._closing = anyio.Event()
        self._looked = 0.0

    @property
    def policy(self) -> OperatorPolicy:
        """What everything here is allowed at most."""
        return self.settings.policy

    def catalogue(self) -> Catalogue:
        """The agents of the workspace; reads their files where one has changed."""
        folders = [str(self.root / source.folder) for source in self.registry.agents.values()]
        states = (*map(state_of, folders), *sorted(self.made))
        if self._catalogue is None or self._catalogue[0] != states:
            sources, made = self.registry.agents.values(), self.made.values()
            found = load_catalogue(sources, workspace=self.root, extra=made)
            self._catalogue = (states, found)
        return self._catalogue[1]

    def agents_told(self) -> str:
        """The names of agents as a sentence for a tool's description."""
        names = [entry.name for entry in self.catalogue()]
        spawn = self.policy.spawn
        if spawn is not None and "*" not in spawn:
            names = [name for name in names if name in spawn]
        shown = ", ".join(names[:40])
        more = f" and {len(names) - 40} more" if len(names) > 40 else ""
        return f"Agents: {shown}{more}." if names else "There are no agents yet."

    @property
    def definitions(self) -> list[Mapping[str, Any]]:
        """What `tools/list` answers."""
        return [tool.definition for tool in self.tools.values()]

    def may_spawn(self) -> tuple[str, ...]:
        """The agents that the ceiling names; none where it names all."""
        spawn = self.policy.spawn
        return () if spawn is None or "*" in spawn else tuple(sorted(spawn))

    def run_options(self) -> dict[str, Any]:
        """What every run here is started with."""
        return {
            "workspace": self.root,
            "model": self._options.model or None,
            "audit": self._options.audit,
            "registry": self.registry,
            "agents": tuple(self.made.values()),
            "received": self.received,
        }

    def tool(self, name: str) -> OfferedTool:
        """The tool of a name.

        Raises:
            UsageError: there is none.
        """
        tool = self.tools.get(name)
        if tool is None:
            hint, known = nearest(name, self.tools), ", ".join(self.tools)
            raise UsageError(f"there is no tool {name!r}{hint}; known: {known}")
        return tool

    async def call(self, name: str, arguments: Mapping[str, Any], caller: Caller) -> ToolAnswer:
        """Call one tool; whatever goes wrong in it becomes an answer.

        Raises:
            UsageError: there is no such tool.
        """
        tool = self.tool(name)
        token = CALLER.set(caller)
        try:
            return await tool.call(arguments, caller)
        except SashizuError as error:
            return ToolAnswer(self.redactor.text(str(error)), is_error=True)
        except Exception as error:
            logger.exception("the tool %s failed by an error that nobody expected", name)
            text = f"{name} failed: {type(error).__name__}: {error}"
            return ToolAnswer(self.redactor.text(text), is_error=True)
        finally:
            CALLER.reset(token)

    async def call_asking(
        self,
        name: str,
        arguments: Mapping[str, Any],
        caller: Caller,
        responses: Mapping[str, Any] | None = None,
        state: str | None = None,
    ) -> ToolAnswer | Asking:
        """Call one tool for a client that is asked by answering it, and calls again."""
        return await self.parked.call(
            self, name, arguments, caller, responses=responses, state=state
        )

    def answered(self) -> None:
        """Hear that a call was answered: what may be recorded late is recorded before long.

        Until then the next call may come, and both be recorded at once.
        """
        if self._bench is not None and not self._recording:
            self._recording = True
            self._group.start_soon(self._record_soon)

    async def _record_soon(self) -> None:
        try:
            await anyio.sleep(LATE_S)
        finally:
            self._recording = False
            self.record_now()

    def record_now(self) -> None:
        """Record what was left for later."""
        if self._bench is not None:
            try:
                self._bench.flush()
            except RecordError:
                logger.exception("how a call ended is not on record")

    def check_time(self) -> None:
        """Refuse what comes after the time of who gave this server its lease.

        Raises:
            UsageError: the lease has ended.
        """
        if self.received is None or self.ledger is None:
            return
        deadline = self.received.handoff.deadline
        if deadline is not None and time() >= deadline:
            raise UsageError("the time of the agent above is over")
        if monotonic() - self._looked > LOOK_S:
            Handoff.from_meta({LEASE_META: self.received.handoff.lease_id}, self.ledger)
            self._looked = monotonic()

    # --- the record -------------------------------------------------------------------------------

    @property
    def may_ask_record(self) -> bool:
        """Whether somebody keeps a record that can be asked, and the ceiling names the tool."""
        named = self.policy.tools is None or "audit_query" in self.policy.tools
        asked = any(spec.query is not None for spec in self.registry.sinks.values())
        return named and asked and self._options.audit

    def record_query(self) -> Callable[[str, int, float], RecordRows]:
        """How the record is asked.

        Raises:
            MissingPackage: nobody keeps one.
        """
        for spec in self.registry.sinks.values():
            if spec.query is not None:
                return spec.query
        raise MissingPackage("a question to the record", "sashizu-audit")

    # --- the tools for files and programs ---------------------------------------------------------

    async def workbench(self) -> Workbench:
        """What clients' own calls go through; opened by the first of them."""
        if self._bench is not None:
            return self._bench
        async with self._opening:
            if self._bench is None:
                self._bench = await self._group.start(self._keep_bench)
            assert self._bench is not None
            return self._bench

    async def _keep_bench(self, *, task_status: TaskStatus[Workbench]) -> None:
        with anyio.CancelScope(shield=True):
            async with open_workbench(
                self.registry,
                self.root,
                self.policy,
                self.redactor,
                sandbox=self.settings.run.sandbox,
                received=self.received.handoff if self.received is not None else None,
                audit=self._options.audit,
            ) as bench:
                task_status.started(bench)
                await self._closing.wait()

    async def close(self) -> None:
        """End every run with its report, and the record of the client's own calls."""
        self.runs.cancel_all("the MCP server ends")
        with anyio.move_on_after(LAST_RUNS_S):
            for run in self.runs:
                await run.done.wait()
        self._closing.set()


@asynccontextmanager
async def open_service(
    options: Options,
    root: Path | None = None,
    *,
    only_offers: bool = False,
    settings: Settings | None = None,
) -> AsyncIterator[Service]:
    """Open what a server serves; closed, all that it started has ended.

    `only_offers` is for who wants to know what the server offers, and calls nothing. `settings`
    stand in for those of the folder.

    Raises:
        SashizuError: settings, policy or plugins are wrong.
    """
    folder = root if root is not None else Path.cwd()
    ceiling = load_ceiling(Path(options.policy) if options.policy else None)
    if options.leased and not options.policy:
        ceiling = OperatorPolicy()  # the lease has one
    bound = bounded(settings if settings is not None else load_settings(folder), ceiling)
    limits = parse_limits(options.budget) if options.budget else Limits()
    async with AsyncExitStack() as stack:
        wired = open_registry(bound)
        if limits.counted and wired.budget is None:
            raise MissingPackage("a server with a budget", "sashizu-budget")
        ledger = ServerLedger(wired)
        if not only_offers:
            ledger = await share_budget(wired, limits, stack, leased=options.leased)
            received = ledger.received
            if received is not None and received.handoff.recorded and not options.audit:
                raise UsageError("the run above is recorded, and so is this server: no --no-audit")
        async with anyio.create_task_group() as group:
            service = Service(options, bound, ledger, folder, group)
            if options.leased:
                tools = [*leased_tools(service)]
            else:
                tools = [
                    *starting_tools(service),
                    *following_tools(service),
                    *listing_tools(service),
                    *await _direct(service, stack),
                ]
            service.tools = {tool.name: tool for tool in tools}
            try:
                yield service
            finally:
                with anyio.CancelScope(shield=True):
                    await service.close()
                group.cancel_scope.cancel()


_TITLES = {
    "read_file": "Read a file",
    "grep": "Search by pattern",
    "codebase_search": "Search by words",
    "apply_patch": "Change files",
    "shell": "Run a program",
    "gpu_stats": "Measure GPUs",
    "gpu_processes": "List processes of GPUs",
}


async def _direct(service: Service, stack: AsyncExitStack) -> list[OfferedTool]:
    """The tools for files and programs that the ceiling leaves."""
    found = []
    for name in direct_tools(service.registry, service.policy):
        tool = await stack.enter_async_context(service.registry.tools[name].open())
        reads = tool.kind is StepKind.PURE
        found.append(
            OfferedTool(
                name,
                {
                    "name": name,
                    "title": _TITLES[name],
                    "description": tool.schema.description,
                    "inputSchema": dict(tool.schema.parameters),
                    "outputSchema": output_schema(TextOutput),
                    "annotations": hints(
                        _TITLES[name],
                        reads=reads,
                        open_world=not reads,
                        idempotent=False,
                        destructive=True,
                    ),
                },
                _direct_call(service, name, alone=not reads),
            )
        )
    return found


def _direct_call(service: Service, name: str, *, alone: bool) -> Any:
    from pydantic_core import to_json

    async def called(given: Mapping[str, Any], caller: Caller) -> ToolAnswer:  # noqa: ARG001
        service.check_time()
        bench = await service.workbench()
        try:
            text = to_json(given).decode()
        except ValueError as error:
            raise UsageError(f"{name}: the arguments are no JSON: {error}") from error
        result = await bench.call(name, text, alone=alone)
        if result.is_error:
            return ToolAnswer(result.content, is_error=True)
        return ToolAnswer(result.content, {"text": result.content})

    return called
