"""What a conversation says so far: the task, the tools, and what they have answered."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from sashizu_core.prompt import Brief, is_aside, read_brief
from sashizu_core.types import Message, ModelRequest, ToolCall

__all__ = ["Conversation", "Exchange"]

_NOTES = ("Your answer was cut off at the output cap.",)
"""How messages begin that the agent loop adds: they are no new task."""


@dataclass(frozen=True, slots=True)
class Exchange:
    """A tool call and its answer."""

    tool: str
    arguments: Mapping[str, Any]
    content: str
    is_error: bool


@dataclass(frozen=True, slots=True)
class Conversation:
    """The task as it stands. `exchanges` are those since the task was given, in order.

    `turn` counts the answers of the model so far; `tools` maps names to their argument names.
    """

    brief: Brief
    tools: Mapping[str, frozenset[str]]
    exchanges: tuple[Exchange, ...] = ()
    turn: int = 0
    has_brief: bool = field(default=True)

    @classmethod
    def read(cls, request: ModelRequest) -> Conversation:
        """Understand a request; a conversation that began without a brief has its text for one."""
        tasks = [index for index, m in enumerate(request.messages) if _is_task(m)]
        text = request.messages[tasks[-1]].content if tasks else ""
        brief = read_brief(request.messages)
        if brief is None:
            known = Brief(agent="", role="", goal=text)
        else:
            known = replace(brief, goal=text if len(tasks) > 1 else _first_goal(brief, request))
        return cls(
            known,
            {tool.name: frozenset(tool.parameters.get("properties", {})) for tool in request.tools},
            _exchanges(request.messages[tasks[-1] if tasks else 0 :]),
            sum(message.role == "assistant" for message in request.messages),
            brief is not None,
        )

    def answers(self, tool: str) -> list[Exchange]:
        """What a tool has answered."""
        return [exchange for exchange in self.exchanges if exchange.tool == tool]

    def call(self, number: int, tool: str, **arguments: Any) -> ToolCall:
        """A tool call with a name of its own. Arguments that are None are left out."""
        given = {name: value for name, value in arguments.items() if value is not None}
        text = json.dumps(given, ensure_ascii=False)
        return ToolCall(f"offline-{self.turn + 1}-{number}", tool, text)


def _is_task(message: Message) -> bool:
    return (
        message.role == "user" and not is_aside(message) and not message.content.startswith(_NOTES)
    )


def _first_goal(brief: Brief, request: ModelRequest) -> str:
    """The goal of the brief, which notes of the loop have replaced in what was read."""
    facts = next(
        message.opaque["sashizu"]
        for message in request.messages
        if message.role == "system" and message.opaque and "sashizu" in message.opaque
    )
    goal = json.loads(facts).get("goal", brief.goal)
    return goal if isinstance(goal, str) else brief.goal


def _exchanges(messages: tuple[Message, ...]) -> tuple[Exchange, ...]:
    calls = {call.id: call for message in messages for call in message.tool_calls}
    found = []
    for message in messages:
        call = calls.get(message.tool_call_id) if message.role == "tool" else None
        if call is not None:
            found.append(
                Exchange(call.name, _object(call.arguments), message.content, message.is_error)
            )
    return tuple(found)


def _object(text: str) -> Mapping[str, Any]:
    try:
        value = json.loads(text)
    except ValueError:
        return {}
    return value if isinstance(value, dict) else {}
