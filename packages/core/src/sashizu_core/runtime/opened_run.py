"""What every run has, whoever decides what its agents do: one record, one ledger, one handle."""

from __future__ import annotations

import os
from collections.abc import AsyncGenerator, Awaitable, Callable, Mapping, Sequence
from contextlib import AsyncExitStack, asynccontextmanager, nullcontext
from dataclasses import dataclass, replace
from time import time
from typing import TypeVar

import anyio.to_thread

from sashizu_core.agents import load_catalogue
from sashizu_core.approvals import Approvals
from sashizu_core.control import ControlServer, RunHandle, RunInfo
from sashizu_core.errors import MissingPackage, SashizuError, UsageError
from sashizu_core.home import state_home
from sashizu_core.protocols import Budget, BudgetNode, ShiftingBudget
from sashizu_core.reactions.book import ReactionBook, load_book
from sashizu_core.redaction import Redactor
from sashizu_core.runtime.asked import Asked, handoff_of
from sashizu_core.runtime.child_opening import OwnedStack
from sashizu_core.runtime.opened_hosts import Hosts
from sashizu_core.runtime.opening import Opened, run_context
from sashizu_core.runtime.places import Places
from sashizu_core.runtime.plan import AgentPlan, Sources
from sashizu_core.runtime.received import under_handoff
from sashizu_core.runtime.redacting import redacted_error, run_redactor
from sashizu_core.runtime.run_parts import RunParts
from sashizu_core.runtime.shared_budget import SharedBudget
from sashizu_core.runtime.spawning import Spawning, spawns
from sashizu_core.runtime.written_run import written_run
from sashizu_core.skills.shelf import load_shelf
from sashizu_core.turn.record import Recorder
from sashizu_core.turn.shares import SharePools
from sashizu_core.turn.windows import windows_of

__all__ = ["OpenedRun", "check_ledger", "guarded", "opened_run", "sources_of"]

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class OpenedRun:
    """A run whose parts are open; `info` is what others are told of it."""

    parts: RunParts
    control: ControlServer
    info: RunInfo


async def guarded(asked: Asked, run: Callable[[Asked, Redactor], Awaitable[T]]) -> T:
    """Run something below what was handed over.

    What it raises is one error made for people, and holds no secret.
    """
    redactor = run_redactor(asked.settings, asked.registry)
    try:
        async with under_handoff(asked) as placed:
            return await run(placed, redactor)
    except BaseExceptionGroup as group:
        raise redacted_error(_the_cause(group), redactor) from None
    except SashizuError as error:
        redacted_error(error, redactor)
        raise


def _the_cause(group: BaseExceptionGroup[BaseException]) -> BaseException:
    """What to raise for a group: the first error made for people, else the group itself."""
    raised = group.subgroup(SashizuError)
    found: BaseException = raised if raised is not None else group
    while isinstance(found, BaseExceptionGroup) and (
        raised is not None or len(found.exceptions) == 1
    ):
        found = found.exceptions[0]
    return found


def sources_of(asked: Asked) -> Sources:
    """What plans of a run are made of."""
    catalogue = load_catalogue(
        asked.registry.agents.values(),
        workspace=asked.settings_root or asked.root,
        extra=asked.agents,
    )
    run, policy = asked.settings.run, asked.settings.policy
    return Sources(
        catalogue,
        asked.registry,
        run.model,
        asked.model,
        policy,
        agent_deadline_s=run.agent_deadline_s,
    )


def check_ledger(asked: Asked) -> None:
    """Refuse a budget that nobody would count.

    Raises:
        MissingPackage: the run has limits, or passes them on, and no package provides a ledger.
    """
    if asked.registry.budget is None and asked.budget.counted:
        raise MissingPackage("a run with a budget", "sashizu-budget")
    if asked.registry.budget is None and asked.rebalance:
        raise MissingPackage("passing on what agents leave unspent", "sashizu-budget")


