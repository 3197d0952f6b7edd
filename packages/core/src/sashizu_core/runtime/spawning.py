"""Agents that start agents: planned, bounded and run beneath the one that asks."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping, Sequence
from contextlib import AbstractAsyncContextManager, AbstractContextManager, nullcontext
from dataclasses import replace
from functools import partial

import anyio
import anyio.to_thread

from sashizu_core.agents import Catalogue
from sashizu_core.control import RunHandle
from sashizu_core.errors import RecordError, SashizuError, SpawnRefused, ToolError
from sashizu_core.grants import SpawnRequest, Subject
from sashizu_core.handoff import Received
from sashizu_core.permissions import authorize
from sashizu_core.protocols import BudgetNode
from sashizu_core.runtime.asked import Asked
from sashizu_core.runtime.bracket import sandbox_events
from sashizu_core.runtime.child_limits import SpawnBounds, Started
from sashizu_core.runtime.child_slots import WorkSlot
from sashizu_core.runtime.held import starts_programs
from sashizu_core.runtime.hosted import HostedInstance
from sashizu_core.runtime.instance import AgentInstance
from sashizu_core.runtime.instances import Instance, agent_id_of, instance_of
from sashizu_core.runtime.opening import Opened, require_prices
from sashizu_core.runtime.places import Place, with_isolation
from sashizu_core.runtime.plan import AgentPlan, Sources, plan_child, without_tools
from sashizu_core.runtime.run_parts import AgentProgress, RunParts
from sashizu_core.trust import TrustStore
from sashizu_core.types import AgentReport, Limits, Task

__all__ = ["ChildSpawner", "Spawning", "spawning_plans", "spawns"]

TOO_DEEP = "agents may go no deeper"


def spawns(plan: AgentPlan) -> bool:
    """Whether an agent has a tool that starts agents."""
    return any("spawn" in spec.needs for spec in plan.tools.values())


def spawning_plans(plans: Sequence[AgentPlan], asked: Asked) -> list[AgentPlan]:
    """The plans of a run's own agents, without tools that no depth is left for."""
    bounds = _run_bounds(asked)
    return [_bounded(plan, _bounds_of(plan, bounds, below=False)) for plan in plans]


def _run_bounds(asked: Asked) -> SpawnBounds:
    allowed = asked.settings.spawn
    outer = SpawnBounds(
        "the settings table [spawn]",
        depth=allowed.depth,
        agents=allowed.agents,
        alive=allowed.alive,
        rate=allowed.rate,
    )
    if asked.received is not None:
        outer = _handed_over(asked.received, outer)
    return _limited("the run", asked.budget, outer, below=False)


def _handed_over(received: Received, above: SpawnBounds) -> SpawnBounds:
    """What another process lent; the agents here are the first level below its own."""
    limits = received.node.state().limits
    return SpawnBounds(
        "who started this process",
        depth=max(0, received.handoff.depth_left - (not received.hosted)),
        alive=limits.agents_alive,
        rate=limits.spawn_rate,
        above=above,
    )


def _bounds_of(plan: AgentPlan, above: SpawnBounds, *, below: bool) -> SpawnBounds:
    return _limited(f"the agent {plan.name!r}", plan.limits, above, below=below)


def _limited(name: str, limits: Limits, above: SpawnBounds, *, below: bool) -> SpawnBounds:
    return SpawnBounds(
        name,
        depth=limits.depth,
        alive=limits.agents_alive,
        rate=limits.spawn_rate,
        above=above,
        below=below,
    )


def _bounded(plan: AgentPlan, bounds: SpawnBounds) -> AgentPlan:
    """The plan as it is at this depth: what starts agents does not exist at the deepest."""
    if bounds.depth_left is None or bounds.depth_left > 0:
        return plan
    return without_tools(plan, "spawn", TOO_DEEP)


