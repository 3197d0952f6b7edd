"""What an agent instance works with: the context of its tools, the tools, and what reacts to it."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from pathlib import Path

import anyio
import anyio.to_thread

from sashizu_core.permissions import readable
from sashizu_core.protocols import Spawner, Tool, ToolContext
from sashizu_core.reactions.book import ReactionBook
from sashizu_core.runtime.asking_again import may_run_again
from sashizu_core.runtime.confining import Confining
from sashizu_core.runtime.held import starts_programs
from sashizu_core.runtime.instance_parts import InstanceParts
from sashizu_core.runtime.restoring import restored
from sashizu_core.runtime.serving import tools_of_servers
from sashizu_core.runtime.showing import shown_lines
from sashizu_core.runtime.teaching import Lessons
from sashizu_core.sandboxing import Confinement
from sashizu_core.turn.past_reactions import had_hooks
from sashizu_core.turn.reacting import Reacting, Reactor

__all__ = ["confining_of", "context_of", "reactor_of", "tools_of"]


def confining_of(at: InstanceParts) -> Confining | None:
    """What makes the confinement of its programs; None for an agent that starts none."""
    if at.run.sandbox is None or not starts_programs(at.plan):
        return None
    return _confining(at)


def _confining(at: InstanceParts, further: Sequence[Path] = ()) -> Confining:
    folder = at.place.folder
    stores = folder.readable if folder is not None else ()
    return Confining(at.place.workspace, at.subject, stores, further)


async def context_of(
    at: InstanceParts, lessons: Lessons, confining: Confining | None, spawner: Spawner | None
) -> ToolContext:
    """What the tools of an agent know of it."""
    plan, parts = at.plan, at.run
    return ToolContext(
        agent_id=at.agent_id,
        agent_name=plan.name,
        run_id=parts.run_id,
        workspace=at.place.workspace,
        scope=plan.task.scope,
        readable=readable(at.subject),
        sandbox=parts.sandbox,
        confinement=await _made(confining),
        spawner=spawner,
        skills=lessons.skills,
        progress=shown_lines(parts.on_line, at.agent_id, at.steps.recorder.redactor),
    )


async def _made(confining: Confining | None) -> Confinement | None:
    """A first confinement; looks at every folder."""
    return await anyio.to_thread.run_sync(confining) if confining is not None else None


async def tools_of(at: InstanceParts, context: ToolContext, lessons: Lessons) -> dict[str, Tool]:
    """The tools of an agent, those of servers among them, by their names.

    What an earlier run of it changed in its folder is there again afterwards.
    """
    plan, parts, subject = at.plan, at.run, at.subject
    tools = {name: parts.tools[name] for name in plan.tools if lessons.needs(name)}
    tools |= await tools_of_servers(
        plan,
        parts.sources,
        subject,
        context,
        at.steps,
        policies=parts.policies,
        approvals=parts.approvals,
    )
    if parts.past is not None:
        place, policies = at.place, parts.policies
        await restored(parts.past, at.steps, place, tools, subject, context, policies)
    return tools


def reactor_of(at: InstanceParts, context: ToolContext) -> Reactor | None:
    """What reacts to an agent; None where nothing does."""
    parts = at.run
    if not parts.book and not had_hooks(at.past):
        return None

    book = parts.book or ReactionBook(at.place.workspace.root)
    confining = _confining(at, book.readable)
    about = {
        "session_id": at.conversation_id or at.agent_id,
        "transcript_path": None,
        "permission_mode": "default",
        "agent_id": at.agent_id,
        "model": at.plan.model,
    }
    child = at.depth > 0
    reacting = Reacting(
        book,
        parts.sandbox,
        confining,
        at.place.workspace.root,
        child,
        about,
        context.progress,
        partial(may_run_again, parts.approvals, at.subject),
    )
    return Reactor(reacting, at.steps)
