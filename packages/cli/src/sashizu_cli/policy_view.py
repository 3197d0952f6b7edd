"""What an agent of a planned run may do, and what keeps it to that."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from contextlib import AsyncExitStack
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from sashizu_core.granted_urls import url_pattern
from sashizu_core.grants import (
    DeviceRequest,
    ExecRequest,
    Grants,
    NetRequest,
    PathRequest,
    PermissionRequest,
)
from sashizu_core.permissions import effective, grants_sha256
from sashizu_core.runtime.held import open_sandbox
from sashizu_core.runtime.plan import AgentPlan, plan_agents
from sashizu_core.sandboxing import SandboxInfo
from sashizu_core.types import Task

from sashizu_cli.catalogue import catalogue_of
from sashizu_cli.grant_places import GrantPlaces

if TYPE_CHECKING:
    from sashizu_cli.session import Session

__all__ = [
    "NO_RUN",
    "Backend",
    "Permission",
    "backend_of",
    "permission_data",
    "plan_of",
    "planned_permission",
]

NO_RUN = "RUN"
"""Stands for the id of the run in the folder that a run would let its agent write."""


@dataclass(frozen=True, slots=True)
class Backend:
    """What keeps an agent to a decision. `advisory`: nothing does once the call is allowed."""

    name: str
    kind: Literal["enforced", "advisory"]
    reason: str = ""


@dataclass(frozen=True, slots=True)
class Permission:
    """The effective permission of one agent.

    `granted` holds a kind of grant, what is granted, and where each level says so. `rules` hold a
    rule, its reason and its source.
    """

    agent: str
    policy_sha256: str
    tools: dict[str, str]
    absent: dict[str, str]
    granted: tuple[tuple[str, str, tuple[str, ...]], ...]
    rules: tuple[tuple[str, str, str], ...]
    backends: dict[str, Backend]


def plan_of(session: Session, agent: str) -> tuple[AgentPlan, GrantPlaces]:
    """What a run of one agent would do here, and where its grants are written."""
    catalogue = catalogue_of(session)
    (plan,) = plan_agents(
        [Task(agent)],
        catalogue=catalogue,
        registry=session.registry,
        root=Path.cwd(),
        run_id=NO_RUN,
        default_model=session.settings.run.model,
        model=None,
        policy=session.settings.policy,
    )
    return plan, GrantPlaces(catalogue.entry(agent))


# --- what holds programs --------------------------------------------------------------------------


def held_by(info: SandboxInfo) -> Backend:
    if info.kind == "enforced":
        return Backend(info.name, "enforced", info.reason)
    return Backend(info.name, "advisory", info.reason or "it does not hold everything")


def backend_of(request: PermissionRequest, runs_programs: bool, info: SandboxInfo) -> Backend:
    match request:
        case ExecRequest() | NetRequest():
            return held_by(info)
        case PathRequest():
            return held_by(info) if runs_programs else Backend("workspace", "enforced")
        case DeviceRequest():
            return Backend("none", "advisory", "no backend keeps a program from a device")
        case _:
            return Backend("runtime", "enforced")


# --- the permission -------------------------------------------------------------------------------


async def planned_permission(session: Session, agent: str) -> Permission:
    """The effective permission of an agent in a run from here.

    Raises:
        UsageError: there is no such agent, or its run could not be planned.
    """
    plan, places = plan_of(session, agent)
    found = effective(plan.chain)
    async with AsyncExitStack() as stack:
        sandbox = await open_sandbox(
            session.settings.run.sandbox, session.registry.sandboxes, stack
        )
        info = sandbox.info
    return Permission(
        agent=plan.name,
        policy_sha256=grants_sha256(plan.chain),
        tools={name: spec.summary for name, spec in plan.tools.items()},
        absent=dict(plan.absent),
        granted=tuple(
            (kind, value, _sources(kind, value, plan, places)) for kind, value in _listed(found)
        ),
        rules=tuple(
            (f"{rule.verdict} {rule.touches}: {rule.pattern}", rule.reason, rule.source)
            for rule in found.rules
        ),
        backends={
            "files": Backend("workspace", "enforced"),
            "programs": held_by(info),
            "connections": held_by(info),
        },
    )


def _listed(grants: Grants) -> Iterator[tuple[str, str]]:
    """Every grant beside tools: its kind and what is granted."""
    kinds: Sequence[tuple[str, Iterable[str]]] = (
        ("fs.read", grants.fs_read),
        ("fs.write", grants.fs_write),
        ("net", grants.net),
        ("shell.exec", grants.exec),
        ("spawn", sorted(grants.spawn)),
        ("devices", sorted(grants.devices)),
    )
    for kind, values in kinds:
        for value in values:
            yield kind, value


def _sources(kind: str, value: str, plan: AgentPlan, places: GrantPlaces) -> tuple[str, ...]:
    """Where each level says that something is granted, the agent's own first."""
    sources = []
    for level in plan.chain[::-1]:
        for known, granted in _listed(level):
            if known == kind and _same(kind, granted, value):
                own = level is plan.chain[-1]
                sources.append(places.of(kind, granted) if own else level.source)
                break
    return tuple(dict.fromkeys(sources))


def _same(kind: str, granted: str, value: str) -> bool:
    if kind == "net":
        return granted == value or str(url_pattern(granted)) == value
    return granted == value or granted.removeprefix("./").rstrip("/") == value


def permission_data(found: Permission) -> dict[str, Any]:
    """What `--json` prints."""
    return {
        **asdict(found),
        "granted": [
            {"kind": kind, "value": value, "sources": sources}
            for kind, value, sources in found.granted
        ],
        "rules": [
            {"rule": rule, "reason": reason, "source": source}
            for rule, reason, source in found.rules
        ],
    }
