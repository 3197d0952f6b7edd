"""Reads transcripts of Claude Code: JSON lines of messages, of which each names its session.

An answer of the model is told by several lines of one `message.id`, each with the usage so far; a
session that goes on in another file repeats what was before. Lines of an agent beneath the session
carry its `agentId`.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from sashizu_audit.foreign import (
    MOST_SESSIONS,
    Found,
    ModelCall,
    Session,
    ToolCall,
    instant,
    lines_of,
    name_of,
    usage_of,
)

__all__ = ["read_claude"]

_USAGE = {
    "input_tokens": "input_tokens",
    "output_tokens": "output_tokens",
    "cache_read_tokens": "cache_read_input_tokens",
    "cache_write_tokens": "cache_creation_input_tokens",
}
_NO_MODEL = "<synthetic>"


def read_claude(place: Path) -> Found:
    """All sessions, and agents beneath them, in the transcripts at or beneath `place`. Blocks.

    Raises:
        UsageError: there is nothing at `place`.
    """
    reader = _Reader(Found())
    for _, objects in lines_of(place, reader.found):
        for line in objects:
            reader.take(line)
    for session in reader.found.sessions.values():
        session.name = reader.names.get(session.key) or ("agent" if session.parent else "main")
    return reader.found


@dataclass(slots=True)
class _Reader:
    found: Found
    calls: dict[str, ModelCall] = field(default_factory=dict)
    tools: dict[str, ToolCall] = field(default_factory=dict)
    names: dict[str, str] = field(default_factory=dict)

    def take(self, line: Mapping[str, Any]) -> None:
        kind, root = line.get("type"), name_of(line.get("sessionId"))
        message = line.get("message")
        if kind not in ("assistant", "user") or not root or not isinstance(message, dict):
            return
        session = self._session(line, root)
        if session is None:
            return
        when = instant(line.get("timestamp"))
        session.saw(when)
        if kind == "assistant":
            self._take_answer(session, line, message, when)
        else:
            self._take_results(line, root, message)

    def _session(self, line: Mapping[str, Any], root: str) -> Session | None:
        agent = name_of(line.get("agentId")) or ("side" if line.get("isSidechain") is True else "")
        if not agent:
            return self.found.session(root)
        return self.found.session(f"{root}/{agent}", root)

    def _take_answer(
        self, session: Session, line: Mapping[str, Any], message: Mapping[str, Any], when: int
    ) -> None:
        for block in _blocks(message, "tool_use"):
            call_id = name_of(block.get("id"))
            if call_id and call_id not in self.tools:
                tool = ToolCall(call_id, name_of(block.get("name")), when)
                if session.add(tool):
                    self.tools[call_id] = tool
        model = name_of(message.get("model"))
        if model == _NO_MODEL or "usage" not in message:
            return
        usage = usage_of(message["usage"], _USAGE, cache_is_in_input=False)
        told = (message.get("id"), line.get("requestId"), line.get("uuid"))
        answer_id = next(filter(None, map(name_of, told)), "")
        if usage is None or not answer_id:
            self.found.skipped_lines += 1
        elif (known := self.calls.get(answer_id)) is None:
            call = ModelCall(answer_id, "anthropic", model, usage, when)
            if session.add(call):
                self.calls[answer_id] = call
        elif usage.tokens > known.usage.tokens:
            known.usage = usage

    def _take_results(self, line: Mapping[str, Any], root: str, message: Mapping[str, Any]) -> None:
        for block in _blocks(message, "tool_result"):
            if (asked := self.tools.get(name_of(block.get("tool_use_id")))) is not None:
                asked.status = "error" if block.get("is_error") is True else "ok"
        result = line.get("toolUseResult")
        if not isinstance(result, dict):
            return
        agent = name_of(result.get("agentId"))
        if agent and len(self.names) < MOST_SESSIONS:
            self.names[f"{root}/{agent}"] = name_of(result.get("agentType"))


def _blocks(message: Mapping[str, Any], kind: str) -> Iterator[Mapping[str, Any]]:
    content = message.get("content")
    for block in content if isinstance(content, list) else []:
        if isinstance(block, dict) and block.get("type") == kind:
            yield block
