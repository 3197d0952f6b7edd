"""Questions of agents that a person, a file or another process answers: the `ask` of the rules.

An answer counts for one call, or for the same by the same agent until the run ends; nothing is kept
beyond the run. Silence, a broken approver and a lost peer are denials.
"""

from __future__ import annotations

import logging
import shlex
import time
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass, field
from typing import Any, Literal

import anyio

from sashizu_core.grants import (
    DeviceRequest,
    ExecRequest,
    McpRequest,
    NetRequest,
    PathRequest,
    PermissionRequest,
    SpawnRequest,
    Subject,
    ToolRequest,
)
from sashizu_core.protocols import Approval, Approver, Question
from sashizu_core.types import Decision

__all__ = [
    "TIMEOUT_S",
    "AnsweredElsewhere",
    "Approvals",
    "described",
    "enforcement",
    "plain_question",
]

logger = logging.getLogger(__name__)

TIMEOUT_S = 300.0
"""How long a question waits for its answer, in seconds."""

MOST_REFUSALS = 20
"""How often one agent instance is refused by somebody; then it is denied without being heard."""

MOST_SHOWN = 4000
"""Characters of the arguments of a call that a person is shown."""

MOST_ANSWERS = 4096
"""Answers that are remembered for one run."""

_Key = tuple[str, str, str, tuple[PermissionRequest, ...], bool]
"""The agent instance, the tool, the arguments, what the call would touch, and whether in doubt."""


class AnsweredElsewhere:
    """Waits for an answer from elsewhere, such as the control socket."""

    async def ask(self, question: Question) -> Approval:  # noqa: ARG002 - as `Approver` has it
        await anyio.sleep_forever()
        raise AssertionError


@dataclass(slots=True)
class _Pending:
    """A question that waits. `done` is set when nobody waits for it any more."""

    question: Question
    asked_at: float
    answered: anyio.Event = field(default_factory=anyio.Event)
    done: anyio.Event = field(default_factory=anyio.Event)
    given: Approval | None = None

    def give(self, approval: Approval) -> bool:
        """Take the first answer; False if there was one."""
        if self.given is not None:
            return False
        self.given = approval
        self.answered.set()
        return True


class Approvals:
    """The questions of one run, and the answers that count until it ends.

    The same question by the same agent is asked once at a time: whoever comes second waits, and
    shares a denial or an answer for the run. `once` is for the call that asked; the second then
    asks again. A denial by whoever was asked holds for the run, so that nobody is worn down.
    """

    def __init__(self, approver: Approver, *, timeout_s: float = TIMEOUT_S) -> None:
        self._approver = approver
        self._timeout_s = timeout_s
        self._answers: dict[_Key, Approval] = {}
        self._pending: dict[_Key, _Pending] = {}
        self._refused: dict[str, int] = {}
        self._count = 0

    @property
    def pending(self) -> tuple[Question, ...]:
        """The questions that wait for an answer, oldest first."""
        return tuple(pending.question for pending in self._pending.values())

    def answer(self, question_id: str, approval: Approval) -> bool:
        """Answer a question from elsewhere; False if it does not wait (any more)."""
        for pending in self._pending.values():
            if pending.question.id == question_id:
                return pending.give(approval)
        return False

    async def decide(
        self,
        tool: str,
        asked: tuple[PermissionRequest, ...],
        needing: tuple[PermissionRequest, ...],
        subject: Subject,
        decision: Decision,
        call_id: str = "",
        arguments: str = "",
        *,
        in_doubt: bool = False,
    ) -> Decision:
        """Have somebody answer for one call.

        Args:
            tool: the tool that was called.
            asked: everything that the call would touch.
            needing: those of them that need the answer.
            subject: who calls.
            decision: what the rules said: `ask`, and why.
            call_id: the model's name for the call.
            arguments: what the model wrote; an answer holds for the very same only.
            in_doubt: whether the call may have been made before an interruption.
        """
        key = (subject.agent_id, tool, arguments, asked, in_doubt)
        while True:
            if (known := self._answers.get(key)) is not None:
                return _decision(known, decision, "run")
            waiting = self._pending.get(key)
            if waiting is None:
                break
            await waiting.done.wait()
            if waiting.given is not None and waiting.given.answer == "deny":
                return _decision(waiting.given, decision, "approver")
        if self._refused.get(subject.agent_id, 0) >= MOST_REFUSALS:
            enough = Approval(
                "deny", f"it was refused {MOST_REFUSALS} times and is not heard again"
            )
            return _decision(enough, decision, "approver")
        self._count += 1
        question = Question(
            str(self._count),
            subject.agent_id,
            subject.agent_name,
            tool,
            asked,
            needing or asked,
            decision.reason,
            decision.rule,
            call_id,
            arguments,
            in_doubt,
        )
        return _decision(await self._put(key, question), decision, "approver")

    async def _put(self, key: _Key, question: Question) -> Approval:
        pending = _Pending(question, time.time())
        self._pending[key] = pending
        try:
            with anyio.move_on_after(self._timeout_s):
                await self._wait(pending)
            if pending.given is None:
                pending.given = Approval("deny", f"nobody answered within {self._timeout_s:g} s")
            else:
                self._remember(key, pending.given, question.agent_id)
            return pending.given
        finally:
            del self._pending[key]
            pending.done.set()

    def _remember(self, key: _Key, given: Approval, agent_id: str) -> None:
        """Keep what holds for the run: not a single call, and not that nobody was there."""
        refused = given.answer == "deny" and bool(given.by)
        if refused:
            self._refused[agent_id] = self._refused.get(agent_id, 0) + 1
        if (refused or given.answer == "run") and len(self._answers) < MOST_ANSWERS:
            self._answers[key] = given

    async def _wait(self, pending: _Pending) -> None:
        """Wait for the first answer, whoever gives it."""

        async def ask() -> None:
            pending.give(await self._heard(pending.question))

        async with anyio.create_task_group() as group:
            group.start_soon(ask)
            await pending.answered.wait()
            group.cancel_scope.cancel()

    async def _heard(self, question: Question) -> Approval:
        try:
            return await self._approver.ask(question)
        except Exception as error:  # a bug of who answers is no permission
            logger.exception("question %s could not be asked", question.id)
            return Approval("deny", f"asking failed: {type(error).__name__}")


