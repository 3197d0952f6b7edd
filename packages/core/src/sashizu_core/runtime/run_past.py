"""What a whole run did before: which recorded agent is which of those that begin now.

Agents are found by who started them, in which step, and by what they were asked; never by the order
in which siblings happened to run.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import Any

from sashizu_core.errors import Diverged, SashizuError
from sashizu_core.operator_policy import OperatorPolicy
from sashizu_core.plugins import Registry
from sashizu_core.recorded import RecordedRun
from sashizu_core.runtime.artifacts import RUNS_FOLDER
from sashizu_core.runtime.plan import AgentPlan, scoped
from sashizu_core.runtime.spent import less, spent_by
from sashizu_core.runtime.written_plan import other_version, plan_from, task_from, task_key
from sashizu_core.turn.past import AgentPast
from sashizu_core.types import Task

__all__ = ["KnownAgent", "RunPast", "of_a_program"]

Fields = Mapping[str, Any]

_OWN_FOLDER = re.compile(
    rf"{re.escape(RUNS_FOLDER)}/([0-9a-f]{{8}}(?:-[0-9a-f]{{4}}){{3}}-[0-9a-f]{{12}})/"
)


@dataclass(slots=True)
class KnownAgent:
    """One recorded agent. `place` is who started it and in which step, `number` its turn.

    `document` is what is kept of it, `key` tells its task from others.
    """

    past: AgentPast
    document: Fields
    key: str
    place: tuple[str, int]
    number: int


@dataclass(slots=True)
class RunPast:
    """The agents of a recorded run, each taken once.

    `recomputes` says that all of it is made again, and nothing else is done; `carries` that what
    was spent counts against the limits; `model` is an agent and whom it goes on with; `policy` is
    what the operator allows by now; `brought` are agents that a repository brought.
    `link` is what the record of the new run says of the old one.
    `diverged` collects what was not as it is recorded; `fresh` are texts, by digest, that came up
    since. `lacks` are sentences about files that agents which go on do not have. `agents` are all
    of them, in the order in which they began, but for `foreign` ones: those that programs of other
    vendors were seen to have.
    """

    recorded: RecordedRun
    recomputes: bool
    carries: bool = False
    model: tuple[str, str] | None = None
    policy: OperatorPolicy | None = None
    brought: tuple[str, ...] = ()
    link: Mapping[str, Any] = field(default_factory=dict)
    diverged: list[Diverged] = field(default_factory=list)
    lacks: list[str] = field(default_factory=list)
    events: Sequence[Fields] = ()
    fresh: dict[str, str] = field(default_factory=dict)
    agents: list[KnownAgent] = field(default_factory=list)
    foreign: list[AgentPast] = field(default_factory=list)
    in_place: bool = False
    _waiting: list[KnownAgent] = field(default_factory=list)

    @classmethod
    def of(cls, recorded: RecordedRun, *, recomputes: bool, in_place: bool = False) -> RunPast:
        """The history in a record; `in_place` says that the agents go on in it as themselves.

        Raises:
            SashizuError: what of it is needed is not kept, or was written by another version.
        """
        past = cls(recorded, recomputes, events=recorded.events, in_place=in_place)
        by_agent: dict[str, list[Fields]] = {}
        for event in recorded.events:
            if event.get("agent_id") is not None:
                by_agent.setdefault(str(event["agent_id"]), []).append(event)
        for agent_id, events in by_agent.items():
            begun = next((event for event in events if event["kind"] == "agent.started"), None)
            if begun is not None and of_a_program(begun):
                past.foreign.append(past._past_of(agent_id, begun, events))
            elif begun is not None:
                past.agents.append(past._agent(agent_id, begun, events))
        past.agents.sort(key=lambda known: known.number)
        past._tie()
        past._waiting = list(past.agents)
        return past

    def moved(self, run_id: str) -> set[str]:
        """Have agents that go on write into the folder of the run with that id.

        Returns the ids of the runs in whose folders they have written so far.
        """
        left: set[str] = set()
        for known in self.agents:
            there = _OWN_FOLDER.match(str(known.document["folder"]))
            if known.past.strict or there is None:
                continue
            left.add(there[1])
            old, new = there[0], f"{RUNS_FOLDER}/{run_id}/"
            known.document = json.loads(json.dumps(known.document).replace(old, new))
            known.past.text = partial(self._moved_text, old, new)
            known.past.moved = True
        return left

    def _moved_text(self, old: str, new: str, digest: str) -> str:
        return self.text(digest).replace(old, new)

    @property
    def pasts(self) -> list[AgentPast]:
        """The history of every agent, whether it was taken or not."""
        return [known.past for known in self.agents]

    @property
    def every(self) -> list[AgentPast]:
        """Those of the agents that programs of other vendors were seen to have, too."""
        return [*self.pasts, *self.foreign]

    @property
    def documents(self) -> list[Fields]:
        """What is kept of every agent."""
        return [known.document for known in self.agents]

    @property
    def run_id(self) -> str:
        return self.recorded.run_id

    def text(self, digest: str) -> str:
        """A text of the run.

        Raises:
            SashizuError: it is not kept.
        """
        found = self.recorded.text(digest) or self.fresh.get(digest)
        if found is None:
            raise SashizuError(
                f"the text {digest[:12]} of run {self.run_id} is not kept any more: it is older "
                "than blob_days in [audit], was redacted, or was larger than 8 MiB"
            )
        return found

    def asked_text(self) -> str:
        """What the run was asked, as it is kept."""
        begun = next(event for event in self.recorded.events if event["kind"] == "run.started")
        return self.text(str(begun["blobs"][0]))

    def document(self, event: Fields) -> Fields:
        """What is kept with the beginning of a run or an agent.

        Raises:
            SashizuError: it is not kept, or not to be read.
        """
        if not (blobs := event.get("blobs")):
            raise SashizuError(
                f"the record of run {self.run_id} does not hold what was asked: its content was "
                'not kept. Set content = "blobs" in [audit] before a run that is to be made again'
            )
        try:
            read = json.loads(self.text(str(blobs[0])))
        except ValueError as error:
            raise other_version(error) from error
        if not isinstance(read, dict) or read.get("format") != 1:
            raise other_version(ValueError("its format is another"))
        return read

    def _past_of(self, agent_id: str, begun: Fields, events: Iterable[Fields]) -> AgentPast:
        return AgentPast(
            agent_id,
            str(begun.get("agent_name")),
            events,
            self.text,
            run_id=self.run_id,
            recomputes=self.recomputes,
            strict=self.recomputes,
            diverged=self.diverged.append,
        )

    def _agent(self, agent_id: str, begun: Fields, events: Iterable[Fields]) -> KnownAgent:
        document = self.document(begun)
        past = self._past_of(agent_id, begun, events)
        past.strict = self.recomputes or past.final or (bool(past.ended) and not self._ended())
        past.in_place = self.in_place
        attrs = begun.get("attrs") or {}
        place = str(begun.get("parent_agent_id") or ""), int(attrs.get("at_step", -1))
        key = task_key(task_from(document["task"]))
        return KnownAgent(past, document, key, place, int(attrs.get("number", 0)))

    def _tie(self) -> None:
        """Find who started whom; what an agent started in a step that is over is over as well."""
        by_id = {known.past.agent_id: known.past for known in self.agents}
        for known in sorted(self.agents, key=lambda known: known.past.depth):
            parent = by_id.get(known.place[0])
            if parent is None:
                continue
            at_step = known.place[1]
            parent.started_in.add(at_step)
            step = parent.steps.get(at_step)
            if parent.strict or (step is not None and step.finished):
                known.past.strict = True

    def beneath(self, agent_id: str) -> list[AgentPast]:
        """An agent and all that it started, and those they did."""
        found = [past for past in self.pasts if past.agent_id == agent_id]
        ids = {agent_id}
        for past in sorted((*self.pasts, *self.foreign), key=lambda past: past.depth):
            if past.started.get("parent_agent_id") in ids:
                ids.add(past.agent_id)
                found.append(past)
        return found

    def _ended(self) -> bool:
        return any(event["kind"] == "run.ended" for event in self.recorded.events)

    # --- who is who -------------------------------------------------------------------------------

    def plan(
        self,
        task: Task,
        registry: Registry,
        *,
        root: Path,
        above: AgentPast | None = None,
        at_step: int = -1,
    ) -> AgentPlan | None:
        """The recorded plan of an agent that begins now; None where it did not begin then.

        Raises:
            Diverged: who starts it did not, and has ended.
        """
        place = (above.agent_id if above is not None else "", at_step)
        key = task_key(scoped(task, root))
        here = [known for known in self._waiting if known.place == place]
        found = next((each for each in here if each.key == key), None)
        # How much of answers is passed on depends on what was left of a shared budget.
        found = found or next((each for each in here if _alike(task, each.document["task"])), None)
        if found is not None:
            self._waiting.remove(found)
            plan = plan_from(found.document, registry.tools)
            if self.model is not None and self.model[0] == found.past.agent_id:
                plan = replace(plan, model=self.model[1], fallback=None)
            if self.policy is not None and not found.past.strict:
                bounds = self.policy.ceilings(plan.grants, plan.folder)
                plan = replace(plan, ceilings=(*plan.ceilings, *bounds))
            if self.carries:
                plan = replace(
                    plan, limits=less(plan.limits, spent_by(self.beneath(found.past.agent_id)))
                )
            return replace(plan, past=found.past, document=found.document)
        if above is not None and above.strict:
            raise self.unknown(task, above, at_step)
        return None

    def unknown(self, task: Task, above: AgentPast | None = None, at_step: int = -1) -> Diverged:
        """The error to raise for an agent that did not begin then, where nothing may be added."""
        name = above.name if above is not None else "the run"
        found = Diverged(name, max(at_step, 0), "no such agent", f"the agent {task.agent!r}")
        self.diverged.append(found)
        return found


def of_a_program(begun: Fields) -> bool:
    """Whether an agent is one that a program of another vendor was seen to have."""
    return "client" in (begun.get("attrs") or {}) and not begun.get("blobs")


def _alike(task: Task, recorded: Fields) -> bool:
    """Whether two tasks differ in the text of their inputs alone."""
    names = {*task.inputs}
    then = task_from(recorded)
    same = replace(task, inputs={}, scope=(), deadline_s=None)
    return (
        bool(names)
        and names == {*then.inputs}
        and same == replace(then, inputs={}, scope=(), deadline_s=None)
    )
