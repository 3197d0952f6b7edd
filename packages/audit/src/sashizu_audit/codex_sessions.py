"""Reads rollouts of Codex: one file for each thread, JSON lines of `timestamp`, `type`, `payload`.

Files of 2025 and later are understood. Usage is in `token_usage_record`, one for each answer of the
model; older files have `event_msg` of the type `token_count`, which repeat themselves. A thread
that another one started names it in its `session_meta`, and may begin with a copy of its history.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from sashizu_audit.foreign import (
    MOST_STEPS,
    Found,
    ModelCall,
    Session,
    ToolCall,
    instant,
    lines_of,
    name_of,
)
from sashizu_audit.foreign import usage_of as _usage_of

__all__ = ["read_codex"]

_USAGE = {
    "input_tokens": "input_tokens",
    "output_tokens": "output_tokens",
    "cache_read_tokens": "cached_input_tokens",
    "cache_write_tokens": "cache_write_input_tokens",
    "reasoning_tokens": "reasoning_output_tokens",
}
_CALLS = ("function_call", "custom_tool_call", "local_shell_call")
_RESULTS = ("function_call_output", "custom_tool_call_output")


def read_codex(place: Path) -> Found:
    """All threads in the rollouts at or beneath `place`. Blocks.

    Raises:
        UsageError: there is nothing at `place`.
    """
    found = Found()
    seen: set[str] = set()
    for _, objects in lines_of(place, found):
        _Rollout(found, seen).read(objects)
    return found


@dataclass(slots=True)
class _Rollout:
    found: Found
    seen: set[str]
    session: Session | None = None
    provider: str = ""
    model: str = ""
    first_own: int = 0
    counted: list[ModelCall] = field(default_factory=list)
    total: int = -1
    recorded: bool = False
    tools: dict[str, ToolCall] = field(default_factory=dict)

    def read(self, objects: Iterator[Mapping[str, Any]]) -> None:
        for line in objects:
            payload = line.get("payload")
            if not isinstance(payload, dict):
                continue
            if line.get("type") == "session_meta":
                self._begin(payload)
            elif self.session is None or self._is_copied(line, payload):
                continue
            else:
                self._take(self.session, line, payload)
        if self.session is None:
            self.found.skipped_files += 1
        elif not self.recorded:
            for call in self.counted:
                self.session.add(call)

    def _begin(self, payload: Mapping[str, Any]) -> None:
        key = name_of(payload.get("id"))
        if self.session is not None or not key:
            return  # a second one is that of the thread whose history was copied
        spawn = _inner(payload, "source", "subagent", "thread_spawn")
        parent = name_of(payload.get("parent_thread_id")) or name_of(spawn.get("parent_thread_id"))
        self.session = self.found.session(key)
        if self.session is None:
            return
        self.session.parent = self.session.parent or parent
        role = name_of(spawn.get("agent_role")) or name_of(spawn.get("agent_nickname"))
        self.session.name = role or ("agent" if parent else "main")
        self.session.saw(instant(payload.get("timestamp")))
        self.provider = name_of(payload.get("model_provider"))
        ordinal = payload.get("subagent_history_start_ordinal")
        self.first_own = ordinal if type(ordinal) is int else 0

    def _is_copied(self, line: Mapping[str, Any], payload: Mapping[str, Any]) -> bool:
        ordinal, thread = line.get("ordinal"), payload.get("thread_id")
        if type(ordinal) is int and ordinal < self.first_own:
            return True
        return isinstance(thread, str) and self.session is not None and thread != self.session.key

    def _take(self, session: Session, line: Mapping[str, Any], payload: Mapping[str, Any]) -> None:
        when, kind = instant(line.get("timestamp")), payload.get("type")
        session.saw(when)
        match line.get("type"):
            case "turn_context":
                self.model = name_of(payload.get("model")) or self.model
            case "token_usage_record":
                self._take_record(session, payload, when)
            case "event_msg" if kind == "token_count":
                self._take_count(payload, when)
            case "response_item" if kind in _CALLS:
                call_id = name_of(payload.get("call_id"))
                tool = ToolCall(call_id, name_of(payload.get("name")) or str(kind), when)
                self._take_tool(session, tool)
            case "response_item" if kind in _RESULTS:
                if (asked := self.tools.get(name_of(payload.get("call_id")))) is not None:
                    asked.status = "ok"

    def _take_tool(self, session: Session, tool: ToolCall) -> None:
        if tool.call_id and tool.call_id in self.tools:
            return
        if session.add(tool):
            self.tools[tool.call_id] = tool

    def _take_record(self, session: Session, payload: Mapping[str, Any], when: int) -> None:
        self.recorded = True
        response_id = name_of(payload.get("response_id"))
        usage = _usage_of(payload.get("usage"), _USAGE, cache_is_in_input=True)
        if usage is None:
            self.found.skipped_lines += 1
            return
        call = ModelCall(response_id, self.provider, self.model, usage, when)
        if (not response_id or response_id not in self.seen) and session.add(call):
            self.seen.add(response_id)

    def _take_count(self, payload: Mapping[str, Any], when: int) -> None:
        last = _inner(payload, "info", "last_token_usage")
        if not last:
            return  # it tells of limits only
        total = _inner(payload, "info", "total_token_usage").get("total_tokens")
        usage = _usage_of(last, _USAGE, cache_is_in_input=True)
        if usage is None:
            self.found.skipped_lines += 1
        elif (type(total) is not int or total != self.total) and len(self.counted) <= MOST_STEPS:
            self.counted.append(ModelCall("", self.provider, self.model, usage, when))
        self.total = total if type(total) is int else self.total


def _inner(value: object, *names: str) -> Mapping[str, Any]:
    for name in names:
        value = value.get(name) if isinstance(value, dict) else None
    return value if isinstance(value, dict) else {}
