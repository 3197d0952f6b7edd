"""Questions of agents that work elsewhere, put to whoever handed the run over."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict
from typing import Any

from sashizu_core.errors import SashizuError
from sashizu_core.executors import Executor, WorkContext, WorkEvent
from sashizu_core.grants import (
    DeviceRequest,
    ExecRequest,
    McpRequest,
    NetRequest,
    PathRequest,
    PermissionRequest,
    SpawnRequest,
    ToolRequest,
)
from sashizu_core.protocols import Approval, Approver, Question

__all__ = ["AskedAbove", "answered", "told_question"]

_REQUESTS: Mapping[str, type[Any]] = {
    "device": DeviceRequest,
    "exec": ExecRequest,
    "mcp": McpRequest,
    "net": NetRequest,
    "path": PathRequest,
    "spawn": SpawnRequest,
    "tool": ToolRequest,
}

_ANSWERS = ("deny", "once", "run")


class AskedAbove:
    """Asks whoever follows a work, and waits; who asks sees to it that this is not for ever."""

    def __init__(self, context: WorkContext) -> None:
        self._context = context

    async def ask(self, question: Question) -> Approval:
        # Questions are numbered anew by an agent that goes on after a crash.
        name = f"answer {self._context.attempt} {question.id}"
        await self._context.tell({"question": _plain(question), "answer_as": name})
        answer = await self._context.signalled(name)
        return _approval(answer)


def told_question(event: WorkEvent) -> tuple[Question, str] | None:
    """The question that was told, and the name of the signal that answers it."""
    told = event.value if isinstance(event.value, dict) else {}
    if "question" not in told:
        return None
    values = dict(told["question"])
    for name in ("requests", "needing"):
        values[name] = tuple(map(_request, values[name]))
    return Question(**values), str(told["answer_as"])


async def answered(
    executor: Executor, key: str, question: Question, name: str, approver: Approver
) -> None:
    """Have somebody answer, and send what they say."""
    approval = await approver.ask(question)
    await executor.signal(key, name, asdict(approval), idem=name)


def _plain(question: Question) -> dict[str, Any]:
    kinds = {kind: name for name, kind in _REQUESTS.items()}

    def plain(request: PermissionRequest) -> dict[str, Any]:
        return {"kind": kinds[type(request)], **asdict(request)}

    values = asdict(question)
    values["requests"] = [plain(request) for request in question.requests]
    values["needing"] = [plain(request) for request in question.needing]
    return values


def _request(values: Mapping[str, Any]) -> PermissionRequest:
    fields = {
        name: tuple(value) if isinstance(value, list) else value
        for name, value in values.items()
        if name != "kind"
    }
    made: PermissionRequest = _REQUESTS[values["kind"]](**fields)
    return made


def _approval(answer: Any) -> Approval:
    if not isinstance(answer, dict) or answer.get("answer") not in _ANSWERS:
        raise SashizuError(f"an answer that is none came from who handed the run over: {answer!r}")
    said = {name: str(answer.get(name, "")) for name in ("reason", "by")}
    return Approval(answer["answer"], **said)
