"""A recorded run, checked for what a replay or a run that goes on needs of it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from hashlib import sha256
from typing import Any

import anyio.to_thread

from sashizu_core.errors import MissingPackage, SashizuError, UsageError
from sashizu_core.plugins import Registry
from sashizu_core.recorded import RecordedRun
from sashizu_core.repeating.joining import joined, not_taken_over
from sashizu_core.runtime.run_cut import Cut, cut_off
from sashizu_core.runtime.run_past import RunPast, of_a_program
from sashizu_core.runtime.written_run import WrittenRun, read_run

__all__ = ["KnownRun", "check_kinds", "known_run"]


@dataclass(frozen=True, slots=True)
class KnownRun:
    """A recorded run, and what it was asked. `ended` is None where no end is on record."""

    recorded: RecordedRun
    past: RunPast
    asked: WrittenRun
    started: Mapping[str, Any]
    ended: Mapping[str, Any] | None


async def known_run(registry: Registry, run_id: str, *, recomputes: bool) -> KnownRun:
    """Read a run from the record that keeps it.

    Raises:
        UsageError: there is no such run.
        MissingPackage: no record can be read.
        SashizuError: what of it is needed is not there, or not as it was written.
    """
    recorded = await _recorded(registry, run_id)
    if not recomputes:
        recorded = await _with_earlier(registry, recorded, {recorded.run_id})
    started = _only(recorded, "run.started")
    if started is None:
        raise SashizuError(f"the record of run {recorded.run_id} has no beginning: it was pruned")
    if recorded.problems:
        raise SashizuError(
            f"the record of run {recorded.run_id} is not as it was written, so nothing can be made "
            f"of it: {'; '.join(recorded.problems[:3])} (`sashizu audit verify` tells all)"
        )
    await anyio.to_thread.run_sync(_check_content, recorded)
    recorded = _of_its_own(recorded)
    past = RunPast.of(recorded, recomputes=recomputes)
    return KnownRun(
        recorded,
        past,
        read_run(past.document(started)),
        started,
        _only(recorded, "run.ended"),
    )


async def _with_earlier(registry: Registry, recorded: RecordedRun, seen: set[str]) -> RecordedRun:
    """A run with what it had not taken over yet of the one from which it went on.

    Raises:
        UsageError: that one is not on record.
    """
    begun = _only(recorded, "run.started") or {}
    link = begun.get("attrs") or {}
    run_id = str(link.get("resumes") or link.get("forks") or "")
    if not run_id or run_id in seen:
        return recorded
    earlier = await _with_earlier(registry, await _recorded(registry, run_id), {*seen, run_id})
    if "resumes" in link:
        return joined(recorded, earlier)
    _check_fork(recorded, earlier, Cut(str(link["at_agent"]), int(link["at_step"])))
    return recorded


def _check_fork(recorded: RecordedRun, earlier: RecordedRun, cut: Cut) -> None:
    """Refuse a fork that ended before it had its history: its agents would begin anew.

    Raises:
        SashizuError: says what to do.
    """
    begun = _only(earlier, "run.started") or {}
    past = RunPast.of(earlier, recomputes=False)
    supervised = read_run(past.document(begun)).supervised is not None
    history = cut_off(past, cut, supervised=supervised).recorded
    if not_taken_over(recorded.events, history.events):
        raise SashizuError(
            f"run {recorded.run_id} was interrupted before it had taken over the history of run "
            f"{earlier.run_id}: fork that one again"
        )


def _check_content(recorded: RecordedRun) -> None:
    """Refuse a run some text of which is not there, before anything of it is done.

    Raises:
        SashizuError: content was not kept, or is gone.
    """
    begun = _only(recorded, "run.started") or {}
    texts = {digest for event in recorded.events for digest in event.get("blobs") or ()}
    if not begun.get("blobs") or not any(recorded.text(digest) for digest in texts):
        raise SashizuError(
            f"the record of run {recorded.run_id} does not hold what was asked: its content was "
            'not kept. Set content = "blobs" in [audit] before a run that is to be made again'
        )
    for event in recorded.events:
        if event["kind"] == "agent.started" and not event.get("blobs") and not of_a_program(event):
            raise SashizuError(
                f"the agent {event.get('agent_name')!r} of run {recorded.run_id} worked in a "
                "process of its own: what it was asked is not on record"
            )
        for digest in event.get("blobs") or ():
            if recorded.text(digest) is None:
                raise SashizuError(
                    f"the text {digest[:12]} of run {recorded.run_id} ({event['kind']} of "
                    f"{event.get('agent_name') or 'the run'}) is not kept any more: it is older "
                    "than blob_days in [audit], was taken out, or was changed"
                )
        if not event.get("blobs") and event.get("result_sha256") not in (None, _EMPTY):
            raise SashizuError(
                f"what {event.get('tool')!r} gave in step {event.get('step')} of "
                f"{event.get('agent_name')} is not kept: it was larger than 8 MiB"
            )


def _of_its_own(recorded: RecordedRun) -> RecordedRun:
    """A replay as if it were no repetition: what it repeats is another matter."""
    begun = _only(recorded, "run.started") or {}
    if begun.get("replay_of") is None:
        return recorded
    events = [
        {name: value for name, value in event.items() if name != "replay_of"}
        for event in recorded.events
    ]
    return replace(recorded, events=events)


_EMPTY = sha256(b"").hexdigest()


def check_kinds(known: KnownRun) -> None:
    """Refuse runs with something in them that is not on record in full.

    Raises:
        SashizuError: says what.
    """
    run_id = known.recorded.run_id
    if known.asked.beneath:
        raise SashizuError(f"run {run_id} is a part of another process's run: name that one")
    if (known.started.get("attrs") or {}).get("realtime"):
        raise SashizuError(
            f"run {run_id} answered requests as they came, in time or not at all: the record holds "
            "each of them, and that cannot be made again"
        )
    for event in known.recorded.events:
        if why := _unkept(event):
            raise SashizuError(f"run {run_id} cannot be made again: {why}")


def _unkept(event: Mapping[str, Any]) -> str:
    """Why what servers described, or hooks said, cannot be taken again; empty if it can."""
    op, status = event.get("op"), event.get("status")
    if event["kind"] != "tool.ended" or event.get("blobs"):
        return ""
    if op == "list_tools" and status == "ok":
        return "an agent had tools of servers, whose descriptions were not kept"
    if op == "run_hook" and status != "cancelled":
        return "it had hooks, whose answers were not kept"
    if event.get("tool_type") == "engine" and status == "ok":
        return "an agent was a program of its own, whose answer was not kept"
    if event.get("tool_type") == "engine" and "spent" not in (event.get("attrs") or {}):
        return "another version of sashizu wrote what a program of its own did"
    return ""


async def _recorded(registry: Registry, run_id: str) -> RecordedRun:
    for spec in registry.sinks.values():
        if spec.recorded is not None:
            return await anyio.to_thread.run_sync(spec.recorded, run_id)
    raise MissingPackage("to read what a run has recorded", "sashizu-audit")


def _only(recorded: RecordedRun, kind: str) -> Mapping[str, Any] | None:
    found = [event for event in recorded.events if event["kind"] == kind]
    if len(found) > 1:
        raise UsageError(f"the record of run {recorded.run_id} has {len(found)} times {kind!r}")
    return found[0] if found else None