def _decision(approval: Approval, decision: Decision, source: str) -> Decision:
    """What an answer makes of the rules' `ask`; `source` says whether it was remembered."""
    by = f" by {approval.by}" if approval.by else ""
    where = f"{source}: {approval.by}" if approval.by else source
    if approval.answer == "deny":
        decided_by: Literal["user", "default"] = "user" if approval.by else "default"
        why = f" ({approval.reason})" if approval.reason else ""
        reason = f"refused when asked{by}{why}: {decision.reason}"
        return Decision("deny", reason, decision.rule, decided_by, where)
    how = "once" if approval.answer == "once" else "for this run"
    return Decision("allow", f"allowed {how}{by}", decision.rule, "user", where)


# --- for people -----------------------------------------------------------------------------------


def enforcement(request: PermissionRequest) -> str:
    """What holds an allowed request to what was asked, in words."""
    match request:
        case PathRequest():
            return "sashizu, which opens the file itself, or the sandbox of the program"
        case ExecRequest(enforced_by=sandbox):
            return f"the sandbox {sandbox}" if sandbox else "nothing: no sandbox holds the program"
        case NetRequest():
            return "sashizu connects itself, to the address it checked"
        case McpRequest():
            return "nothing: the server does what it does"
        case SpawnRequest():
            return "the agent it starts never may more than itself"
        case ToolRequest() | DeviceRequest():
            return "the tool, which runs in this process"


def _lines(request: PermissionRequest) -> Iterator[tuple[str, str]]:
    """One request in full, as label and text."""
    match request:
        case PathRequest(path, access):
            yield access, path
        case ExecRequest(argv, program):
            yield "run", shlex.join(argv)
            yield "program", program or "not found"
            if request.any_code:
                yield "note", "it runs any code that it is given or finds in files"
            if request.doubt:
                yield "not understood", request.doubt
        case NetRequest(scheme, host, port, path):
            where = f"[{host}]" if ":" in host else host
            yield "connect to", f"{scheme}://{where}:{port}{path}"
        case McpRequest(server, tool, schema):
            yield "call", f"{tool} of the server {server} (schema {schema[:12]})"
        case SpawnRequest(agent):
            yield "start agent", agent
        case DeviceRequest(device):
            yield "device", device
        case ToolRequest(tool):
            yield "call", tool
    yield "held by", enforcement(request)


def described(question: Question) -> list[tuple[str, str]]:
    """A question in full, as label and text: who asks, for what, what would hold it, and why.

    The texts come from models and files: show them with control characters made visible.
    """
    told = [("agent", f"{question.agent_name} ({question.agent_id})"), ("tool", question.tool)]
    for request in question.needing:
        told += _lines(request)
    for request in question.requests:
        if request not in question.needing and not isinstance(request, ToolRequest):
            told += [(f"also {label}", text) for label, text in _lines(request)][:1]
    if question.arguments:
        told.append(("arguments", _beginning(question.arguments)))
    return [*told, ("why", question.reason)]


def _beginning(text: str) -> str:
    if len(text) <= MOST_SHOWN:
        return text
    return f"{text[:MOST_SHOWN]} [{len(text) - MOST_SHOWN} more characters]"


def plain_question(question: Question) -> Mapping[str, Any]:
    """A question as JSON values.

    `id`, `agent`, `agent_id`, `tool`, `arguments`, `reason`, `rule`, `in_doubt`; `requests` with
    their `kind`, their fields and `needs_answer`; `shown` is what `described` says.
    """
    return {
        "id": question.id,
        "agent": question.agent_name,
        "agent_id": question.agent_id,
        "tool": question.tool,
        "reason": question.reason,
        "rule": question.rule,
        "arguments": question.arguments,
        "in_doubt": question.in_doubt,
        "requests": [
            {
                "kind": type(request).__name__.removesuffix("Request").lower(),
                **asdict(request),
                "needs_answer": request in question.needing,
            }
            for request in question.requests
        ],
        "shown": described(question),
    }
