"""An agent instance whose work another process does, under a lease of this one's ledger.

This process records how it begins and how it ends, whatever becomes of the other; the steps in
between are recorded there.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping
from dataclasses import replace
from time import monotonic, time
from typing import Any

import anyio

from sashizu_core.errors import BudgetRefused, RecordError, SashizuError
from sashizu_core.grants import SpawnRequest, Subject
from sashizu_core.handoff import Handoff
from sashizu_core.hosts import AgentHost
from sashizu_core.ids import AgentId, span_id
from sashizu_core.runtime.agent_events import end_fields, start_fields
from sashizu_core.runtime.asking_again import may_again
from sashizu_core.runtime.child_limits import Lent, SpawnBounds
from sashizu_core.runtime.handed_work import handed_work
from sashizu_core.runtime.host_at_work import AskedHere, at_work
from sashizu_core.runtime.hosted_past import as_recorded, written_report
from sashizu_core.runtime.opened_hosts import Hosts
from sashizu_core.runtime.places import Place
from sashizu_core.runtime.plan import AgentPlan
from sashizu_core.runtime.process_lease import process_lease
from sashizu_core.runtime.redacting import redacted_report
from sashizu_core.runtime.run_parts import Above, AgentProgress, RunParts, repeated_run
from sashizu_core.runtime.running_low import share_of
from sashizu_core.runtime.teaching import Lessons
from sashizu_core.runtime.written_plan import written_plan
from sashizu_core.turn.answer import read_answer
from sashizu_core.turn.steps import LAST_WORDS_S
from sashizu_core.types import (
    AgentReport,
    AgentStatus,
    Amount,
    Message,
    Outcome,
    Usage,
)

__all__ = ["HostedInstance"]

logger = logging.getLogger(__name__)

_DEEP = 1000
"""Levels where nothing bounds them."""

_STATUS: Mapping[Outcome, AgentStatus] = {
    Outcome.DEADLINE: "timeout",
    Outcome.CANCELLED: "cancelled",
}


class HostedInstance:
    """One agent at work in a process of its own; used as `AgentInstance` is.

    `bounds` is what agents below it are counted by, `among` how many share what is left where it
    has no limit of its own: those that the run began with if it is None.
    """

    def __init__(
        self,
        plan: AgentPlan,
        parts: RunParts,
        agent_id: AgentId,
        place: Place,
        above: Above,
        host: AgentHost | None,
        hosts: Hosts,
    ) -> None:
        self.plan = plan
        self.agent_id = agent_id
        self.place = place
        self.conversation_id = ""
        self.messages: list[Message] = []
        self.bounds: SpawnBounds | None = None
        self.among: int | None = None
        self.deadline = float("inf")
        self._parts = parts
        self._above = above
        self._host = host
        self._hosts = hosts
        self._recorder = parts.recorder.derive(
            agent_id=agent_id,
            agent_name=plan.name,
            actor=f"agent:{plan.name}",
            parent_agent_id=above.agent_id,
            depth=above.depth,
            parent_span_id=above.span_id or parts.recorder.context.get("span_id"),
            span_id=span_id(),
            replay_of=repeated_run(parts, plan),
        )
        again = parts.past
        if again is not None and again.recomputes and plan.past is None:
            raise again.unknown(plan.task)
        self._number = next(parts.numbers)
        self._past = plan.past
        if plan.past is not None:
            plan.past.goes_on_as = agent_id
        root = above.node or parts.root
        self.node = root.open(plan.name, plan.limits) if root is not None else None
        # It takes what its share has when it begins; what comes back is for its siblings.
        self._share = share_of(parts, root, self.node, self._recorder)
        parts.handle.waiting.add(agent_id)
        self._state = "waiting"
        self._started = 0.0
        self._tokens = 0
        self._spent = Amount()

    @property
    def depth(self) -> int:
        """How many agents are above it."""
        return self._above.depth

    def left_place(self) -> None:
        """Nothing to give up: what others could change is never lent to another process."""

    def progress(self) -> AgentProgress:
        """How far it is; what the other process does is seen when it has ended."""
        return AgentProgress(
            agent=self.plan.name,
            agent_id=self.agent_id,
            state=self._state,
            step=0,
            tool="",
            tokens=self._tokens,
            limit=self.plan.limits.tokens,
            depth=self.depth,
            parent_agent_id=self._above.agent_id,
        )

    async def run(self) -> AgentReport:
        """Have the work done and report; ends in a report whatever becomes of the process.

        Raises:
            RecordError: the record cannot be written.
        """
        self._started, self._state = monotonic(), "working"
        if self._share is not None:
            self._share.begin()
        started = start_fields(self.plan, self.node)
        started["attrs"] |= {"host": self.plan.host, "number": self._number}
        if self._above.step >= 0:
            started["attrs"]["at_step"] = self._above.step
        if self._past is not None:
            started["replay_of"] = self._past.run_id  # it began there
            if not self._past.recomputes:
                started["attrs"]["goes_on"] = self._past.agent_id
        started |= self._documented()
        await self._recorder.record([self._recorder.event("agent.started", started)])
        report = self._failed(Outcome.CANCELLED, "cancelled")
        try:
            report = await self._done()
            with anyio.CancelScope(shield=True):
                report = await self._brought_home(report)
        finally:
            self._parts.handle.untrack(self.agent_id)
            with anyio.move_on_after(LAST_WORDS_S, shield=True):
                await self._end(report)
        return redacted_report(report, self._recorder.redactor)

    def _documented(self) -> dict[str, Any]:
        """The columns that name what the agent works under, where that is kept."""
        if not self._recorder.keeps_content:
            return {}
        models, redactor = self._parts.models, self._recorder.redactor
        infos = [models[name].info for name in self.plan.models if name in models]
        return self._recorder.keep(written_plan(self.plan, infos, Lessons(), (), redactor))

    # --- the work ---------------------------------------------------------------------------------

    async def _done(self) -> AgentReport:
        """The work, or what is on record of it; it is not done twice unless somebody says so."""
        past, run_past = self._past, self._parts.past
        if past is None or run_past is None or (past.forked and not past.strict):
            return await self._work()
        own = self._failed(Outcome.CANCELLED, "stopped, as it was recorded")
        if past.strict and not past.ended:
            return own
        if past.strict:
            node = self.node
            report, self._spent = as_recorded(past, run_past, self._recorder, node, own)
            return report
        subject = Subject(self.agent_id, self.plan.name, self.plan.chain)
        self._recorder.flush()
        decision = await may_again(
            self._parts.approvals,
            subject,
            f"agent {self.plan.name}",
            SpawnRequest(self.plan.name),
        )
        return (
            await self._work()
            if decision.allowed
            else self._failed(Outcome.FAILED, decision.reason)
        )

    async def _work(self) -> AgentReport:
        handle, seconds = self._parts.handle, self.plan.deadline_s
        if handle.stops(self.agent_id):
            return self._stopped(None)
        found: list[AgentReport] = []
        self.deadline = anyio.current_time() + (float("inf") if seconds is None else seconds)
        scope = anyio.CancelScope(deadline=self.deadline)
        try:
            with scope:
                handle.track(self.agent_id, scope)
                await self._leased(found)
        except RecordError:
            raise
        except BudgetRefused as error:
            return self._failed(Outcome.BUDGET, str(error))
        except SashizuError as error:
            if scope.cancel_called or handle.stops(self.agent_id):
                return self._stopped(None)
            return self._failed(Outcome.FAILED, str(error))
        except Exception as error:
            logger.exception("the agent %s ended by an error that nobody expected", self.plan.name)
            return self._failed(Outcome.FAILED, f"unexpected {type(error).__name__}: {error}")
        if scope.cancel_called or handle.stops(self.agent_id):
            return self._stopped(found[0] if found else None)
        return found[0]

    async def _leased(self, found: list[AgentReport]) -> None:
        among = self._hosts.next_of_first() if self.among is None else self.among
        host, lent = self._host, Lent((), None, None, None)
        assert host is not None
        if self.bounds is not None:
            lent = self.bounds.lend(max(2, among))  # the others may start agents, too
        handoff, lease, started = self._handoff(), None, 0
        try:
            parts = self._parts
            handed, lease = await process_lease(
                handoff, self.plan, parts.budget, self.node, lent, among, self._recorder
            )
            if self.depth:  # who starts one starts others: the next need not wait
                await host.expect(2)
            approver = AskedHere(parts.approvals) if parts.approvals is not None else None
            root = self.place.workspace.root
            work = handed_work(self.plan, handed, self._hosts.asked, root)
            await at_work(host, work, approver, found)
        finally:
            if lease is not None:
                spent = lease.settle()
                self._spent = spent
                self._tokens, started = spent.tokens, max(0, spent.agents - 1)
            lent.ended(started)
            self._recorder.child_ended(handoff.audit_parent)

    def _handoff(self) -> Handoff:
        context = self._recorder.context
        seconds = self.deadline - anyio.current_time()
        depth = self.bounds.depth_left if self.bounds is not None else 0
        return Handoff(
            run_id=self._parts.recorder.context["run_id"],  # type: ignore[arg-type]
            agent_id=self.agent_id,
            parent_agent_id=self._above.agent_id,
            depth=self.depth,
            ceiling=self.plan.chain,
            deadline=None if seconds == float("inf") else time() + seconds,
            traceparent=f"00-{context['trace_id']}-{context['span_id']}-01",
            depth_left=_DEEP if depth is None else depth,
            folder=self.plan.folder,
            recorded=self._hosts.asked.audit,
            audit_parent=self._recorder.child_handoff(),
        )

    # --- the end ----------------------------------------------------------------------------------

    async def _brought_home(self, report: AgentReport) -> AgentReport:
        """Keep what it changed in a folder of its own."""
        if self.place.folder is None:
            return report
        try:
            await self._parts.places.bring_home(self.place, report.artifacts, self.plan.folder)
            return replace(report, changes=await self.place.conclude())
        except RecordError:
            raise
        except SashizuError as error:
            return replace(report, status="error", error=f"its work is not kept: {error}")

    def _stopped(self, report: AgentReport | None) -> AgentReport:
        """What became of an agent that was stopped from here; `report` is what the other says."""
        handle = self._parts.handle
        if anyio.current_time() >= self.deadline:
            outcome = Outcome.DEADLINE
            error = f"the deadline of {self.plan.deadline_s:g} s has passed"
        else:
            outcome = Outcome.DEADLINE if handle.expired else Outcome.CANCELLED
            error = handle.reason or "cancelled"
        if report is None:
            return self._failed(outcome, error)
        return replace(report, status=_STATUS[outcome], outcome=outcome, error=error)

    def _failed(self, outcome: Outcome, error: str) -> AgentReport:
        """The report of an agent that has none of its own: what was spent is in its budget."""
        criteria = read_answer("", self.plan.definition.success_criteria).criteria
        return AgentReport(
            agent=self.plan.name,
            agent_id=self.agent_id,
            status=_STATUS.get(outcome, "error"),
            outcome=outcome,
            answer="",
            criteria=criteria,
            artifacts=(),
            missing=(),
            usage=Usage(),
            doubtful_tokens=self._tokens,
            budget=None,
            steps=0,
            duration_s=0.0,
            error=error,
        )

    async def _end(self, report: AgentReport) -> None:
        self._state = report.status
        if self.node is not None:
            self.node.close()
        if self._share is not None:
            self._share.leave()
        recorder, fields = self._recorder, end_fields(report)
        text = written_report(report, self._spent, recorder.redactor)
        fields |= recorder.keep(text, last_words=True)
        await recorder.record([recorder.event("agent.ended", fields)])
