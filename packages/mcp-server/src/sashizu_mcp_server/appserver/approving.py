"""Questions of agents as the older protocol asks them."""

from __future__ import annotations

import os
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from typing import Any

import anyio
from sashizu_core.grants import ExecRequest, PathRequest
from sashizu_core.protocols import Approval, Question

__all__ = ["ApprovalRequests"]

ASK_S = 300.0
"""How long the client may take to answer, in seconds."""

Request = Callable[[str, str, Mapping[str, Any]], Awaitable[None]]


class ApprovalRequests:
    """Requests of ours that the client has not answered yet."""

    def __init__(self, request: Request) -> None:
        self._request = request
        self._waiting: dict[str | int, _Waiting] = {}

    def approver(self, conversation_id: str, cwd: str) -> _Asking:
        """Who answers the questions of one conversation."""
        return _Asking(self, conversation_id, cwd)

    def answered(self, request_id: str | int, result: Any) -> None:
        """Hear an answer; one that nobody waits for is dropped."""
        waiting = self._waiting.get(request_id)
        if waiting is not None:
            waiting.result = result
            waiting.done.set()

    async def ask(self, method: str, params: Mapping[str, Any]) -> Any:
        """The result that the client gives; None if it gives none in time."""
        request_id = f"sashizu-{os.urandom(8).hex()}"
        waiting = self._waiting[request_id] = _Waiting(anyio.Event())
        try:
            await self._request(request_id, method, params)
            with anyio.move_on_after(ASK_S):
                await waiting.done.wait()
            return waiting.result
        finally:
            del self._waiting[request_id]


@dataclass(slots=True)
class _Waiting:
    done: anyio.Event
    result: Any = None


@dataclass(frozen=True, slots=True)
class _Asking:
    requests: ApprovalRequests
    conversation_id: str
    cwd: str

    async def ask(self, question: Question) -> Approval:
        """See `Approver.ask`: programs by their command, everything else as a change of files."""
        common = {
            "conversationId": self.conversation_id,
            "callId": question.id,
            "reason": question.reason,
        }
        for request in question.needing:
            if isinstance(request, ExecRequest):
                command = {"command": list(request.argv), "cwd": self.cwd}
                return _approval(
                    await self.requests.ask("execCommandApproval", {**common, **command})
                )
        written = [each.path for each in question.needing if isinstance(each, PathRequest)]
        if not written:
            return Approval("deny", "these clients cannot be asked for such a thing")
        changes = {path: {"update": {"unified_diff": "", "move_path": None}} for path in written}
        return _approval(
            await self.requests.ask("applyPatchApproval", {**common, "fileChanges": changes})
        )


def _approval(result: Any) -> Approval:
    decision = result.get("decision") if isinstance(result, dict) else None
    match decision:
        case "approved":
            return Approval("once", by="app client")
        case "approved_for_session":
            return Approval("run", by="app client")
        case "denied" | "abort":
            return Approval("deny", by="app client")
        case _:
            return Approval("deny", "the client gave no answer that could be understood")
