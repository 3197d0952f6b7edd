"""Tells an editor what an agent does: its words, its tool calls, and how far its plan is."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from hashlib import sha256
from pathlib import Path
from typing import Any

from acp.helpers import (
    plan_entry,
    start_tool_call,
    text_block,
    tool_content,
    update_agent_message_text,
    update_agent_thought_text,
    update_plan,
    update_tool_call,
)
from acp.schema import PlanEntryStatus, ToolCallLocation, ToolKind
from sashizu_core.events import Event
from sashizu_core.types import AgentReport, Criterion

__all__ = ["Teller", "arguments_of", "call_id", "kind_of", "locations_of", "title_of"]

SHOWN_CHARACTERS = 20_000
"""How much of a tool's result an editor is told."""

TITLE_CHARACTERS = 200

MOST_TEXTS = 64
"""Texts that are kept until their event comes."""

_KINDS: Mapping[str, ToolKind] = {
    "read_file": "read",
    "read_skill": "read",
    "list_files": "search",
    "grep": "search",
    "codebase_search": "search",
    "apply_patch": "edit",
    "write_file": "edit",
    "shell": "execute",
    "fetch": "fetch",
}
_MAIN = ("path", "command", "pattern", "query", "url", "agent", "name")
"""Arguments that say best what a call is about, the first that is there."""


def kind_of(tool: str) -> ToolKind:
    """What an editor draws beside a call."""
    return _KINDS.get(tool, "other")


def call_id(agent_id: object, call: object) -> str:
    """A call by a name that no other of a session has."""
    return f"{agent_id}:{call}"


def title_of(tool: str, arguments: Mapping[str, Any], agent: str = "") -> str:
    """A call in one line; `agent` is who calls, where it is not the one that was asked."""
    main = next((arguments[key] for key in _MAIN if isinstance(arguments.get(key), str)), "")
    title = " ".join(f"{tool} {main}".split())[:TITLE_CHARACTERS]
    return f"{agent}: {title}" if agent else title


def locations_of(arguments: Mapping[str, Any], root: Path) -> list[ToolCallLocation] | None:
    """The file that a call is about."""
    path = arguments.get("path")
    return [ToolCallLocation(path=str(root / path))] if isinstance(path, str) and path else None


class Teller:
    """A sink of one run that turns events into updates for `send`; keeps nothing.

    It is given the texts of arguments and results before their events, without secrets.
    """

    persistent = False
    keeps_content = True

    def __init__(self, send: Callable[[Any], None], root: Path, criteria: Sequence[str]) -> None:
        self._send = send
        self._root = root
        self._texts: dict[str, str] = {}
        self._agent_id = ""
        self._spoke = False
        self._said_last = False
        self._plan: dict[str, tuple[str, PlanEntryStatus]] = {
            f"criterion {number}": (text, "in_progress") for number, text in enumerate(criteria)
        }

    # --- as a sink --------------------------------------------------------------------------------

    def keep(self, text: str) -> str | None:
        """Remember a text until its event comes; it is not kept."""
        if len(self._texts) >= MOST_TEXTS:
            self._texts.pop(next(iter(self._texts)))
        self._texts[sha256(text.encode("utf-8", "surrogatepass")).hexdigest()] = text
        return None

    def write(self, events: Sequence[Event]) -> None:
        for event in events:
            match event.kind:
                case "agent.started":
                    self._agent_started(event.fields)
                case "agent.ended":
                    self._agent_ended(event.fields)
                case "tool.requested":
                    self._requested(event.fields)
                case "tool.ended":
                    self._ended(event.fields)

    async def durable(self) -> None:
        """Nothing survives here."""

    def child_handoff(self) -> Mapping[str, str]:
        return {}

    # --- words ------------------------------------------------------------------------------------

    def hear(self, agent_id: str, text: str) -> None:
        """Pass on a piece of an answer; what agents say that it started is theirs to report."""
        if agent_id != self._agent_id or not text:
            return
        if self._spoke and not self._said_last:
            text = f"\n\n{text}"
        self._spoke = self._said_last = True
        self._send(update_agent_message_text(text))

    def conclude(self, report: AgentReport) -> None:
        """Tell what is left to tell: an answer that did not stream, and what is met."""
        if report.answer and not self._said_last:
            self.hear(self._agent_id or report.agent_id, report.answer)
        if report.error:
            self._said_last = False
            self.hear(self._agent_id or report.agent_id, f"[{report.error}]")
        self._met(report.criteria)

    def warn(self, text: str) -> None:
        """Tell something about the run that is none of the agent's words."""
        self._send(update_agent_thought_text(f"{text}\n"))

    # --- the plan ---------------------------------------------------------------------------------

    def _agent_started(self, fields: Mapping[str, Any]) -> None:
        if fields.get("depth"):
            agent = str(fields["agent_id"])
            self._plan[agent] = (f"agent {fields.get('agent_name')}", "in_progress")
        elif not self._agent_id:
            self._agent_id = str(fields["agent_id"])
        self._show_plan()

    def _agent_ended(self, fields: Mapping[str, Any]) -> None:
        agent = str(fields["agent_id"])
        if agent in self._plan:
            self._plan[agent] = (self._plan[agent][0], "completed")
            self._show_plan()

    def _met(self, criteria: Sequence[Criterion]) -> None:
        for number, criterion in enumerate(criteria):
            status: PlanEntryStatus = "completed" if criterion.verdict == "met" else "pending"
            self._plan[f"criterion {number}"] = (criterion.text, status)
        self._show_plan()

    def _show_plan(self) -> None:
        if self._plan:
            entries = [plan_entry(text, status=status) for text, status in self._plan.values()]
            self._send(update_plan(entries))

    # --- tool calls -------------------------------------------------------------------------------

    def _requested(self, fields: Mapping[str, Any]) -> None:
        self._said_last = False
        tool = self._tool(fields)
        arguments = arguments_of(self._texts.pop(str(fields.get("args_sha256")), ""))
        agent = str(fields.get("agent_name")) if fields.get("depth") else ""
        self._send(
            start_tool_call(
                self._id(fields),
                title_of(tool, arguments, agent),
                kind=kind_of(tool),
                status="in_progress",
                locations=locations_of(arguments, self._root),
                raw_input=arguments or None,
            )
        )

    def _ended(self, fields: Mapping[str, Any]) -> None:
        text = self._texts.pop(str(fields.get("result_sha256")), "")[:SHOWN_CHARACTERS]
        done = fields.get("status") == "ok"
        self._send(
            update_tool_call(
                self._id(fields),
                status="completed" if done else "failed",
                content=[tool_content(text_block(text))] if text else None,
            )
        )

    def _tool(self, fields: Mapping[str, Any]) -> str:
        tool = str(fields.get("tool", ""))
        op = fields.get("op")
        return tool if op == "execute_tool" else f"{str(op).replace('_', ' ')} {tool}".strip()

    def _id(self, fields: Mapping[str, Any]) -> str:
        return call_id(fields.get("agent_id"), fields.get("tool_call_id") or fields.get("step"))


def arguments_of(text: str) -> dict[str, Any]:
    """The arguments of a call as a model wrote them; empty where they are no object."""
    try:
        found = json.loads(text)
    except (ValueError, RecursionError):
        return {}
    return found if isinstance(found, dict) else {}
