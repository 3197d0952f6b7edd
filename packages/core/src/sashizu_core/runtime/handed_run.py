"""A run as it is handed over to an executor: JSON that any worker can go by."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any

from sashizu_core.agents import Catalogue
from sashizu_core.errors import SashizuError, UsageError
from sashizu_core.grants import Grants
from sashizu_core.handoff import grants_from, plain_grants
from sashizu_core.ids import span_id
from sashizu_core.runtime.asked import Asked
from sashizu_core.runtime.opening import run_context
from sashizu_core.runtime.plan import AgentPlan
from sashizu_core.runtime.written_run import WrittenRun, plain_run, read_run
from sashizu_core.types import UNITS, Limits, Task

__all__ = ["AGENT", "RUN", "HandedAgent", "HandedRun", "handed_run"]

RUN = "sashizu.run"
AGENT = "sashizu.agent"

_FORMAT = 1


@dataclass(frozen=True, slots=True)
class HandedAgent:
    """One agent of a run. `number` is its place among the tasks, from 0.

    `share` is what it may use at most, `ceiling` what the operator of the submitter allows it,
    outermost first; `before` says how many agents of its name come before it. `span` is the span
    of its work, in which all that it records lies.
    """

    number: int
    name: str
    share: Limits
    ceiling: tuple[Grants, ...]
    before: int
    span: str


@dataclass(frozen=True, slots=True)
class HandedRun:
    """What a worker is told of a run: `asked` as with its record, `agents` one for each task.

    `context` are the columns that every event of the run carries. `asks` says that somebody answers
    questions. `values` is all of it as JSON.
    """

    run_id: str
    asked: WrittenRun
    agents: tuple[HandedAgent, ...]
    context: Mapping[str, Any]
    labels: frozenset[str]
    deadline: float | None
    asks: bool
    values: Mapping[str, Any]

    @property
    def tasks(self) -> tuple[Task, ...]:
        return self.asked.tasks

    def of_agent(self, number: int) -> dict[str, Any]:
        """What the work of one agent is told: the definitions of others only if it may start any.

        Raises:
            SashizuError: there is no such agent.
        """
        own = self.agents[number]
        asked = dict(self.values["asked"])
        task, definitions = asked["tasks"][number], asked["agents"]
        mine = next((each for each in definitions if each["named"] == own.name), None)
        if mine is None:
            raise SashizuError(f"what {own.name!r} is was not handed over with run {self.run_id}")
        if not (mine.get("spawn") or {}).get("agents"):
            definitions = [mine]
        asked |= {"tasks": [task], "agents": definitions}
        return {**self.values, "asked": asked, "agents": [self.values["agents"][number]]}

    @classmethod
    def read(cls, values: Mapping[str, Any]) -> HandedRun:
        """What was handed over.

        Raises:
            SashizuError: another version wrote it.
        """
        if values.get("format") != _FORMAT:
            raise _unread(ValueError(f"its format is {values.get('format')!r}"))
        try:
            return cls(
                run_id=str(values["run_id"]),
                asked=read_run(values["asked"]),
                agents=tuple(_agent(each) for each in values["agents"]),
                context=values["context"],
                labels=frozenset(values["labels"]),
                deadline=values["deadline"],
                asks=bool(values["asks"]),
                values=values,
            )
        except (KeyError, TypeError, ValueError, AttributeError) as error:
            raise _unread(error) from error


def _unread(error: Exception) -> SashizuError:
    return SashizuError(
        f"a run was handed over that cannot be read here: {error}; give the submitter and the "
        "workers the same version"
    )


def _agent(values: Mapping[str, Any]) -> HandedAgent:
    return HandedAgent(
        number=values["number"],
        name=values["name"],
        share=Limits(**values["share"]),
        ceiling=tuple(grants_from(each) for each in values["ceiling"]),
        before=values["before"],
        span=values["span"],
    )


def handed_run(
    asked: Asked,
    plans: Sequence[AgentPlan],
    catalogue: Catalogue,
    *,
    labels: frozenset[str],
    deadline: float | None,
) -> HandedRun:
    """A run whose agents are planned, as it is handed over.

    Raises:
        UsageError: something of it cannot be done elsewhere.
    """
    _check(asked, plans)
    shares = _shares(asked.budget, len(plans))
    seen: Counter[str] = Counter()
    agents = []
    for number, (plan, share) in enumerate(zip(plans, shares, strict=True)):
        agents.append(
            {
                "number": number,
                "name": plan.name,
                "share": asdict(share),
                "ceiling": [plain_grants(each) for each in plan.ceilings],
                "before": seen[plan.name],
                "span": span_id(),
            }
        )
        seen[plan.name] += 1
    values = {
        "format": _FORMAT,
        "run_id": asked.run_id,
        "asked": plain_run(asked, catalogue),
        "agents": agents,
        "context": run_context(asked.run_id, asked.root),
        "labels": sorted(labels),
        "deadline": deadline,
        "asks": asked.approver is not None,
    }
    return HandedRun.read(values)


def _check(asked: Asked, plans: Sequence[AgentPlan]) -> None:
    """Refuse what only the process at hand can do.

    Raises:
        UsageError: says what, and what to do.
    """
    name = asked.settings.run.executor
    if not asked.audit:
        raise UsageError(f"the executor {name!r} goes on from the record: leave out --no-audit")
    if asked.conversation is not None:
        raise UsageError(
            f"a conversation is kept by the machine that had it: continue it without {name!r}"
        )
    if asked.rebalance:
        raise UsageError(f"agents of the executor {name!r} have fixed shares: no --rebalance")
    for plan in plans:
        if plan.isolation != "none" or plan.host:
            said = plan.host or plan.isolation
            raise UsageError(
                f"the agent {plan.name!r} wants the isolation {said!r}, which the executor "
                f"{name!r} does not have: say --isolation none, and give agents that change files "
                "different scopes"
            )


def _shares(limits: Limits, count: int) -> list[Limits]:
    """What each of several agents may use, so that together they stay within the limits."""
    shares = []
    at_once = count if limits.agents_alive is None else min(count, limits.agents_alive)
    alive = None if limits.agents_alive is None else max(1, limits.agents_alive // max(1, at_once))
    rate = None if limits.spawn_rate is None else max(1, limits.spawn_rate // count)
    for number in range(count):
        given: dict[str, int | None] = {}
        for unit in UNITS:
            limit = getattr(limits, unit)
            given[unit] = None if limit is None else (limit + count - 1 - number) // count
        shares.append(replace(limits, **given, agents_alive=alive, spawn_rate=rate))
    return shares
