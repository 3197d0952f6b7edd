"""What a server offers that was started for one agent: to do its work, and to stop."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pydantic import BaseModel, ConfigDict, TypeAdapter
from pydantic_core import from_json, to_json
from sashizu_core.control import RunHandle
from sashizu_core.errors import UsageError
from sashizu_core.handoff import LEASE_META, Handoff
from sashizu_core.hosts import HostedWork
from sashizu_core.protocols import Approval, Question
from sashizu_core.settings import Settings
from sashizu_core.types import AgentReport, Task

from sashizu_mcp_server.server.caller import Caller
from sashizu_mcp_server.server.results import Output, ToolAnswer
from sashizu_mcp_server.server.tools import OfferedTool, typed_tool

if TYPE_CHECKING:
    from sashizu_mcp_server.server.service import Service

__all__ = [
    "APPROVALS",
    "QUESTIONS",
    "REPORTS",
    "STOP",
    "WORK",
    "Done",
    "Work",
    "handed_settings",
    "leased_tools",
    "settings_in",
    "work_of",
]

WORK, STOP = "work", "stop"
"""The names of the two tools."""

SETTINGS = "notifications/sashizu/settings"

REPORTS = TypeAdapter(AgentReport)
QUESTIONS = TypeAdapter(Question)
APPROVALS = TypeAdapter(Approval)

_FORM: Mapping[str, Any] = {
    "type": "object",
    "properties": {name: {"type": "string"} for name in ("answer", "reason", "by")},
}


class Work(BaseModel):
    """An agent's work, as `HostedWork` has it; the lease lies in `_meta` of the call."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    agent: str
    goal: str = ""
    scope: tuple[str, ...] = ()
    inputs: dict[str, str] = {}
    definition: dict[str, Any]
    model: str
    workspace: str
    every_model: str | None = None
    isolation: str = "auto"
    audit: bool = True
    definitions: tuple[dict[str, Any], ...] = ()


class Stop(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)

    reason: str = "cancelled"


class Done(Output):
    report: dict[str, Any]


class Stopping(Output):
    stopping: bool


def handed_settings(settings: Settings) -> bytes:
    """Settings as the line that a server is told before anything else.

    They may hold what a command line said, and secrets: neither belongs into an environment.

    Raises:
        UsageError: a value is none that JSON has.
    """
    try:
        params = {"tables": settings.tables}
        return to_json({"jsonrpc": "2.0", "method": SETTINGS, "params": params}) + b"\n"
    except ValueError as error:
        raise UsageError(f"the settings cannot be handed to a process: {error}") from None


def settings_in(line: bytes) -> Mapping[str, Mapping[str, Any]] | None:
    """The tables in such a line; None if it is another one."""
    try:
        frame = from_json(line)
        if frame["method"] != SETTINGS:
            return None
        tables: Mapping[str, Mapping[str, Any]] = frame["params"]["tables"]
    except (ValueError, KeyError, TypeError):
        return None
    return tables


class _AskingAbove:
    """Has the process that started this one put the questions of the agent here."""

    def __init__(self, caller: Caller) -> None:
        self._caller = caller

    async def ask(self, question: Question) -> Approval:
        if not self._caller.can_ask:
            return Approval("deny", "nobody can be asked from a process of its own")
        try:
            found = await self._caller.ask(QUESTIONS.dump_json(question).decode(), _FORM)
            return APPROVALS.validate_python({"answer": "deny", **found.content})
        except (OSError, ValueError) as error:
            return Approval("deny", f"the question found no answer: {error}")


def work_of(work: HostedWork) -> Work:
    """Work as the arguments of a call."""
    task = work.task
    return Work(
        agent=task.agent,
        goal=task.goal,
        scope=tuple(task.scope),
        inputs=dict(task.inputs),
        definition=dict(work.definition),
        model=work.model,
        workspace=os.fspath(work.workspace),
        every_model=work.every_model,
        isolation=work.isolation,
        audit=work.audit,
        definitions=tuple(dict(each) for each in work.definitions),
    )


def leased_tools(service: Service) -> Iterator[OfferedTool]:
    """The tools of a server that serves nothing but who hands over a lease."""
    desk = _Desk(service)
    yield typed_tool(
        WORK,
        "Work",
        "Do the work of one agent under the lease that the call hands over.",
        Work,
        Done,
        desk.work,
        reads=False,
        open_world=True,
        destructive=True,
    )
    yield typed_tool(
        STOP, "Stop", "Have the agent end with what it has.", Stop, Stopping, desk.stop, reads=False
    )


class _Desk:
    def __init__(self, service: Service) -> None:
        from sashizu_core.runtime.hosting import run_hosted

        self._run = run_hosted
        self._service = service
        self._handle: RunHandle | None = None
        self._stopped = ""
        self._taken = False

    async def work(self, asked: Work, caller: Caller) -> ToolAnswer:
        service = self._service
        if self._taken:
            raise UsageError("this process has its agent already; each serves one")
        if LEASE_META not in caller.meta:
            raise UsageError("this server serves only who hands over a lease, in `_meta`")
        received = Handoff.from_meta(caller.meta, service.ledger)
        assert received is not None
        assert service.ledger is not None
        self._taken = True
        try:
            report = await self._run(
                _hosted_work(asked, received.handoff, service.root),
                received,
                service.ledger,
                settings=service.settings,
                registry=service.registry,
                approver=_AskingAbove(caller),
                on_start=self._begun,
            )
        finally:
            received.node.close()
        told = REPORTS.dump_python(report, mode="json")
        return ToolAnswer(report.outcome.value, {"report": told})

    async def stop(self, asked: Stop, caller: Caller) -> ToolAnswer:  # noqa: ARG002
        self._stopped = asked.reason
        if self._handle is not None:
            self._handle.cancel(asked.reason)
        return ToolAnswer("stopping", {"stopping": self._handle is not None})

    def _begun(self, handle: RunHandle) -> None:
        self._handle = handle
        if self._stopped:
            handle.cancel(self._stopped)


def _hosted_work(asked: Work, handoff: Handoff, root: Path) -> HostedWork:
    inputs: Mapping[str, str] = asked.inputs
    return HostedWork(
        handoff=handoff,
        task=Task(asked.agent, asked.goal, asked.scope, inputs, model=asked.model),
        definition=asked.definition,
        model=asked.model,
        workspace=Path(asked.workspace),
        settings_root=root,
        every_model=asked.every_model,
        isolation=asked.isolation,
        audit=asked.audit,
        definitions=asked.definitions,
    )
