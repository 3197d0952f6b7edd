"""One agent instance: from its first event to its last, whatever happens in between."""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from contextlib import nullcontext
from dataclasses import replace
from functools import partial
from time import monotonic
from typing import TYPE_CHECKING, Any

import anyio

from sashizu_core.errors import RecordError, SashizuError
from sashizu_core.ids import AgentId, span_id
from sashizu_core.permissions import readable
from sashizu_core.prompt import first_messages, is_aside
from sashizu_core.protocols import (
    Busy,
    Refused,
)
from sashizu_core.runtime.agent_events import end_fields, start_fields
from sashizu_core.runtime.artifacts import Versions, prepare_run_folder, versions
from sashizu_core.runtime.at_work import at_work_until
from sashizu_core.runtime.concluding import Concluding
from sashizu_core.runtime.engine_loops import AnyEngineLoop, engine_loop
from sashizu_core.runtime.instance_parts import InstanceParts
from sashizu_core.runtime.outfitting import confining_of, context_of, reactor_of, tools_of
from sashizu_core.runtime.places import Place
from sashizu_core.runtime.plan import AgentPlan
from sashizu_core.runtime.redacting import redacted_report
from sashizu_core.runtime.reporting import report_of
from sashizu_core.runtime.run_parts import Above, AgentProgress, RunParts, repeated_run
from sashizu_core.runtime.running_low import degradation_of, share_of
from sashizu_core.runtime.teaching import Lessons, lessons_of
from sashizu_core.runtime.verification import unverified, verify
from sashizu_core.runtime.written_plan import read_lessons, written_plan
from sashizu_core.turn.answer import Answer, read_answer
from sashizu_core.turn.inference import Inference
from sashizu_core.turn.loop import AgentLoop, Ending
from sashizu_core.turn.past import StoppedAsRecorded
from sashizu_core.turn.reacting import Reactor
from sashizu_core.turn.reserving import Ledger, record_refusal, refusal
from sashizu_core.turn.steps import LAST_WORDS_S, StepContext
from sashizu_core.turn.toolcalls import ToolBox
from sashizu_core.types import (
    AgentReport,
    Amount,
    Artifact,
    Criterion,
    Message,
    Outcome,
)

if TYPE_CHECKING:
    from sashizu_core.runtime.spawning import ChildSpawner

__all__ = ["AgentInstance"]

logger = logging.getLogger(__name__)


