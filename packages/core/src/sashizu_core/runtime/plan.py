"""What a run will do, settled before a token is spent: agents, models, tools, grants, limits."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from sashizu_core.agents import AgentDefinition, Catalogue
from sashizu_core.agents.effective import allows_tool, effective_tools, served_tools
from sashizu_core.errors import MissingPackage, UsageError, nearest
from sashizu_core.grants import Grants, SpawnRequest, Subject
from sashizu_core.handoff import Handoff
from sashizu_core.limits import narrowed
from sashizu_core.operator_policy import OperatorPolicy
from sashizu_core.permissions import authorize, effective, narrow
from sashizu_core.plugins import Registry
from sashizu_core.prompt import ArtifactTarget, Brief
from sashizu_core.runtime.artifacts import RUNS_FOLDER, artifact_targets
from sashizu_core.runtime.reserved import reserved_rules
from sashizu_core.specs import ModelSpec, ToolSpec
from sashizu_core.turn.past import AgentPast
from sashizu_core.types import Limits, Task

__all__ = [
    "AgentPlan",
    "Sources",
    "find_model",
    "plan_agents",
    "plan_child",
    "scoped",
    "without_tools",
]


@dataclass(frozen=True, slots=True)
class AgentPlan:
    """One agent instance before it starts.

    `absent` are listed tools that it does not have, and why; `grants` is what the agent may do
    itself, `ceilings` what those above it allow, outermost first;
    `folder` is where artifacts go that may not be written where they are declared. `isolation` is
    how it is kept apart from the others, `none` if it is not. `served` are the tools that it lists
    of servers, which are asked for when it starts. `engine` says that a program of another vendor
    does the work, `host` who starts the process that it works in, empty for this one. `fallback` is
    the model that goes on in place of `model`; None for none. `past` is what the agent did before,
    and `document` what is on record of it, where it is made again or goes on.
    """

    task: Task
    definition: AgentDefinition
    model: str
    tools: Mapping[str, ToolSpec]
    absent: Mapping[str, str]
    grants: Grants
    limits: Limits
    deadline_s: float | None
    targets: tuple[ArtifactTarget, ...]
    folder: str
    isolation: str = "none"
    ceilings: tuple[Grants, ...] = ()
    served: tuple[str, ...] = ()
    engine: bool = False
    host: str = ""
    fallback: str | None = None
    past: AgentPast | None = None
    document: Mapping[str, Any] | None = None

    @property
    def models(self) -> tuple[str, ...]:
        """Every model that it may ask."""
        return (self.model,) if self.fallback is None else (self.model, self.fallback)

    @property
    def chain(self) -> tuple[Grants, ...]:
        """All that bounds the agent, outermost first."""
        return narrow(self.ceilings, self.grants)

    @property
    def name(self) -> str:
        return self.definition.name

    def brief(self, tokens_left: int | None) -> Brief:
        """What the agent is told."""
        definition = self.definition
        return Brief(
            agent=self.name,
            role=definition.goal,
            goal=self.task.goal or definition.goal,
            instructions=definition.instructions,
            criteria=definition.success_criteria,
            artifacts=self.targets,
            scope=self.task.scope,
            inputs=self.task.inputs,
            tokens_left=tokens_left,
        )


@dataclass(frozen=True, slots=True)
class Sources:
    """What plans are made of: `root` is the workspace, `model` one for every agent.

    `agent_deadline_s` is how long any agent may take.
    """

    catalogue: Catalogue
    registry: Registry
    default_model: str
    model: str | None = None
    policy: OperatorPolicy | None = None
    root: Path = Path()
    agent_deadline_s: float | None = None


def find_model(name: str, models: Mapping[str, ModelSpec]) -> ModelSpec:
    """The spec that offers a model: by its whole name, or by a family's prefix.

    Raises:
        UsageError: none does; names the nearest.
    """
    if name in models and not name.endswith("/*"):
        return models[name]
    prefix, slash, rest = name.partition("/")
    if slash and rest and f"{prefix}/*" in models:
        return models[f"{prefix}/*"]
    known = ", ".join(sorted(models)) or "none"
    raise UsageError(
        f"unknown model {name!r}; known: {known}{nearest(name, models)}"
        " (`sashizu models list` shows them; a missing family needs its package)"
    )


def plan_agents(
    tasks: Sequence[Task],
    *,
    catalogue: Catalogue,
    registry: Registry,
    root: Path,
    run_id: str,
    default_model: str,
    model: str | None,
    policy: OperatorPolicy | None = None,
    folders: dict[str, int] | None = None,
    received: Handoff | None = None,
    begun_above: bool = False,
    agent_deadline_s: float | None = None,
) -> list[AgentPlan]:
    """Resolve every task, or fail with the first thing that is unknown.

    `model` overrides what tasks' definitions say, `default_model` is for those that say nothing.
    `policy` is what the operator allows at most; None bounds nothing. `folders` counts the agents
    by name that have a folder in the run already, and is kept up to date. `received` is what
    another process handed over: its grants are above all agents. `begun_above` says that it is that
    process which starts them. `agent_deadline_s` is how long
    each may take.

    Raises:
        UsageError: no task, an unknown agent, model or tool, a scope that does not exist.
        MissingPackage: a budget is asked for and there is no ledger.
    """
    if not tasks:
        raise UsageError("no agent is named: give at least one, such as 'code-reviewer'")
    sources = Sources(catalogue, registry, default_model, model, policy, root, agent_deadline_s)
    plans = []
    above = received.ceiling if received is not None else ()
    place = received.folder if received is not None else RUNS_FOLDER
    for task, folder in zip(tasks, _folders(tasks, f"{place}/{run_id}", folders), strict=True):
        if not begun_above:
            _check_spawn(catalogue.entry(task.agent).name, above)
        _check_scope(task.scope, root)
        _, outside = _scope(task.scope, root)
        plans.append(_plan(scoped(task, root), sources, folder, outside=outside, above=above))
    _check_packages(plans, registry)
    listed = [(plan.served, plan.definition.servers) for plan in plans if plan.served]
    for source in registry.tool_sources.values() if listed else ():
        source.check(root, listed)
    return plans


def _check_spawn(name: str, above: Sequence[Grants]) -> None:
    """Refuse an agent that those who handed over a lease may not start themselves.

    Raises:
        UsageError: they may not.
    """
    if not above:
        return
    found = authorize([SpawnRequest(name)], Subject("", name, tuple(above)))
    if found.verdict != "allow":
        raise UsageError(
            f"the agent {name!r} may not be started beneath this lease: {found.reason}"
        )


def plan_child(
    task: Task, sources: Sources, folder: str, above: Sequence[Grants], *, default_model: str
) -> AgentPlan:
    """Resolve what one agent asks of another.

    `above` is the chain of the agent that asks, `default_model` its model. The task's scope holds
    names of the workspace that were judged. `folder` lies in that of the agent that asks.

    Raises:
        UsageError: the agent, its model or one of its tools is unknown.
        MissingPackage: a budget is asked for and there is no ledger.
    """
    plan = _plan(task, replace(sources, default_model=default_model), folder, above=above)
    _check_packages([plan], sources.registry)
    return plan


def without_tools(plan: AgentPlan, need: str, reason: str) -> AgentPlan:
    """The plan without the tools that a grant bounds, as if they were not granted."""
    gone = [name for name, spec in plan.tools.items() if need in spec.needs]
    if not gone:
        return plan
    tools = {name: spec for name, spec in plan.tools.items() if name not in gone}
    return replace(
        plan,
        tools=tools,
        absent={**plan.absent, **dict.fromkeys(gone, reason)},
        grants=replace(plan.grants, tools=frozenset((*tools, *plan.served))),
    )


def _plan(
    task: Task,
    sources: Sources,
    folder: str,
    *,
    outside: Sequence[str] = (),
    above: Sequence[Grants] = (),
) -> AgentPlan:
    definition, registry = sources.catalogue.get(task.agent), sources.registry
    chosen, engine = _model(task, definition, sources)
    grants = _granted(definition, outside, folder)
    if engine:
        grants = replace(grants, exec=(*grants.exec, _program(definition, chosen)))
    grants = replace(grants, rules=(*grants.rules, *reserved_rules(sources.root, outside)))
    written = folder if _has_folder(definition) else ""
    bounds = sources.policy.ceilings(grants, written) if sources.policy is not None else ()
    ceilings = (*above, *bounds)
    targets = artifact_targets(definition.artifacts, narrow(ceilings, grants), folder)
    whose = (
        "the agent that started it may not" if above else "the operator's policy does not allow it"
    )
    present, absent = _tools(definition, registry, grants, ceilings, whose)
    served = served_tools(definition, registry.tools) if registry.tool_sources else ()
    limits = narrowed(definition.limits(), task.limits)
    return AgentPlan(
        task=task,
        definition=definition,
        model=chosen,
        tools=present,
        absent=absent,
        grants=replace(grants, tools=frozenset((*present, *served))),
        served=served,
        limits=limits,
        deadline_s=_soonest(task.deadline_s, limits.seconds, sources.agent_deadline_s),
        targets=targets,
        folder=folder,
        ceilings=ceilings,
        engine=engine,
        fallback=_fallback(definition, chosen, sources),
    )


def _fallback(definition: AgentDefinition, chosen: str, sources: Sources) -> str | None:
    """The model to go on with: it belongs to the definition's own, not to another asked for.

    Raises:
        UsageError: nobody offers it, or it is an engine.
    """
    own = definition.model or sources.default_model
    if definition.fallback is None or chosen != own:
        return None
    if find_model(definition.fallback, sources.registry.models).engine:
        raise UsageError(
            f"the fallback {definition.fallback!r} of the agent {definition.name!r} is an engine: "
            "a program of its own cannot go on with a conversation; name a model"
        )
    return definition.fallback


def _soonest(*seconds: float | None) -> float | None:
    return min((each for each in seconds if each is not None), default=None)


def _model(task: Task, definition: AgentDefinition, sources: Sources) -> tuple[str, bool]:
    """The full name of the model, and whether it is an engine.

    Raises:
        UsageError: nobody offers it, or the definition does not say what it needs.
    """
    models = sources.registry.models
    if definition.engine is None:
        chosen = task.model or sources.model or definition.model or sources.default_model
        return chosen, find_model(chosen, models).engine
    if f"{definition.engine}/*" not in models:
        raise UsageError(
            f"the agent {definition.name!r} has an unknown engine {definition.engine!r}: "
            "`codex`, `claude` and `command` need the package 'sashizu-gateway'"
        )
    if definition.output is not None:
        raise UsageError(
            f"the agent {definition.name!r} has an engine and an 'output': what a program of its "
            "own answers cannot be held to a schema"
        )
    own = task.model or definition.model or "default"
    return f"{definition.engine}/{own.removeprefix(f'{definition.engine}/')}", True


def _program(definition: AgentDefinition, model: str) -> str:
    """The program that an engine starts, as a grant: its own, or that of the definition."""
    return definition.command[0] if definition.command else model.partition("/")[0]


def _tools(
    definition: AgentDefinition,
    registry: Registry,
    grants: Grants,
    ceilings: Sequence[Grants],
    reason: str,
) -> tuple[dict[str, ToolSpec], dict[str, str]]:
    """The tools that exist for an agent under its ceilings, and why the others do not.

    `reason` is why the ceilings take some away.
    """
    asked = bool(registry.tool_sources)
    own, absent = effective_tools(definition, registry.tools, grants, served=asked)
    under = effective(narrow(ceilings, replace(grants, tools=None)))
    present = {name: spec for name, spec in own.items() if allows_tool(spec, under)}
    bounded = dict.fromkeys(own.keys() - present.keys(), reason)
    return present, absent | bounded


def _check_packages(plans: Sequence[AgentPlan], registry: Registry) -> None:
    """Refuse what a definition asks for and no installed package can do."""
    for plan in plans:
        if plan.limits.counted and registry.budget is None:
            raise MissingPackage(f"the budget of the agent {plan.name!r}", "sashizu-budget")


def _folders(tasks: Sequence[Task], place: str, before: dict[str, int] | None) -> list[str]:
    """One folder per agent instance; an agent that is asked twice gets a second one."""
    seen = before if before is not None else {}
    folders = []
    for task in tasks:
        name = task.agent.replace(":", "-").replace("/", "-")
        seen[name] = seen.get(name, 0) + 1
        suffix = f"-{seen[name]}" if seen[name] > 1 else ""
        folders.append(f"{place}/{name}{suffix}")
    return folders


def scoped(task: Task, root: Path) -> Task:
    """The task with its scope as plans name it: relative to the workspace, or absolute."""
    return replace(task, scope=_scope(task.scope, root)[0])


def _check_scope(paths: Sequence[str], root: Path) -> None:
    """Refuse to look at what is not there.

    Raises:
        UsageError: a path does not exist.
    """
    for text in paths:
        path = Path(os.path.abspath(root / text))  # noqa: PTH100 - links are resolved when opened
        if not path.exists():
            raise UsageError(f"the scope {text!r} does not exist (looked for {path})")


def _scope(paths: Sequence[str], root: Path) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """The scope relative to the workspace, and the part of it that lies outside, absolute."""
    scope, outside = [], []
    for text in paths:
        path = Path(os.path.abspath(root / text))  # noqa: PTH100 - links are resolved when opened
        if path == root or root in path.parents:
            scope.append(path.relative_to(root).as_posix())
        else:
            scope.append(path.as_posix())
            outside.append(path.as_posix())
    return tuple(scope), tuple(outside)


def _granted(definition: AgentDefinition, outside: Sequence[str], folder: str) -> Grants:
    """The definition's grants, what the operator's scope adds to reading, and the own folder."""
    grants = definition.grants()
    if outside and grants.fs_read:
        grants = replace(grants, fs_read=(*grants.fs_read, *outside))
    if _has_folder(definition):
        grants = replace(grants, fs_write=(*grants.fs_write, folder))
    return grants


def _has_folder(definition: AgentDefinition) -> bool:
    """Whether the run gives an agent a folder: for its artifacts, or those of agents it starts."""
    return bool(definition.artifacts or definition.spawn.agents)
