"""What a command said: its exit status, and the JSON that it may have printed."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Literal

from sashizu_core.reactions.reaction import Reaction
from sashizu_core.skills.skill import visible_text

__all__ = ["Heard", "Said", "counted", "heard", "read_said"]

BLOCKS = 2
"""The exit status that blocks, with the reason on stderr."""

MOST_CHARACTERS = 10_000
"""How much of a reason or of a context is passed on."""

_SPEAKS_PLAINLY = ("SessionStart", "UserPromptSubmit", "SubagentStart")
"""Events for which what is printed, and is no JSON, is context."""

Verdict = Literal["none", "ask", "block", "failed"]


@dataclass(frozen=True, slots=True)
class Said:
    """The answer of one command: it can stop something or have somebody asked, and never allows.

    `context` is for the agent. `failed` is neither: it did not run to its end, or with an error.
    """

    verdict: Verdict
    reason: str = ""
    context: str = ""


@dataclass(frozen=True, slots=True)
class Heard:
    """All answers to one event, the strictest first. `by` is where the deciding one was read."""

    verdict: Literal["none", "ask", "block"] = "none"
    reason: str = ""
    by: str = ""
    context: str = ""


def read_said(reaction: Reaction, status: int, stdout: str, stderr: str) -> Said:
    """Understand an answer.

    Exit status 2 blocks, with what stands on stderr. 0 is an answer, in JSON or none. All others
    are failures, and so is JSON that is broken.
    """
    if status == BLOCKS:
        return Said("block", _cut(stderr) or f"it was refused by {reaction.command!r:.200}")
    if status != 0:
        return Said("failed", _cut(stderr) or f"exit status {status}")
    text = stdout.strip()
    if not text.startswith("{"):
        plain = reaction.event in _SPEAKS_PLAINLY
        return Said("none", context=_cut(text) if plain else "")
    try:
        told = json.loads(text)
    except (ValueError, RecursionError) as error:
        return Said("failed", f"what it printed is no JSON: {error}")
    return _decided(reaction, told)


def _decided(reaction: Reaction, told: Mapping[str, Any]) -> Said:
    specific = told.get("hookSpecificOutput")
    own: Mapping[str, Any] = specific if isinstance(specific, Mapping) else {}
    context = _text(own, "additionalContext") or _text(told, "additionalContext")
    if told.get("continue") is False:
        # Who wants an agent to end does not keep it from ending.
        verdict: Verdict = "none" if reaction.event in ("Stop", "SubagentStop") else "block"
        return Said(verdict, _text(told, "stopReason") or _text(told, "reason"), context)
    if reaction.event == "PreToolUse":
        wish = own.get("permissionDecision")
        reason = _text(own, "permissionDecisionReason") or _text(told, "reason")
        if wish == "deny":
            return Said("block", reason, context)
        if wish == "ask":
            return Said("ask", reason, context)
    if told.get("decision") in ("block", "deny"):
        return Said("block", _text(told, "reason"), context)
    return Said("none", context=context)


def counted(reaction: Reaction, said: Said, *, failure_blocks: bool) -> Said:
    """An answer with what a failure counts for; see `heard`."""
    if said.verdict != "failed":
        return said
    verdict: Verdict = "block" if failure_blocks and reaction.own else "none"
    return Said(verdict, f"the hook did not work: {said.reason}", said.context)


def heard(answers: Iterable[tuple[Reaction, Said]], *, failure_blocks: bool) -> Heard:
    """What several answers come to: one that blocks counts before one that asks.

    `failure_blocks` says that an operator's command that failed blocks; a repository's never does.
    """
    found = Heard()
    contexts = []
    for reaction, each in answers:
        said = counted(reaction, each, failure_blocks=failure_blocks)
        verdict, reason = said.verdict, said.reason
        if verdict == "block" and found.verdict != "block":
            found = Heard("block", reason or "no reason was given", reaction.source)
        elif verdict == "ask" and found.verdict == "none":
            found = Heard("ask", reason or "no reason was given", reaction.source)
        if said.context:
            whose = "" if reaction.own else " of this repository"
            contexts.append(f"[the hook {reaction.event}{whose} says]\n{said.context}")
    return Heard(found.verdict, found.reason, found.by, "\n".join(contexts))


def _text(table: Mapping[str, Any], key: str) -> str:
    value = table.get(key)
    return _cut(value) if isinstance(value, str) else ""


def _cut(text: str) -> str:
    return visible_text(text).strip()[:MOST_CHARACTERS]