class Spawning:
    """What the agents of one run share to start agents.

    At most `jobs` agents work at once, whoever started them; one that waits for others does not
    count. `begin` has to be called before anything else.
    """

    def __init__(self, asked: Asked, sources: Sources, opened: Opened) -> None:
        self.sources = sources
        self._asked = asked
        self._opened = opened
        self._parts: RunParts | None = None
        self._bounds = _run_bounds(asked)
        self._limiter = anyio.CapacityLimiter(asked.jobs)
        self._opening = anyio.Lock()
        self._spawners: dict[str, ChildSpawner] = {}
        self._instances: dict[str, Instance] = {}
        self._ended: list[AgentProgress] = []

    def begin(self, parts: RunParts) -> None:
        """Say what all agents of the run share."""
        self._parts = parts

    @property
    def parts(self) -> RunParts:
        assert self._parts is not None
        return self._parts

    @property
    def catalogue(self) -> Catalogue:
        return self.sources.catalogue

    def progress(self) -> list[AgentProgress]:
        """How far the agents are that agents started; those that have ended come first."""
        return [*self._ended, *(each.progress() for each in self._instances.values())]

    def spawner_of(self, instance: AgentInstance) -> ChildSpawner | None:
        """What an agent at work starts agents with; None where it has no tool that does."""
        return self._spawners.get(instance.agent_id) if spawns(instance.plan) else None

    def expecting(self, instance: AgentInstance) -> AbstractContextManager[None]:
        """While an agent beneath another is on its way or at work, it may leave something."""
        pools, node = self.parts.pools, instance.node
        return nullcontext() if pools is None or node is None else pools.expecting(node)

    def idle(self, instance: AgentInstance) -> AbstractAsyncContextManager[None]:
        """The block in which an agent at work only waits: its place is somebody else's."""
        return self._spawners[instance.agent_id].lent()

    async def work(self, instance: Instance) -> AgentReport:
        """Run one of the run's own agents, as soon as there is a place for it."""
        bounds = _bounds_of(instance.plan, self._bounds, below=False)
        if isinstance(instance, HostedInstance):
            instance.bounds = bounds
            async with WorkSlot(self._limiter):
                return await instance.run()
        async with WorkSlot(self._limiter) as slot:
            return await self._work(ChildSpawner(self, instance, bounds, slot))

    async def run_child(
        self, parent: ChildSpawner, task: Task, started: Started, step: int
    ) -> AgentReport:
        """Plan and run an agent beneath another, cancelled with it."""
        plan, bounds = await self._plan(parent, task, step)
        async with WorkSlot(self._limiter) as slot:
            instance = await self._instance(plan, parent, step)
            among = len(parent.coming) + 1  # those asked for at once share evenly with who asked
            parent.coming.discard(started)
            if isinstance(instance, HostedInstance):
                instance.bounds, instance.among = bounds, among
            self._instances[instance.agent_id] = instance
            try:
                call = instance.run
                if isinstance(instance, AgentInstance):
                    call = partial(self._work, ChildSpawner(self, instance, bounds, slot))
                handle = self.parts.handle
                return await _cancelled_with(handle, instance.agent_id, call, parent.reports)
            finally:
                del self._instances[instance.agent_id]
                self._ended.append(instance.progress())
                instance.left_place()

    async def _work(self, spawner: ChildSpawner) -> AgentReport:
        agent_id = spawner.instance.agent_id
        self._spawners[agent_id] = spawner
        try:
            return await spawner.instance.run()
        finally:
            del self._spawners[agent_id]

    async def _plan(
        self, parent: ChildSpawner, task: Task, step: int
    ) -> tuple[AgentPlan, SpawnBounds]:
        asked, above = self._asked, parent.instance.plan
        if asked.past is not None and above.past is not None:
            known = asked.past.plan(
                task, asked.registry, root=asked.root, above=above.past, at_step=step
            )
            if known is not None:
                await self.open(known, parent.instance.node)
                return known, _bounds_of(known, parent.bounds, below=True)
        entry = self.catalogue.entry(task.agent)
        await anyio.to_thread.run_sync(
            TrustStore().require, asked.settings_root or asked.root, [entry]
        )
        plan = plan_child(
            task,
            self.sources,
            parent.next_folder(entry.name),
            above.chain,
            default_model=above.model,
        )
        bounds = _bounds_of(plan, parent.bounds, below=True)
        (plan,) = await with_isolation(
            [_bounded(plan, bounds)],
            asked.registry,
            asked.root,
            asked=asked.isolation,
            jobs=1,
        )
        await self.open(plan, parent.instance.node)
        return plan, bounds

    async def open(self, plan: AgentPlan, node: BudgetNode | None) -> None:
        """Open what no agent of the run needed so far; the agent's budget will be beneath `node`.

        Raises:
            UsageError: a limit in USD meets a model without a price, or no sandbox works.
        """
        async with self._opening:
            parts, opened = self.parts, self._opened
            parts.models.update(await opened.models([plan], parts.models))
            new = {name: spec for name, spec in plan.tools.items() if name not in parts.tools}
            parts.tools.update(await opened.tools([replace(plan, tools=new)]))
            if parts.hosts is not None:
                await parts.hosts.open([plan], opened)
            if parts.sandbox is None and starts_programs(plan):
                wanted = self._asked.settings.run.sandbox
                self._parts = replace(parts, sandbox=await opened.sandbox(wanted, [plan]))
                await parts.recorder.record(sandbox_events(self.parts))
        if parts.budget is not None and node is not None:
            require_prices(parts.budget, plan, parts.models, limited=node.limited("nusd"))

    async def _instance(self, plan: AgentPlan, parent: ChildSpawner, step: int) -> Instance:
        above, agent_id = parent.instance, agent_id_of(plan)
        place: Place
        if plan.isolation == "none" and plan.host:
            place = Place(above.place.workspace, None)
        elif plan.isolation == "none":
            plan = replace(plan, isolation=above.plan.isolation)
            place = self.parts.places.beneath(above.place)
        else:
            place = await self.parts.places.of(plan, agent_id)
        return instance_of(
            plan, self.parts, agent_id, place, above=replace(above.above_children, step=step)
        )