class AgentInstance:
    """One agent at work on one task. `messages` is its conversation, also after it ended.

    `accept` says what is wrong with its answer; see `AgentLoop`. `own_span` is the span under which
    another process recorded its beginning: that one records its end, too.
    """

    def __init__(
        self,
        plan: AgentPlan,
        parts: RunParts,
        agent_id: AgentId,
        place: Place,
        *,
        conversation_id: str = "",
        history: Sequence[Message] = (),
        above: Above | None = None,
        accept: Callable[[str], str] | None = None,
        own_span: str | None = None,
    ) -> None:
        self._accept = accept
        self._bracketed = own_span is None
        self._above = above if above is not None else Above()
        self.plan = plan
        self.agent_id = agent_id
        self.conversation_id = conversation_id
        self.messages = [message for message in history if not is_aside(message)]
        self.place = place
        self._parts = parts
        self._recorder = parts.recorder.derive(
            agent_id=agent_id,
            agent_name=plan.name,
            actor=f"agent:{plan.name}",
            parent_agent_id=self._above.agent_id,
            depth=self._above.depth,
            conversation_id=conversation_id or None,
            parent_span_id=_span_above(self._above, parts, own_span),
            span_id=own_span or own_span_of(plan) or span_id(),
            replay_of=repeated_run(parts, plan),
        )
        again = parts.past
        if again is not None and again.recomputes and plan.past is None:
            raise again.unknown(plan.task)
        self._number = next(parts.numbers)
        self._past = plan.past
        if plan.past is not None:
            plan.past.goes_on_as = agent_id
            if plan.past.moved and self._recorder.keeps_content:
                plan.past.keep = self._recorder.keep
        self._steps = StepContext(self._recorder, parts.run_id, agent_id, plan.past)
        model = parts.models[plan.model]
        root = self._above.node or parts.root
        self.node = root.open(plan.name, plan.limits) if root is not None else None
        above_it = self._above.nodes or parts.nodes
        self.nodes = (self.node, *above_it) if self.node is not None else ()
        spawning = parts.spawning
        idle = nullcontext if spawning is None else partial(spawning.idle, self)
        self._share = share_of(parts, root, self.node, self._recorder, idle)
        ledger = (
            Ledger(parts.budget, self.node, self._share)
            if parts.budget is not None and self.node is not None
            else None
        )
        self._inference = Inference(model, self._steps, parts.gate(model), ledger)
        self._at = InstanceParts(
            plan,
            parts,
            agent_id,
            conversation_id,
            place,
            self._steps,
            self._inference,
            self.node,
            self.depth,
        )
        parts.handle.waiting.add(agent_id)
        self._started = 0.0
        self._state = "waiting"
        self._lessons = Lessons()
        self._reactor: Reactor | None = None
        self._tools: ToolBox | None = None
        self._before: Versions = {}
        self.deadline = float("inf")
        self._spawner: ChildSpawner | None = None
        if place.borrowed and place.claims is not None and self._above.agent_id is not None:
            place.claims.descend(agent_id, self._above.agent_id, self._above.agent_name)
        self._checks = unverified(plan.definition.verify, "the agent did not answer")

    @property
    def depth(self) -> int:
        """How many agents are above it."""
        return self._above.depth

    @property
    def above_children(self) -> Above:
        """What its children are beneath."""
        span = self._recorder.context.get("span_id")
        return Above(
            self.depth + 1,
            self.agent_id,
            self.plan.name,
            span,
            node=self.node,
            nodes=self.nodes,
        )

    def left_place(self) -> None:
        """Give up what nobody else could change where it worked, after it has ended."""
        if self.place.claims is not None:
            self.place.claims.pass_on(self.agent_id)

    def progress(self) -> AgentProgress:
        """How far it is."""
        running = self._tools.running if self._tools is not None else ""
        return AgentProgress(
            agent=self.plan.name,
            agent_id=self.agent_id,
            state=self._state,
            step=self._steps.count,
            tool=running,
            tokens=self._inference.used.tokens + self._inference.doubtful_tokens,
            limit=self.plan.limits.tokens,
            depth=self.depth,
            parent_agent_id=self._above.agent_id,
        )

    async def run(self) -> AgentReport:
        """Work on the task and report; ends in a report whatever the agent does.

        Raises:
            RecordError: the record cannot be written.
        """
        self._started = monotonic()
        self._state = "working"
        if self._share is not None:
            self._share.begin()
        if self.plan.document is not None:
            self._lessons = read_lessons(self.plan.document)
        else:
            self._lessons = await lessons_of(
                self.plan, self._parts.shelf, readable(self._at.subject)
            )
        started = start_fields(self.plan, self.node)
        started["attrs"] |= {**self._lessons.recorded(), "number": self._number}
        if self._above.step >= 0:
            started["attrs"]["at_step"] = self._above.step
        if not self._in_place:
            started |= self._documented()
        if self._past is not None:
            started["replay_of"] = self._past.run_id  # it began there
            if not self._past.recomputes:
                started["attrs"]["goes_on"] = self._past.agent_id
        if self._bracketed and not self._in_place:
            await self._recorder.record([self._recorder.event("agent.started", started)])
        report: AgentReport | None = None
        try:
            report = await self._conclude(await self._work())
        finally:
            # Who was cancelled from outside, or cannot write the record, has no report yet.
            if report is None:
                last = self._report(Ending(Outcome.CANCELLED, Answer("", ()), "cancelled"))
            else:
                last = report
            self._parts.handle.untrack(self.agent_id)
            with anyio.move_on_after(LAST_WORDS_S, shield=True):
                await self._end(last)
        return redacted_report(report, self._recorder.redactor)

    @property
    def _in_place(self) -> bool:
        """Whether its beginning is on record already, and it goes on there."""
        return self._past is not None and self._past.in_place

    def _documented(self) -> dict[str, Any]:
        """The columns that name what the agent works under, where that is kept."""
        if not self._recorder.keeps_content:
            return {}
        infos = [self._parts.models[name].info for name in self.plan.models]
        # Who works in the folder of another has none of its own to be found again.
        plan = replace(self.plan, isolation="none") if self.place.borrowed else self.plan
        redactor = self._recorder.redactor
        return self._recorder.keep(
            written_plan(plan, infos, self._lessons, self.messages, redactor)
        )

    # --- the work ---------------------------------------------------------------------------------

    async def _work(self) -> Ending:
        handle = self._parts.handle
        if handle.stops(self.agent_id):
            return self._stopped(handle.reason or "cancelled")
        try:
            if (refused := self._spawn()) is not None:
                return refused
            return await self._verified(await self._within_deadline(await self._loop()))
        except RecordError:
            raise
        except StoppedAsRecorded as stopped:  # before its first call
            return self._stopped("stopped, as it was recorded", stopped.outcome)
        except SashizuError as error:
            return Ending(Outcome.FAILED, Answer("", self._unchecked()), str(error))
        except Exception as error:
            # A bug, or hostile data that found one, ends this agent and no other.
            logger.exception("the agent %s ended by an error that nobody expected", self.plan.name)
            text = f"unexpected {type(error).__name__}: {error}"
            return Ending(Outcome.FAILED, Answer("", self._unchecked()), text)

    def _spawn(self) -> Ending | None:
        """Book one agent with the ledger."""
        if self.node is None or self._booked():
            return None
        answer = self.node.reserve(Amount(agents=1))
        if isinstance(answer, Busy):  # agents are booked at once, so nothing is in flight for long
            answer = Refused(answer.node, answer.unit, answer.asked, answer.left)
        if isinstance(answer, Refused):
            record_refusal(self._recorder, answer)
            return Ending(Outcome.BUDGET, Answer("", self._unchecked()), str(refusal(answer)))
        answer.settle(Amount(agents=1))
        return None

    def _booked(self) -> bool:
        """Whether the agent was booked when it began, in the record of an earlier run."""
        past = self._past
        if past is None:
            return False
        return not past.recomputes or past.started.get("replay_of") is not None

    def _stopped(self, why: str, how: Outcome | None = None) -> Ending:
        """The end of an agent that was stopped before it began."""
        outcome = Outcome.DEADLINE if self._parts.handle.expired else Outcome.CANCELLED
        return Ending(how or outcome, Answer("", self._unchecked()), why)

    async def _loop(self) -> AgentLoop | AnyEngineLoop:
        plan, parts, at = self.plan, self._parts, self._at
        confining = confining_of(at)
        self._spawner = parts.spawning.spawner_of(self) if parts.spawning is not None else None
        context = await context_of(at, self._lessons, confining, self._spawner)
        tools = await tools_of(at, context, self._lessons)
        if plan.targets and not (self._past is not None and self._past.strict):
            await anyio.to_thread.run_sync(self._prepare_for_artifacts)
        self._reactor = reactor_of(at, context)
        await self._open_conversation()
        if (program := engine_loop(at, context, self.messages)) is not None:
            return program
        self._tools = ToolBox(
            tools,
            at.subject,
            context,
            self._steps,
            policies=parts.policies,
            approvals=parts.approvals,
            claims=self.place.claims,
            hide_secrets=plan.definition.policies.secrets.redact,
            reactor=self._reactor,
            confining=confining,
        )
        return AgentLoop(
            inference=self._inference,
            tools=self._tools,
            messages=self.messages,
            criteria=plan.definition.success_criteria,
            output=plan.definition.output,
            max_turns=parts.max_turns,
            max_output_tokens=parts.max_output_tokens,
            degradation=degradation_of(
                plan,
                parts,
                self._inference,
                self._recorder,
                (self.nodes, lambda: self.deadline),
            ),
            tokens_left=self._tokens_left,
            on_text=at.on_text,
            accept=self._accept,
        )

    def _prepare_for_artifacts(self) -> None:
        prepare_run_folder(self.place.workspace, self.plan.folder)
        self._before = versions(self.place.workspace, self.plan.targets)

    async def _open_conversation(self) -> None:
        left = self._tokens_left()
        brief = replace(self.plan.brief(left), **self._lessons.told(left))
        system, user = first_messages(brief)
        if self._reactor is not None:
            resumed = bool(self.messages)
            added = await self._reactor.begins(self.plan.name, user.content, resumed=resumed)
            user = replace(user, content=f"{user.content}\n\n{added}") if added else user
        # A continued conversation goes on under what holds now: other limits, other files to write.
        self.messages[:1] = [system]
        self.messages.append(user)

    async def _within_deadline(self, loop: AgentLoop | AnyEngineLoop) -> Ending:
        seconds = self.plan.deadline_s if self._past is None or not self._past.strict else None
        self.deadline = anyio.current_time() + seconds if seconds is not None else float("inf")
        return await at_work_until(self.deadline, self._at, loop, self._reactor, self.messages)

    async def _verified(self, ending: Ending) -> Ending:
        """Run what has to pass after an answer; an agent that gave none is not asked."""
        if ending.outcome is Outcome.ANSWERED:
            self._checks = await verify(
                self.plan.definition.verify,
                self._tools,
                handle=self._parts.handle,
                agent_id=self.agent_id,
                deadline=self.deadline,
            )
        return ending

    def _tokens_left(self) -> int | None:
        node = self.node
        return self._steps.seen(lambda: node.left("tokens")) if node is not None else None

    # --- the end ----------------------------------------------------------------------------------

    async def _conclude(self, ending: Ending) -> AgentReport:
        """Verify what was declared, and keep what was changed."""
        concluding = Concluding(self.plan, self.place, self._parts.places, self._steps)
        report = partial(self._report, ending)
        if self._past is not None and self._past.strict:
            return await concluding.as_recorded(self._past, report)
        written = self._tools.written if self._tools is not None else ()
        return await concluding.now(report, self._before, written)

    def _report(
        self,
        ending: Ending,
        artifacts: tuple[Artifact, ...] = (),
        missing: tuple[str, ...] = (),
    ) -> AgentReport:
        children = self._spawner.reports if self._spawner is not None else ()
        return report_of(
            self._at, ending, self._checks, self._started, children, artifacts, missing
        )

    async def _end(self, report: AgentReport) -> None:
        if self.node is not None:
            self.node.close()
        if self._share is not None:
            self._share.leave()
        self._state = report.status
        ended_before = self._past is not None and self._in_place and bool(self._past.ended)
        if not self._bracketed or ended_before:
            self._recorder.flush()
            return
        ended = self._recorder.event("agent.ended", end_fields(report))
        await self._recorder.record([ended])

    def _unchecked(self) -> tuple[Criterion, ...]:
        return read_answer("", self.plan.definition.success_criteria).criteria


def own_span_of(plan: AgentPlan) -> str:
    """The span of an agent that goes on in its own record; empty for others."""
    past = plan.past
    return str(past.started.get("span_id") or "") if past is not None and past.in_place else ""


def _span_above(above: Above, parts: RunParts, own_span: str | None) -> object:
    """The span that an instance is part of; only the process that began it knows of one."""
    return None if own_span else above.span_id or parts.recorder.context.get("span_id")