@asynccontextmanager
async def opened_run(
    asked: Asked,
    sources: Sources,
    plans: Sequence[AgentPlan],
    redactor: Redactor,
    *,
    late: bool = False,
) -> AsyncGenerator[OpenedRun]:
    """Open what a run and its first agents need; `late` says that more agents may come.

    Raises:
        UsageError: a model or a sandbox is unknown.
        MissingPackage: a durable record or a ledger is missing.
    """
    async with AsyncExitStack() as stack:
        opened = Opened(asked.registry, stack)
        handle = RunHandle(asked.run_id)
        handle.approvals = Approvals(asked.approver) if asked.approver is not None else None
        names = [plan.name for plan in plans]
        info = RunInfo(asked.run_id, names, str(asked.root), os.getpid(), time())
        control = ControlServer(handle, info, state_home(), redactor)
        handoff = handoff_of(asked)
        above = handoff.audit_parent if handoff is not None else None
        sinks = [*asked.sinks, *(await opened.sinks(above) if asked.audit else ())]
        context = _context(asked)
        if asked.past is not None and asked.past.recomputes:
            context = {**context, "replay_of": asked.past.run_id}
        recorder = Recorder([*sinks, control.feed], context, redactor)
        more = late or any(map(spawns, plans))
        owned = await stack.enter_async_context(OwnedStack()) if more else None
        shared = opened.workspace(asked.root, plans)
        places = Places(asked.registry, shared, asked.run_id, owned or stack)
        parts = await _parts(asked, sources, plans, opened, recorder, handle, places)
        if recorder.keeps_content:
            parts = replace(parts, document=_document(asked, sources, redactor))
        parts = replace(parts, pools=_pools(asked, parts, late=late))
        handle.root = parts.root
        if owned is not None:
            spawning = Spawning(asked, sources, Opened(asked.registry, owned))
            parts = replace(parts, spawning=spawning)
            spawning.begin(parts)
        hosted = asked.received is not None and asked.received.hosted
        # A process of an agent is part of the run that is known to others.
        async with control.serve() if not hosted else nullcontext():
            yield OpenedRun(parts, control, info)


def _document(asked: Asked, sources: Sources, redactor: Redactor) -> str:
    """What the run is asked, as it is kept with its record; of a replay what was asked then."""
    past = asked.past
    if past is not None and past.recomputes:
        return past.asked_text()
    return written_run(asked, sources.catalogue, redactor)


def _context(asked: Asked) -> Mapping[str, object]:
    """The columns that every event carries: those of the run above where there is one."""
    handoff = handoff_of(asked)
    if handoff is None:
        return run_context(asked.run_id, asked.root)
    return run_context(handoff.run_id, asked.root, handoff.traceparent)


def _nodes(budget: Budget | None, root: BudgetNode | None) -> tuple[BudgetNode, ...]:
    """The run's node of the ledger, and the one that runs of this process share."""
    above = budget.node if isinstance(budget, SharedBudget) else None
    return tuple(node for node in (root, above) if node is not None)


def _pools(asked: Asked, parts: RunParts, *, late: bool) -> SharePools | None:
    """What passes on unspent shares, where that is asked for.

    Raises:
        UsageError: the ledger cannot.
    """
    if not asked.rebalance or parts.root is None:
        return None
    if not isinstance(parts.budget, ShiftingBudget):
        raise UsageError("the ledger that is installed cannot pass on what agents leave unspent")
    return SharePools(parts.budget, parts.root, None if late else asked.jobs)


async def _book(asked: Asked) -> ReactionBook:
    return await anyio.to_thread.run_sync(load_book, asked.settings.hooks, asked.root)


async def _parts(
    asked: Asked,
    sources: Sources,
    plans: Sequence[AgentPlan],
    opened: Opened,
    recorder: Recorder,
    handle: RunHandle,
    places: Places,
) -> RunParts:
    models = await opened.models(plans)
    budget, root = await opened.ledger(asked.budget, plans, models) or (None, None)
    run = asked.settings.run
    hosts = Hosts(asked, sources.catalogue)
    await hosts.open(plans, opened)
    again = asked.past is not None and asked.past.recomputes
    book = None if again else await _book(asked)
    scope = [path for plan in plans for path in plan.task.scope]
    reacts = bool(book) or (again and bool(asked.registry.sandboxes))  # as it was then
    return RunParts(
        run_id=asked.run_id,
        recorder=recorder,
        places=places,
        handle=handle,
        models=models,
        tools=await opened.tools(plans),
        sources=await opened.tool_sources(asked.root),
        gates={},
        policies=await opened.policies(),
        approvals=handle.approvals,
        budget=budget,
        root=root,
        sandbox=await opened.sandbox(run.sandbox, plans, reacts=reacts),
        max_turns=run.max_turns,
        max_output_tokens=run.max_output_tokens,
        on_text=asked.on_text,
        on_line=asked.on_line,
        shelf=None if again else await anyio.to_thread.run_sync(load_shelf, asked.root, scope),
        book=book,
        hosts=hosts,
        warn_at=run.warn_at,
        admission=await opened.admission(asked.settings, models.values()),
        nodes=_nodes(budget, root),
        windows=windows_of(root),
        past=asked.past,
    )
