"""Who calls a tool of the server: hears of progress, and may be asked."""

from __future__ import annotations

from collections.abc import Mapping
from contextvars import ContextVar
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any, Literal, Protocol

import anyio
from sashizu_core.approvals import described
from sashizu_core.protocols import Approval, Question

__all__ = ["CALLER", "Answer", "AskingCaller", "Caller", "NobodyThere"]

ASK_S = 120.0
"""How long a client may take to answer, in seconds."""

MOST_SHOWN = 4000
"""Characters of a question that a client is shown."""


@dataclass(frozen=True, slots=True)
class Answer:
    """What a client answered; `content` are the values of the form where it accepted."""

    action: Literal["accept", "decline", "cancel"]
    content: Mapping[str, Any]


class Caller(Protocol):
    """The client behind one call."""

    @property
    def can_ask(self) -> bool:
        """Whether the client said that it can put questions to a person."""
        ...

    @property
    def meta(self) -> Mapping[str, Any]:
        """What the client said of the call beside its arguments."""
        ...

    async def progress(self, seconds: float, message: str) -> None:
        """Tell how long the call has taken and what happens; nothing if nobody wants to know."""
        ...

    async def ask(self, message: str, form: Mapping[str, Any]) -> Answer:
        """Put a question; `form` is a flat JSON Schema.

        Raises:
            OSError: the client cannot be reached, or answered with an error.
        """
        ...


class NobodyThere:
    """A caller who has gone, or was never there: hears nothing and cannot be asked."""

    can_ask = False
    meta: Mapping[str, Any] = MappingProxyType({})

    async def progress(self, seconds: float, message: str) -> None:
        """Nobody hears it."""

    async def ask(self, message: str, form: Mapping[str, Any]) -> Answer:  # noqa: ARG002
        return Answer("cancel", {})


CALLER: ContextVar[Caller] = ContextVar("sashizu_mcp_caller", default=NobodyThere())  # noqa: B039
"""Who made the call that the current task works for."""

_FORM: Mapping[str, Any] = {
    "type": "object",
    "properties": {
        "decision": {
            "type": "string",
            "title": "Decision",
            "description": "once: this call; run: the same by this agent until the run ends",
            "enum": ["once", "run", "deny"],
        }
    },
    "required": ["decision"],
}


class AskingCaller:
    """Answers agents' questions by asking who made the call; without an answer it is a denial."""

    def __init__(self, caller: Caller | None = None, timeout_s: float = ASK_S) -> None:
        self._caller = caller
        self._timeout_s = timeout_s

    async def ask(self, question: Question) -> Approval:
        """See `Approver.ask`."""
        caller = self._caller if self._caller is not None else CALLER.get()
        if not caller.can_ask:
            return Approval("deny", "the MCP client cannot ask anybody")
        answer: Answer | None = None
        try:
            with anyio.move_on_after(self._timeout_s):
                answer = await caller.ask(_told(question), _FORM)
        except OSError as error:
            return Approval("deny", f"the MCP client could not be asked: {error}")
        if answer is None:
            return Approval("deny", f"the MCP client gave no answer within {self._timeout_s:g} s")
        if answer.action != "accept":
            return Approval("deny", f"the MCP client said {answer.action}", "mcp client")
        match answer.content.get("decision"):
            case "once":
                return Approval("once", by="mcp client")
            case "run":
                return Approval("run", by="mcp client")
            case _:
                return Approval("deny", by="mcp client")


def _told(question: Question) -> str:
    """A question as text: one line for each fact, control characters made visible."""
    lines = [f"{label}: {_visible(text)}" for label, text in described(question)]
    text = "\n".join(["An agent of sashizu asks to be allowed something.", *lines])
    return text if len(text) <= MOST_SHOWN else text[:MOST_SHOWN] + " (cut)"


def _visible(text: str) -> str:
    return "".join(char if char.isprintable() else repr(char)[1:-1] for char in text)