async def _cancelled_with(
    handle: RunHandle,
    agent_id: str,
    call: Callable[[], Awaitable[AgentReport]],
    reports: list[AgentReport],
) -> AgentReport:
    """Run an agent so that cancelling the caller ends it in its own way, with its last words.

    Its report is kept in `reports` also where nobody waits for it any more.
    """
    failed: RecordError | None = None
    report: AgentReport | None = None
    async with anyio.create_task_group() as group:

        async def end_with_the_caller() -> None:
            try:
                await anyio.sleep_forever()
            finally:
                handle.cancel_agent(agent_id)

        group.start_soon(end_with_the_caller)
        try:
            with anyio.CancelScope(shield=True):
                report = await call()
                reports.append(report)
        except RecordError as error:
            failed = error  # raised below, out of the group
        group.cancel_scope.cancel()
    if failed is not None:
        raise failed
    assert report is not None
    return report


class ChildSpawner:
    """Starts agents beneath one agent instance; see `Spawner`."""

    def __init__(
        self, spawning: Spawning, instance: AgentInstance, bounds: SpawnBounds, slot: WorkSlot
    ) -> None:
        self.instance = instance
        self.bounds = bounds
        self.reports: list[AgentReport] = []
        self.coming: set[Started] = set()
        self._spawning = spawning
        self._slot = slot
        self._count = 0

    def lent(self) -> AbstractAsyncContextManager[None]:
        """Let another agent have the place while this one waits."""
        return self._slot.lent()

    def offered(self) -> Mapping[str, str]:
        """The agents that may be started without asking anybody, by name."""
        plan = self.instance.plan
        subject = Subject(self.instance.agent_id, plan.name, plan.chain)
        return {
            entry.name: entry.definition.goal
            for entry in self._spawning.catalogue
            if authorize([SpawnRequest(entry.name)], subject).verdict != "deny"
        }

    def name_of(self, agent: str) -> str:
        """See `Spawner.name_of`.

        Raises:
            ToolError: there is no such agent; names those that may be started.
        """
        try:
            return self._spawning.catalogue.entry(agent).name
        except SashizuError as error:
            known = ", ".join(self.offered()) or "none"
            raise ToolError(f"there is no agent {agent!r}; you may start: {known}") from error

    def next_folder(self, name: str) -> str:
        """Where the next agent's artifacts go: inside this agent's own folder."""
        self._count += 1
        plain = name.replace(":", "-").replace("/", "-")
        return f"{self.instance.plan.folder}/{plain}-{self._count}"

    async def spawn(self, task: Task, *, step: int = -1) -> AgentReport:
        """See `Spawner.spawn`."""
        self._have_agents_left()
        started = self.bounds.start()
        self.coming.add(started)
        try:
            async with self._slot.lent():
                task = self._within_deadline(task)
                with self._spawning.expecting(self.instance):
                    report = await self._spawning.run_child(self, task, started, step)
        finally:
            self.coming.discard(started)
            started.ended()
        return report

    def _have_agents_left(self) -> None:
        """Look whether the budget has an agent left, before anything is made for one."""
        node = self.instance.node
        if node is not None and node.left("agents") == 0:
            raise SpawnRefused(
                "no agent is started: the budget has no agent left; go on without more",
                limit="agents",
                allowed=0,
            )

    def _within_deadline(self, task: Task) -> Task:
        left = self.instance.deadline - anyio.current_time()
        if left == float("inf"):
            return task
        return replace(task, deadline_s=max(left, 0.001))
