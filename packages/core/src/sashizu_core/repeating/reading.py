"""A recorded run, checked for what a replay or a run that goes on needs of it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import anyio.to_thread

from sashizu_core.errors import MissingPackage, SashizuError, UsageError
from sashizu_core.plugins import Registry
from sashizu_core.recorded import RecordedRun
from sashizu_core.runtime.run_past import RunPast
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
    started = _only(recorded, "run.started")
    if started is None:
        raise SashizuError(f"the record of run {recorded.run_id} has no beginning: it was pruned")
    if recorded.problems:
        raise SashizuError(
            f"the record of run {recorded.run_id} is not as it was written, so nothing can be made "
            f"of it: {'; '.join(recorded.problems[:3])} (`sashizu audit verify` tells all)"
        )
    past = RunPast.of(recorded, recomputes=recomputes)
    return KnownRun(
        recorded,
        past,
        read_run(past.document(started)),
        started,
        _only(recorded, "run.ended"),
    )


def check_kinds(known: KnownRun) -> None:
    """Refuse runs with something in them that is not on record in full.

    Raises:
        SashizuError: says what.
    """
    run_id = known.recorded.run_id
    if known.asked.beneath:
        raise SashizuError(f"run {run_id} is a part of another process's run: name that one")
    for event in known.recorded.events:
        if event.get("tool_type") == "hook":
            raise SashizuError(f"run {run_id} had hooks, whose answers are not recorded in full")
        if event.get("tool_type") == "engine":
            raise SashizuError(
                f"run {run_id} had an agent that was a program of its own: what it did is not "
                "recorded step by step"
            )


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
