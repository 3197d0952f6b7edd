"""What runs that go on from a record share: today's settings, folders, and what came of them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import anyio.to_thread

from sashizu_core.errors import SashizuError, UsageError
from sashizu_core.plugins import Registry, open_registry
from sashizu_core.repeating.making import carried_out
from sashizu_core.repeating.reading import KnownRun, known_run
from sashizu_core.runtime.asked import asked_by
from sashizu_core.runtime.written_plan import definition_from
from sashizu_core.settings import Settings, load_settings
from sashizu_core.supervisor.report import Supervision
from sashizu_core.trust import TrustStore, trust_command
from sashizu_core.types import Limits, RunReport

__all__ = ["Doubt", "WentOn", "check_folders", "go_on", "heads", "open_known", "same_folder"]


@dataclass(frozen=True, slots=True)
class Doubt:
    """A call that may have had its effect before its run was interrupted."""

    agent: str
    step: int
    tool: str


@dataclass(frozen=True, slots=True)
class WentOn:
    """What came of a run that went on from the record of another, `goes_on_from`.

    `doubts` are the calls that nobody knows the outcome of, `lacks` sentences about files that an
    agent does not have which it had then; `supervision` is what a supervisor's run came to.
    """

    run_id: str
    goes_on_from: str
    report: RunReport
    doubts: tuple[Doubt, ...] = ()
    lacks: tuple[str, ...] = ()
    supervision: Supervision | None = None


async def open_known(
    run: str, settings: Settings | None, registry: Registry | None
) -> tuple[KnownRun, Settings, Registry]:
    """A recorded run, with the settings and plugins of today for its folder.

    Raises:
        UsageError: there is no such run.
        SashizuError: what is needed of it is not on record.
    """
    here = settings if settings is not None else load_settings(Path())
    known = await known_run(
        registry if registry is not None else open_registry(here), run, recomputes=False
    )
    if settings is None:
        here = load_settings(known.asked.root)
    return known, here, registry if registry is not None else open_registry(here)


def same_folder(known: KnownRun, workspace: Path | str | None) -> None:
    """Refuse to go on under the settings of another folder than the run's.

    Raises:
        UsageError: says where to go on.
    """
    root = known.asked.root
    if workspace is not None and Path(workspace).absolute().resolve() != root.resolve():
        raise UsageError(
            f"run {known.recorded.run_id} was at work in {str(root)!r}: go on there, such as with "
            f"-C {str(root)!r}"
        )


def check_folders(known: KnownRun, registry: Registry) -> None:
    """Refuse agents whose folder of their own nobody could take up again. Blocks.

    Raises:
        SashizuError: names the agent, and says why.
    """
    for agent in known.past.agents:
        past, name = agent.past, agent.document.get("isolation")
        if past.strict or name in (None, "none"):
            continue
        spec = registry.isolations.get(str(name))
        why = f"and nothing here makes a {name}" if spec is None else "which does not last"
        if spec is not None and spec.gone is not None:
            why = spec.gone(past.agent_id)
        if why:
            raise SashizuError(
                f"unsupported: the agent {past.name!r} was at work in a {name} of its own, {why} "
                "(`sashizu worktrees list` shows what is there)"
            )


async def go_on(
    known: KnownRun,
    settings: Settings,
    registry: Registry,
    limits: Limits,
    options: Mapping[str, Any],
) -> WentOn:
    """Run the agents of a recorded run from where its history ends.

    Raises:
        SashizuError: see `delegate_parallel`.
    """
    known.past.policy = settings.policy
    known.past.brought = known.asked.brought
    await anyio.to_thread.run_sync(_check_trust, known)
    await anyio.to_thread.run_sync(_check_servers, known, registry)
    doubts = tuple(_doubts(known))
    said = {name: value for name, value in options.items() if value is not None}
    told: dict[str, Any] = {"jobs": known.asked.jobs, "model": known.asked.model, **said}
    asked = asked_by(
        known.asked.tasks,
        workspace=known.asked.root,
        budget=limits,
        isolation=known.asked.isolation,
        agents=known.asked.agents,
        settings=_live_settings(settings, known),
        registry=replace(registry, agents={}),
        rebalance=known.asked.rebalance,
        **told,
    )
    report, supervision = await carried_out(replace(asked, past=known.past), known)
    lacks = tuple(known.past.lacks)
    return WentOn(asked.run_id, known.recorded.run_id, report, doubts, lacks, supervision)


def _check_trust(known: KnownRun) -> None:
    """Refuse to go on with agents of a repository of which nothing is trusted any more. Blocks.

    Raises:
        UsageError: names one of them.
    """
    begun = [agent.past.name for agent in known.past.agents if not agent.past.strict]
    names = [*begun, *(task.agent for task in known.asked.tasks)]
    brought = next((name for name in names if name in known.asked.brought), "")
    root = known.asked.root
    if brought and not TrustStore().files(root):
        raise UsageError(
            f"the agent {brought!r} comes from the repository {str(root)!r}, of which nothing is "
            f"trusted any more: look at it with `{trust_command(root)}`, then go on"
        )


def _check_servers(known: KnownRun, registry: Registry) -> None:
    """Refuse to go on where an agent lists tools of a server that nobody trusts by now.

    Raises:
        TrustNeeded: names the server's file.
    """
    listed = [
        (tuple(agent.document["served"]), definition_from(agent.document["definition"]).servers)
        for agent in known.past.agents
        if not agent.past.strict and agent.document.get("served")
    ]
    for source in registry.tool_sources.values() if listed else ():
        source.check(known.asked.root, listed)


def heads(known: KnownRun) -> dict[str, list[Any]]:
    """The last event of the old run by writer: what the new one rests on."""
    return {writer: [seq, h] for writer, (seq, h) in known.recorded.heads.items()}


_OF_TODAY = ("sandbox", "executor")
"""Of `[run]`, what may not be as it was then: leaving them out today says something, too."""


def _live_settings(settings: Settings, known: KnownRun) -> Settings:
    """Today's settings; of `[run]` what shaped the run, but who holds programs and runs agents."""
    then, now = known.asked.tables.get("run", {}), settings.tables.get("run", {})
    shaped = {name: value for name, value in then.items() if name not in _OF_TODAY}
    shaped |= {name: value for name, value in now.items() if name in _OF_TODAY}
    return replace(settings, tables={**settings.tables, "run": shaped})


def _named(intent: Mapping[str, Any]) -> str:
    tool = str(intent.get("tool"))
    return f"hook {tool}" if intent.get("op") == "run_hook" else tool


def _doubts(known: KnownRun) -> list[Doubt]:
    found = []
    for agent in known.past.agents:
        past = agent.past
        if past.strict:
            continue
        if agent.document.get("host"):  # what it did is one step, of which nobody knows the end
            found.append(Doubt(past.name, 0, f"agent {past.name}"))
            continue
        found += [Doubt(past.name, step.seq, _named(step.intent)) for step in past.in_doubt()]
    return found
