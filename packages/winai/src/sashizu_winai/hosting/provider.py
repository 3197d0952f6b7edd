"""Agents that carry out App Actions: each invocation is a run of its own, bounded and on record."""

from __future__ import annotations

import math
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Protocol

import anyio
import anyio.to_thread
from sashizu_core.errors import SashizuError
from sashizu_core.types import AgentReport, Outcome, Task

from sashizu_winai.entities import PATH_KINDS, ActionInfo, Entity, EntityKind, OutcomeStatus
from sashizu_winai.hosting.actions import ANSWER, REQUEST, HostedAction
from sashizu_winai.hosting.calls import HostedAnswer, HostedCall

__all__ = ["AgentProvider", "Delegate"]

MOST_REQUEST = 100_000
"""Characters of a request; a longer one is refused."""

MOST_WAITING = 100
"""Invocations that wait for their turn; a further one is refused."""

_BUSY = 0x800700AA
_ACCESS_DENIED = 0x80070005
_INVALID_ARGUMENT = 0x80070057
_TIMEOUT = 0x800705B4
_QUOTA = 0x800705AD
_CANCELLED = 0x800704C7
_FAILED = 0x80004005
_OUTCOMES: dict[Outcome, tuple[OutcomeStatus, int]] = {
    Outcome.ANSWERED: ("success", 0),
    Outcome.BUDGET: ("unavailable", _QUOTA),
    Outcome.DEADLINE: ("unavailable", _TIMEOUT),
    Outcome.CANCELLED: ("user_canceled", _CANCELLED),
}
"""What Windows is told of an outcome; the codes are those of winerror.h. Others failed."""


class Delegate(Protocol):
    """Runs one agent, as `sashizu_core.runtime.delegate` does with everything else bound."""

    def __call__(self, task: Task) -> Awaitable[AgentReport]: ...


class AgentProvider:
    """Carries out actions by agents, in one workspace, some at once.

    Args:
        actions: what is provided.
        workspace: where the agents work; files from elsewhere are refused.
        delegate: runs one agent under the operator's budget, permission and record.
        invokers: patterns of the application user model ids of who may invoke them.
        at_once: how many agents work at the same time; some further invocations wait.
        tell: hears, in one line, what went wrong.
    """

    def __init__(
        self,
        actions: Sequence[HostedAction],
        *,
        workspace: Path,
        delegate: Delegate,
        invokers: Sequence[str] = ("*",),
        at_once: int = 4,
        tell: Callable[[str], None] = lambda _line: None,
    ) -> None:
        self._hosted = {one.info.id: one for one in actions}
        self._workspace = workspace.resolve()
        self._delegate = delegate
        self._invokers = tuple(one.casefold() for one in invokers)
        self._limiter = anyio.CapacityLimiter(at_once)
        self._tell = tell
        self._busy = 0
        self._changed = anyio.Event()

    async def idle_for(self, seconds: float) -> None:
        """Return when no invocation was at work for so long."""
        while True:
            changed = self._changed
            with anyio.move_on_after(math.inf if self._busy else seconds):
                await changed.wait()
            if changed is self._changed and not self._busy:
                return

    @property
    def actions(self) -> Sequence[ActionInfo]:
        return [one.info for one in self._hosted.values()]

    async def invoke(self, call: HostedCall) -> HostedAnswer:
        """Run the agent of an action; see `ActionProvider`."""
        self._count(1)
        try:
            answer = await self._answer(call)
        finally:
            self._count(-1)
        if answer.fault:
            self._tell(f"{call.action!r} for {call.invoker!r}: {answer.fault}")
        return answer

    def _count(self, more: int) -> None:
        self._busy += more
        self._changed.set()
        self._changed = anyio.Event()

    async def _answer(self, call: HostedCall) -> HostedAnswer:
        action = self._hosted.get(call.action)
        if action is None:
            return _refused("there is no such action", _INVALID_ARGUMENT)
        if not any(fnmatchcase(call.invoker.casefold(), one) for one in self._invokers):
            return _refused("whoever asks is none of the invokers", _ACCESS_DENIED)
        if self._limiter.statistics().tasks_waiting >= MOST_WAITING:
            fault = f"{MOST_WAITING} invocations wait already"
            return HostedAnswer("unavailable", hresult=_BUSY, fault=fault)
        asked = await anyio.to_thread.run_sync(self._asked, action, call)
        if isinstance(asked, HostedAnswer):
            return asked
        try:
            async with self._limiter:
                report = await self._delegate(asked.task)
        except SashizuError as error:
            return HostedAnswer("unavailable", hresult=_FAILED, fault=str(error))
        status, code = _OUTCOMES.get(report.outcome, ("unavailable", _FAILED))
        if status != "success" or not report.ok:
            told = status if status != "success" else "unavailable"
            return HostedAnswer(told, hresult=code or _FAILED, fault=report.error or report.outcome)
        return HostedAnswer("success", self._outputs(action, report))

    def _asked(self, action: HostedAction, call: HostedCall) -> _Asked | HostedAnswer:
        """The task of a call, or why there is none."""
        given = {name: str(one.kind) for name, one in call.inputs.items()}
        if given not in [{one.name: str(one.kind) for one in v} for v in action.info.variants]:
            return _refused(f"it does not take {given}", _INVALID_ARGUMENT)
        request = call.inputs.get(REQUEST, Entity(EntityKind.TEXT, "")).value
        if len(request) > MOST_REQUEST:
            found = f"the request has {len(request)} characters, and may have {MOST_REQUEST}"
            return _refused(found, _INVALID_ARGUMENT)
        scope = []
        for one in call.inputs.values():
            if one.kind in PATH_KINDS:
                path = Path(one.value).resolve()
                if not path.is_file() or not path.is_relative_to(self._workspace):
                    found = f"the file {one.value!r} is none of the workspace {self._workspace}"
                    return _refused(found, _ACCESS_DENIED)
                scope.append(path.relative_to(self._workspace).as_posix())
        return _Asked(Task(action.agent, request, tuple(scope)))

    def _outputs(self, action: HostedAction, report: AgentReport) -> dict[str, Entity]:
        outputs = {ANSWER: Entity(EntityKind.TEXT, report.answer)}
        kinds = {one.name: one.kind for one in action.outputs}
        for declared, name in action.files:
            for made in report.artifacts:  # in the tree, or in the folder of the run
                if made.path == declared or made.path.endswith(f"/{declared}"):
                    outputs[name] = Entity(kinds[name], str(self._workspace / made.path))
        return outputs


@dataclass(frozen=True, slots=True)
class _Asked:
    task: Task


def _refused(fault: str, hresult: int) -> HostedAnswer:
    return HostedAnswer("unsupported", hresult=hresult, fault=fault)
