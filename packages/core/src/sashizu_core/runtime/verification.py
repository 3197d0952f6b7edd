"""Commands that a definition wants to pass after the answer: what they say outranks the model."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Literal

import anyio

from sashizu_core.control import RunHandle
from sashizu_core.ids import AgentId
from sashizu_core.turn.toolcalls import ToolBox
from sashizu_core.types import Criterion, ToolCall, ToolResult

__all__ = ["PREFIX", "failed", "outranked", "unverified", "verify"]

PREFIX = "verify: "
"""What the text of a criterion begins with that is a command."""

TOOL = "shell"
NEEDS = (
    f"needs the tool {TOOL!r} among the agent's tools, programs in its 'tools.shell.exec', and the "
    "package 'sashizu-sandbox'"
)
MAX_EVIDENCE_CHARACTERS = 2_000


def unverified(commands: Sequence[str], why: str) -> tuple[Criterion, ...]:
    """The commands as criteria that are not checked, and why not."""
    return tuple(Criterion(f"{PREFIX}{command}", "not checked", why) for command in commands)


async def verify(
    commands: Sequence[str],
    tools: ToolBox | None,
    *,
    handle: RunHandle,
    agent_id: AgentId,
    deadline: float = float("inf"),
) -> tuple[Criterion, ...]:
    """Run each command as a call of the tool `shell`: parsed, judged, recorded and held like one.

    Ends at the deadline, on the clock of `anyio.current_time`, and when the agent is cancelled;
    what did not run by then is not checked.

    Raises:
        RecordError: the record cannot be written.
    """
    if tools is None or all(schema.name != TOOL for schema in tools.schemas):
        return unverified(commands, NEEDS)
    found: list[Criterion] = []
    with anyio.CancelScope(deadline=deadline) as scope:
        handle.track(agent_id, scope)
        for at, command in enumerate(commands):
            found.append(await _verified(command, at, tools))
    handle.untrack(agent_id)
    left = commands[len(found) :]
    return (*found, *unverified(left, handle.reason or "there was no time left"))


async def _verified(command: str, at: int, tools: ToolBox) -> Criterion:
    call = ToolCall(f"verify-{at + 1}", TOOL, json.dumps({"command": command}))
    result, problem = await tools.check(call)
    if problem:
        return Criterion(f"{PREFIX}{command}", "not checked", _evidence(result))
    verdict: Literal["met", "not met"] = "not met" if result.is_error else "met"
    return Criterion(f"{PREFIX}{command}", verdict, _evidence(result))


def _evidence(result: ToolResult) -> str:
    """How a command ended, which is in the first line, and the end of what it printed."""
    text = result.content.strip() or "it said nothing"
    if len(text) <= MAX_EVIDENCE_CHARACTERS:
        return text
    first = text.split("\n", 1)[0][:200]
    return f"{first}\n[...]\n{text[len(first) - MAX_EVIDENCE_CHARACTERS :]}"


def outranked(said: Sequence[Criterion], checks: Sequence[Criterion]) -> tuple[Criterion, ...]:
    """What the model said of criteria, and what the commands showed.

    A criterion that names a command, by its text, is met or not as the command that ran shows.
    """
    ran = {c.text.removeprefix(PREFIX): c for c in checks if c.verdict != "not checked"}
    judged = []
    for criterion in said:
        shown = [check for command, check in ran.items() if command in criterion.text]
        worst = next((c for c in shown if c.verdict == "not met"), shown[0] if shown else None)
        if worst is None:
            judged.append(criterion)
        else:
            judged.append(Criterion(criterion.text, worst.verdict, worst.evidence))
    return (*judged, *checks)


def failed(checks: Sequence[Criterion]) -> str:
    """Why an answer is no success: the commands that had to pass and did not; empty if all did."""
    names = [c.text.removeprefix(PREFIX) for c in checks if c.verdict == "not met"]
    return f"had to pass and did not: {', '.join(names)}" if names else ""
