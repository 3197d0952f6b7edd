"""A run at work: put together from what its socket tells and from what is on record of before."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from itertools import islice
from typing import Any

from sashizu_core.control import RunInfo

from sashizu_dashboard.record import MOST_CALLS, MOST_ROWS, limits_of
from sashizu_dashboard.shown import Agent, Artifact, Call, Refusal, Run, Shown
from sashizu_dashboard.told import mapping, mappings, number, text
from sashizu_dashboard.tree import in_tree_order

__all__ = ["LiveRun", "Question"]

_REFUSED = frozenset({"security.denied", "security.suspicious", "budget.refused", "budget.overrun"})
_ENDS = frozenset({"model.answered", "model.failed", "tool.ended"})


@dataclass(frozen=True, slots=True)
class Question:
    """What an agent waits for somebody to answer; `shown` are labels and texts."""

    id: str
    shown: tuple[tuple[str, str], ...]


@dataclass(slots=True)
class LiveRun:
    """One run that is followed. Times are nanoseconds since 1970.

    `whole` says that what came before it was followed is known too, `trouble` why it does not
    answer. `heard_from` is the place of the dashboard from which on nothing of it was missed.
    `version` grows with every change.
    """

    info: RunInfo
    run: Run = field(init=False)
    followed: bool = False
    whole: bool = False
    heard_from: int = 0
    trouble: str = ""
    version: int = 0
    questions: tuple[Question, ...] = ()
    _agents: dict[str, Agent] = field(default_factory=dict)
    _calls: dict[tuple[str, int], Call] = field(default_factory=dict)
    _refusals: list[Refusal] = field(default_factory=list)
    _artifacts: dict[tuple[str, str], Artifact] = field(default_factory=dict)
    _cut: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        info = self.info
        started = int(info.started_at * 1e9)
        name = info.workspace.rsplit("/", 1)[-1]
        self.run = Run(info.run_id, name, "", info.status, started, None, {}, 0, 0, 0)

    @property
    def agents(self) -> tuple[Agent, ...]:
        """In the order of their tree, each with what all beneath it used."""
        return in_tree_order(tuple(self._agents.values()))

    @property
    def working(self) -> int:
        """How many agents have not ended."""
        return sum(agent.ended_ns is None for agent in self._agents.values())

    def shown(self, now_ns: int) -> Shown:
        """What is known of it, the newest calls of many; those without an end last until now."""
        calls = tuple(
            replace(call, duration_ns=max(0, now_ns - call.started_ns))
            if call.status == "running"
            else call
            for call in islice(self._calls.values(), max(0, len(self._calls) - MOST_CALLS), None)
        )
        refusals, artifacts = tuple(self._refusals), tuple(self._artifacts.values())
        until = now_ns if self.run.status == "running" else None
        more = ("calls",) if len(calls) < len(self._calls) and "calls" not in self._cut else ()
        cut = (*self._cut, *more)
        return Shown(self.run, self.agents, calls, refusals, artifacts, None, cut, until_ns=until)

    def begin_with(self, before: Shown, asked_ns: int) -> None:
        """Take what the record holds; it was asked at `asked_ns`, while events went on to come."""
        since, ended = self._agents, before.run.ended_ns
        self._agents = {agent.agent_id: _known(agent, since) for agent in before.agents}
        self._agents |= {key: agent for key, agent in since.items() if key not in self._agents}
        calls = {(call.agent_id, call.step): _open(call) for call in before.calls}
        for key, call in self._calls.items():
            if key not in calls or call.status != "running":
                calls[key] = call
        self._calls = calls
        told = {_same(refusal) for refusal in before.refusals}
        later = [one for one in self._refusals if one.at_ns > asked_ns and _same(one) not in told]
        self._refusals = [*before.refusals, *later]
        older = {(one.agent, one.path): one for one in before.artifacts}
        self._artifacts = older | self._artifacts
        self.run = replace(before.run, status=self.run.status, ended_ns=ended, held=self.run.held)
        self._cut, self.whole = before.cut, True
        self.version += 1

    def over(self, info: RunInfo) -> None:
        """It is at work no more."""
        self.info, self.questions, self.trouble = info, (), ""
        ended = None if info.ended_at is None else int(info.ended_at * 1e9)
        self.run = replace(self.run, status=info.status, ended_ns=ended, held={})
        for key, call in self._calls.items():
            if call.status == "running":
                self._calls[key] = replace(call, status="no result")
        for name, agent in self._agents.items():
            if agent.ended_ns is None:
                self._agents[name] = replace(agent, status="unfinished")
        self.version += 1

    # --- what it tells when it is asked -----------------------------------------------------------

    def asked(self, state: Mapping[str, Any], at_ns: int) -> None:
        """Take the answer to `status`, which came at `at_ns`."""
        before = (self.run, dict(self._agents), self.questions, self.trouble)
        self.trouble = ""
        for told in mappings(state.get("agent_states")):
            self._progress(told, at_ns)
        budget = mapping(state.get("budget"))
        limits, spent = mapping(budget.get("limits")), mapping(budget.get("spent"))
        held = {unit: number(amount) for unit, amount in mapping(budget.get("held")).items()}
        self.run = replace(
            self.run,
            limits=limits_of(limits) or self.run.limits,
            held=held,
            tokens=number(spent.get("tokens")) if budget else self._sum("tokens"),
            nusd=number(spent.get("nusd")) if budget else self._sum("nusd"),
            requests=number(spent.get("requests")) if budget else self._sum("requests"),
        )
        self.questions = tuple(_question(one) for one in mappings(state.get("questions")))
        if before != (self.run, self._agents, self.questions, self.trouble):
            self.version += 1

    def _sum(self, unit: str) -> int:
        return sum(getattr(agent, unit) for agent in self._agents.values())

    def _progress(self, told: Mapping[str, Any], at_ns: int) -> None:
        agent = self._agent(told, self.run.started_ns, "agent", number(told.get("depth")))
        state, limit = text(told.get("state"), 80), told.get("limit")
        if agent.ended_ns is None and state:
            ended = None if state in {"waiting", "working"} else at_ns
            agent = replace(agent, status=state, ended_ns=ended)
        if limit is not None and "tokens" not in agent.limits:
            agent = replace(agent, limits={**agent.limits, "tokens": number(limit)})
        self._agents[agent.agent_id] = replace(agent, tokens=number(told.get("tokens")))

    # --- what it tells as it happens --------------------------------------------------------------

    def take(self, event: Mapping[str, Any], at_ns: int) -> None:
        """Take one event, which arrived at `at_ns`."""
        kind = text(event.get("kind"), 80)
        if kind == "run.started":
            attrs = mapping(event.get("attrs"))
            self.run = replace(
                self.run,
                project=text(event.get("project")),
                actor=text(event.get("actor")),
                limits=limits_of(attrs.get("limits")),
            )
        elif kind.startswith("agent."):
            self._agent_event(kind, event, at_ns)
        elif kind in {"model.requested", "tool.requested"}:
            self._requested(kind, event, at_ns)
        elif kind in _ENDS:
            self._ended(event, at_ns)
        elif kind in _REFUSED or (kind == "tool.decided" and _worth_telling(event)):
            self._refusals.append(_refusal(kind, event, at_ns))
            del self._refusals[: max(0, len(self._refusals) - MOST_ROWS)]
        self.version += 1

    def _agent(
        self, event: Mapping[str, Any], at_ns: int, name: str = "agent_name", depth: int = 0
    ) -> Agent:
        """The agent that something is about, made now if nobody spoke of it before."""
        agent_id = text(event.get("agent_id"), 80)
        if (known := self._agents.get(agent_id)) is not None:
            return known
        parent, called = text(event.get("parent_agent_id"), 80), text(event.get(name))
        model = text(event.get("model"))
        made = Agent(
            agent_id, parent, called, model, "working", "", at_ns, None, {}, 0, 0, 0, depth
        )
        self._agents[agent_id] = made
        return made

    def _agent_event(self, kind: str, event: Mapping[str, Any], at_ns: int) -> None:
        agent, attrs = self._agent(event, at_ns), mapping(event.get("attrs"))
        if kind == "agent.started":
            limits = limits_of(attrs.get("limits"))
            model = text(event.get("model"))
            agent = replace(agent, model=model, limits=limits, started_ns=at_ns)
        elif kind == "agent.ended":
            status, error = text(event.get("status"), 80), text(event.get("error_type"))
            agent = replace(agent, status=status, error=error, ended_ns=at_ns)
            for made in mappings(attrs.get("artifacts")):
                path = text(made.get("path"), 4096)
                self._artifacts[agent.name, path] = Artifact(
                    agent.name, path, text(made.get("sha256")), number(made.get("bytes"))
                )
        self._agents[agent.agent_id] = agent

    def _requested(self, kind: str, event: Mapping[str, Any], at_ns: int) -> None:
        agent, step = self._agent(event, at_ns), number(event.get("step"))
        key = (agent.agent_id, step)
        known = self._calls.get(key)
        if known is not None and known.status != "running" and self._in_record(known, at_ns):
            return
        if kind == "model.requested" and known is None:
            self._agents[agent.agent_id] = replace(agent, requests=agent.requests + 1)
        what = text(event.get("tool") or event.get("model"))
        sort = kind.partition(".")[0]
        self._calls[key] = Call(
            agent.agent_id, agent.name, sort, what, step, at_ns, None, "running", 0
        )
        if len(self._calls) > 2 * MOST_CALLS:
            self._drop_calls()

    def _drop_calls(self) -> None:
        """Forget the oldest that have ended: a page shows no more, and a run may go on for days."""
        ended = (key for key, call in self._calls.items() if call.status != "running")
        for key in list(islice(ended, len(self._calls) - MOST_CALLS)):
            del self._calls[key]
        self._cut = (*(part for part in self._cut if part != "calls"), "calls")

    def _in_record(self, call: Call, at_ns: int) -> bool:
        """Whether a call that has ended is the one that is told to begin only now."""
        return call.started_ns + (call.duration_ns or 0) >= at_ns

    def _ended(self, event: Mapping[str, Any], at_ns: int) -> None:
        agent, step = self._agent(event, at_ns), number(event.get("step"))
        call = self._calls.get((agent.agent_id, step))
        if call is None or call.status != "running":
            return
        tokens, nusd = number(event.get("tokens")), number(event.get("cost_nusd"))
        self._calls[agent.agent_id, step] = replace(
            call,
            status=text(event.get("status"), 80) or "no result",
            duration_ns=number(event.get("duration_ns")),
            tokens=tokens,
        )
        self._agents[agent.agent_id] = replace(
            agent, tokens=agent.tokens + tokens, nusd=agent.nusd + nusd
        )


def _known(agent: Agent, since: Mapping[str, Agent]) -> Agent:
    """An agent of the record, with what was heard of it since."""
    heard = since.get(agent.agent_id)
    if heard is None or agent.ended_ns is not None:
        return agent if agent.ended_ns is not None else replace(agent, status="working")
    return replace(
        agent, status=heard.status, error=heard.error, ended_ns=heard.ended_ns, tokens=heard.tokens
    )


def _open(call: Call) -> Call:
    return replace(call, status="running") if call.duration_ns is None else call


def _worth_telling(event: Mapping[str, Any]) -> bool:
    return event.get("decision") != "allow" or event.get("decided_by") == "user"


def _refusal(kind: str, event: Mapping[str, Any], at_ns: int) -> Refusal:
    attrs = mapping(event.get("attrs"))
    unit = text(event.get("budget_unit"))
    why = [event.get("decision_reason"), event.get("decision_rule")]
    why += [attrs.get("request"), attrs.get("reason")]
    if kind == "budget.refused":
        why.append(f"asked for {event.get('budget_held')} {unit}, left {attrs.get('left')}")
    return Refusal(
        at_ns,
        text(event.get("agent_name")),
        kind,
        text(event.get("tool") or event.get("category") or unit),
        text(event.get("decision") or event.get("status")),
        text(event.get("decided_by")),
        text("; ".join(str(part) for part in why if part), 4000),
    )


def _same(one: Refusal) -> tuple[str, ...]:
    return (one.agent, one.kind, one.what, one.verdict, one.decided_by, one.why)


def _question(told: Mapping[str, Any]) -> Question:
    pairs = told.get("shown")
    known = [pair for pair in pairs if isinstance(pair, list)] if isinstance(pairs, list) else []
    shown = tuple((text(pair[0]), text(pair[1], 8000)) for pair in known if len(pair) == 2)
    return Question(text(told.get("id"), 80), shown)
