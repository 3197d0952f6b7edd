"""Who of a client's agents makes a request, as far as its headers say."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import orjson

__all__ = ["Caller", "caller_of"]

Headers = Callable[[str], str]
"""Gives a header by its lower-case name, empty where there is none."""

LONGEST_ID = 128
LONGEST_NAME = 48


@dataclass(frozen=True, slots=True)
class Caller:
    """One agent of a client: its id and that of the one that started it, empty if unknown.

    What a client says of its agents decides nothing but below which of the client's own nodes they
    are counted.
    """

    agent: str = ""
    parent: str = ""
    name: str = ""


def caller_of(header: Headers) -> Caller:
    """The agent that a request comes from.

    Codex names threads (`thread-id`, `x-codex-parent-thread-id`, and `x-codex-turn-metadata`),
    Claude Code agents (`x-claude-code-agent-id`, `x-claude-code-parent-agent-id`) within a session;
    any other client can say `x-sashizu-agent` and `x-sashizu-parent`.
    """
    if own := _id(header("x-sashizu-agent")):
        return Caller(own, _id(header("x-sashizu-parent")), _name(own))
    if thread := _id(header("thread-id") or header("session-id") or header("session_id")):
        told = _metadata(header("x-codex-turn-metadata"))
        parent = _id(header("x-codex-parent-thread-id") or told.get("parent_thread_id", ""))
        if parent == thread:
            parent = ""
        name = _name(told.get("agent_name", ""))
        if parent and "/" not in name:  # older ways to start agents name them all alike
            name = _name(f"{name}/{thread[-8:]}")
        return Caller(thread, parent, name)
    if session := _id(header("x-claude-code-session-id")):
        agent = _id(header("x-claude-code-agent-id"))
        if not agent:
            return Caller(session)
        parent = _id(header("x-claude-code-parent-agent-id")) or session
        return Caller(agent, "" if parent == agent else parent, agent[-8:])
    return Caller()


def _id(text: str) -> str:
    """An id as it is used: printable, and not longer than any that is known."""
    text = text.strip()
    return text if len(text) <= LONGEST_ID and text.isascii() and text.isprintable() else ""


def _name(text: str) -> str:
    """A name for people; foreign, so only plain letters of it are shown."""
    plain = "".join(char if char.isalnum() or char in "._-/" else "-" for char in text)
    return plain.strip("/")[:LONGEST_NAME]


def _metadata(text: str) -> dict[str, str]:
    """The texts in the metadata of Codex; empty where it is not what it was."""
    try:
        found = orjson.loads(text) if text else {}
    except orjson.JSONDecodeError:
        return {}
    if not isinstance(found, dict):
        return {}
    return {name: value for name, value in found.items() if isinstance(value, str)}
