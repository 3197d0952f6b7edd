"""Where each agent of a run works: in the workspace that all share, or in a folder of its own."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import AsyncExitStack, ExitStack, suppress
from dataclasses import dataclass, replace
from pathlib import Path

import anyio
import anyio.to_thread

from sashizu_core.errors import MissingPackage, SashizuError, ToolError, UsageError, nearest
from sashizu_core.isolation import IsolatedFolder, Isolation, LastingIsolation
from sashizu_core.plugins import Registry
from sashizu_core.runtime.child_opening import OwnedStack
from sashizu_core.runtime.plan import AgentPlan
from sashizu_core.turn.claims import Claims
from sashizu_core.turn.past import AgentPast
from sashizu_core.types import Artifact, Changes, MergePlan
from sashizu_core.workspace import Workspace

__all__ = ["Place", "Places", "with_isolation"]

WORKTREE = "worktree"


async def with_isolation(
    plans: Sequence[AgentPlan], registry: Registry, root: Path, *, asked: str, jobs: int
) -> list[AgentPlan]:
    """Decide for each agent how it is kept apart.

    `asked` is what the operator says for all, before what definitions say; `auto` leaves it to
    them. Where nobody says anything, an agent that may write gets a worktree if others work beside
    it and the workspace can have worktrees. One that has a process of its own gets one, too, if it
    may write.

    Raises:
        UsageError: an isolation is asked for that cannot be had.
        MissingPackage: nobody offers what is asked for.
    """
    beside = min(jobs, len(plans)) > 1
    settled = []
    reasons: dict[str, str] = {}
    for each in plans:
        if each.past is not None:  # settled, as it was then
            settled.append(each)
            continue
        plan, said = _hosted(each, asked, registry)
        name = said or (WORKTREE if beside and plan.definition.tools.fs.write else "none")
        spec = registry.isolations.get(name)
        if name != "none" and spec is not None and name not in reasons:
            reasons[name] = await anyio.to_thread.run_sync(spec.fits, root)
        if name != "none" and said and spec is None:
            raise _unknown(name, plan, registry)
        if said and reasons.get(name):
            raise UsageError(f"the agent {plan.name!r} cannot have a {name}: {reasons[name]}")
        fits = spec is not None and not reasons.get(name)
        settled.append(replace(plan, isolation=name if fits else "none"))
    return settled


def _hosted(plan: AgentPlan, asked: str, registry: Registry) -> tuple[AgentPlan, str | None]:
    """Who hosts an agent, and the isolation that is asked for it.

    Nobody in this process sees what one in another changes: where it may change files, it has a
    folder of its own.
    """
    said = plan.definition.isolation if asked == "auto" else asked
    if said is None or said not in registry.hosts:
        return plan, said
    return replace(plan, host=said), WORKTREE if plan.definition.tools.fs.write else "none"


def _unknown(name: str, plan: AgentPlan, registry: Registry) -> SashizuError:
    if name == WORKTREE:
        return MissingPackage(f"the {name} of the agent {plan.name!r}", "sashizu-sandbox")
    known = ("auto", "none", *registry.isolations, *registry.hosts)
    return UsageError(
        f"unknown isolation {name!r} for the agent {plan.name!r}{nearest(name, known)}; "
        f"known: {', '.join(known)}"
    )


@dataclass(frozen=True, slots=True)
class Place:
    """Where one agent works. `claims` is None where it cannot meet another; `folder` is its own.

    A `borrowed` place is that of the agent that waits for this one, and keeps what was changed.
    `begun` is what its files are where it goes on beside a recorded agent: those that the other one
    `began` or `ended` with, or those of `today`; empty for all others.
    """

    workspace: Workspace
    claims: Claims | None
    folder: IsolatedFolder | None = None
    borrowed: bool = False
    begun: str = ""

    async def conclude(self) -> Changes | None:
        """Keep what was changed in a folder of its own."""
        if self.folder is None or self.borrowed:
            return None
        return await self.folder.conclude()


async def _folder(
    isolation: Isolation, name: str, agent_id: str, past: AgentPast | None
) -> tuple[IsolatedFolder, str]:
    """The folder of an agent, and what it begins with; see `Place`.

    Raises:
        SashizuError: it cannot be had.
    """
    if past is None:
        return await isolation.separate(name, agent_id), ""
    lasting = isolation if isinstance(isolation, LastingIsolation) else None
    if past.forked:
        return await _beside(isolation, lasting, name, agent_id, past)
    if lasting is None:
        raise SashizuError(f"the folder of {name!r} was its own, and cannot be taken up again")
    return await lasting.take_up(name, agent_id, past.agent_id), ""


async def _beside(
    isolation: Isolation,
    lasting: LastingIsolation | None,
    name: str,
    agent_id: str,
    past: AgentPast,
) -> tuple[IsolatedFolder, str]:
    """A folder for who goes on beside a recorded agent; with today's files where all else is gone.

    Raises:
        SashizuError: none can be made.
    """
    if lasting is not None:
        ended = past.unchanged
        with suppress(SashizuError):
            made = await lasting.beside(name, agent_id, past.agent_id, as_it_ended=ended)
            return made, "ended" if ended else "began"
    return await isolation.separate(name, agent_id), "today"


class Places:
    """Makes the places of a run. What it opens is closed with the stack."""

    def __init__(
        self,
        registry: Registry,
        shared: Workspace,
        run_id: str,
        stack: AsyncExitStack | OwnedStack,
    ) -> None:
        self._registry = registry
        self._shared = shared
        self._run_id = run_id
        self._stack = stack
        self._claims = Claims()
        self._opened: dict[str, Isolation] = {}
        self._opening = anyio.Lock()
        self._lent: dict[Path, Claims] = {}

    async def of(self, plan: AgentPlan, agent_id: str) -> Place:
        """The place of one agent instance.

        Raises:
            MissingPackage: nobody offers the isolation that it needs.
            SashizuError: its folder cannot be made.
        """
        if plan.past is not None and plan.past.strict:
            return Place(self._shared, None)  # it changes nothing
        if plan.isolation == "none":
            return Place(self._shared, self._claims)
        isolation = await self._isolation(plan)
        folder, begun = await _folder(isolation, plan.name, agent_id, plan.past)
        return Place(self._open(folder.root), None, folder, begun=begun)

    def beneath(self, place: Place) -> Place:
        """The same place for an agent that the one who has it waits for."""
        claims = place.claims
        if claims is None:  # alone so far; those that it starts can meet each other
            claims = self._lent.setdefault(place.workspace.root, Claims())
        return replace(place, claims=claims, borrowed=True)

    async def _isolation(self, plan: AgentPlan) -> Isolation:
        name = plan.isolation
        async with self._opening:
            if name not in self._opened:
                spec = self._registry.isolations.get(name)
                if spec is None:
                    wanted = f"the {name} of the agent {plan.name!r}"
                    raise MissingPackage(wanted, "sashizu-sandbox")
                opened = spec.open(self._shared.root, self._run_id)
                self._opened[name] = await self._stack.enter_async_context(opened)
        return self._opened[name]

    def _open(self, root: Path) -> Workspace:
        stack = ExitStack()
        workspace = stack.enter_context(Workspace.open(root, extra=self._shared.roots[1:]))
        self._stack.callback(stack.close)
        return workspace

    async def merge_plan(self) -> MergePlan | None:
        """What merging would do with what was kept; None where nothing was."""
        for isolation in self._opened.values():
            if (plan := await isolation.merge_plan()) is not None:
                return plan
        return None

    async def bring_home(self, place: Place, artifacts: tuple[Artifact, ...], folder: str) -> None:
        """Copy an agent's own artifacts from its folder into the workspace that all share.

        Those under `folder`, the agent's place for artifacts, which git ignores and no merge
        brings; others are part of its changes.

        Raises:
            ToolError: one cannot be written.
        """
        if place.folder is None:
            return
        own = [artifact.path for artifact in artifacts if artifact.path.startswith(f"{folder}/")]
        await anyio.to_thread.run_sync(self._copy, place.workspace, own)

    def _copy(self, source: Workspace, paths: list[str]) -> None:
        for path in paths:
            data = source.read_bytes(path)
            if self._shared.exists(path) and self._shared.read_bytes(path) != data:
                raise ToolError(f"{path!r} exists already and is left as it is")
            self._shared.write_bytes(path, data)
