"""`fork`: another run from one step of a recorded one on."""

from __future__ import annotations

import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import anyio.to_thread

from sashizu_core.errors import SashizuError, UsageError, nearest
from sashizu_core.ids import new_run_id
from sashizu_core.plugins import Registry
from sashizu_core.repeating.going_on import WentOn, go_on, heads, open_known, same_folder
from sashizu_core.repeating.reading import KnownRun, check_kinds
from sashizu_core.runtime.artifacts import RUNS_FOLDER
from sashizu_core.runtime.run_cut import Cut, cut_off
from sashizu_core.runtime.run_past import KnownAgent
from sashizu_core.settings import Settings
from sashizu_core.types import Limits

__all__ = ["fork"]


async def fork(
    run: str,
    *,
    at: int,
    agent: str | None = None,
    model: str | None = None,
    workspace: Path | str | None = None,
    settings: Settings | None = None,
    registry: Registry | None = None,
    budget: Limits | None = None,
    **options: Any,
) -> WentOn:
    """Take the history of a recorded run until a step of one agent, and go on live from there.

    Steps before it are taken from the record and not made again; the step itself, and all that
    follows from it, is made now. Who started the agent goes on live after it, agents beside it keep
    what they said. Files are those of today: what the recorded run changed is not undone. What it
    wrote into its own folder is copied into that of the new one.

    Args:
        run: its id, the beginning of it if that is the only one, or `last`.
        at: the number of the step that is made anew; 0 is the agent's first.
        agent: whose step that is, by name or id; None where the run had only one.
        model: who goes on in place of the model that the agent had.
        workspace: the folder that `settings` are for; another than the run's is refused.
        settings: None reads them for the folder of the run.
        registry: None wires the installed plugins.
        budget: what the new run may use; None takes the limits of the recorded one, in full.
        options: what `delegate_parallel` takes besides: `approver`, `deadline_s`, `jobs`, `sinks`,
            `on_text`, `on_line`, `on_start`, `run_id`, `audit`.

    Raises:
        UsageError: there is no such run, agent or step, or the run is still at work.
        SashizuError: content was not kept, the record is not intact, its folder is gone, or the
            step is inside of work that is made anew as a whole.
    """
    known, settings, registry = await open_known(run, settings, registry)
    run_id = known.recorded.run_id
    if known.recorded.alive:
        raise UsageError(f"run {run_id} is still at work: wait for its end, or cancel it")
    check_kinds(known)
    same_folder(known, workspace)
    cut = Cut(_agent_of(known, agent), at, model)
    _check_step(known, cut)
    _check_whole(known, cut)
    supervised = known.asked.supervised is not None
    known = replace(known, past=cut_off(known.past, cut, supervised=supervised))
    attrs = {"forks": run_id, "at_agent": cut.agent_id, "at_step": at, "heads": heads(known)}
    known.past.link = attrs
    new = options["run_id"] = options.get("run_id") or new_run_id()
    for old in known.past.moved(new):
        await anyio.to_thread.run_sync(_copied, known.asked.root, old, new)
    limits = budget if budget is not None else known.asked.budget
    return await go_on(known, settings, registry, limits, options)


def _agent_of(known: KnownRun, wanted: str | None) -> str:
    """The id of the agent instance that is meant.

    Raises:
        UsageError: there is none, or more than one.
    """
    pasts = known.past.pasts
    found = [
        past
        for past in pasts
        if wanted is None or past.name == wanted or past.agent_id.startswith(wanted.lower())
    ]
    if len(found) == 1:
        return found[0].agent_id
    told = ", ".join(f"{past.name} ({past.agent_id})" for past in (found or pasts)[:10])
    if not found:
        hint = nearest(wanted or "", [past.name for past in pasts])
        raise UsageError(f"the run had no agent {wanted!r}{hint}; it had: {told}")
    raise UsageError(f"say whose step it is, by name or id: {told}")


def _check_step(known: KnownRun, cut: Cut) -> None:
    """Refuse a step that is not on record.

    Raises:
        UsageError: says which are.
    """
    past = next(past for past in known.past.pasts if past.agent_id == cut.agent_id)
    if not 0 <= cut.step <= past.last_seq:
        raise UsageError(
            f"{past.name!r} has no step {cut.step}; it has 0 to {past.last_seq} "
            f"(`sashizu audit show {known.recorded.run_id}` lists them)"
        )


def _check_whole(known: KnownRun, cut: Cut) -> None:
    """Refuse a step inside of work that is made anew as a whole, or not at all.

    Raises:
        SashizuError: says where that work begins.
    """
    agents = {agent.past.agent_id: agent for agent in known.past.agents}
    agent = agents[cut.agent_id]
    first, work = _work_of(agent)
    if cut.step > first:
        raise SashizuError(
            f"unsupported: what {agent.past.name!r} did is the work of {work}, which is made anew "
            f"as a whole: say --at {first}"
        )
    while (above := agents.get(agent.place[0])) is not None:
        if above.document.get("host"):
            raise SashizuError(
                f"unsupported: {agent.past.name!r} was started from the process of "
                f"{above.past.name!r}, which is made anew as a whole: fork that one at 0"
            )
        agent = above


def _work_of(agent: KnownAgent) -> tuple[float, str]:
    """The last step from which an agent can go on, and who does the work after it."""
    if agent.document.get("host"):
        return 0, "a process of its own"
    steps = agent.past.steps.items()
    begins = [seq for seq, step in steps if step.intent.get("tool_type") == "engine"]
    return (begins[0], "a program of another vendor") if begins else (float("inf"), "")


def _copied(root: Path, old: str, new: str) -> None:
    """Give the new run what the recorded one wrote into its own folder.

    Raises:
        SashizuError: it cannot be copied.
    """
    source, target = (root / RUNS_FOLDER / run_id for run_id in (old, new))
    if source.resolve() != root.resolve() / RUNS_FOLDER / old or not source.is_dir():
        return  # a link leads out of the workspace, and nothing there is ours
    try:
        shutil.copytree(source, target, symlinks=True, dirs_exist_ok=True)
    except OSError as error:
        raise SashizuError(f"what run {old} wrote cannot be copied to {target}: {error}") from error
