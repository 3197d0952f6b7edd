"""Runs what reacts to one agent instance: held like its programs, and recorded as steps."""

from __future__ import annotations

import json
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from hashlib import sha256
from pathlib import Path
from typing import Any

import anyio
import anyio.to_thread

from sashizu_core.errors import SandboxError, SashizuError
from sashizu_core.events import Event
from sashizu_core.reactions import Reaction, ReactionEvent
from sashizu_core.reactions.book import ReactionBook
from sashizu_core.reactions.payload import LARGEST_TEXT, shared_name, tool_input, tool_names
from sashizu_core.reactions.said import Heard, Said, heard
from sashizu_core.sandboxing import Confinement, Sandbox
from sashizu_core.turn.hook_commands import answered, held
from sashizu_core.turn.past import StoppedAsRecorded
from sashizu_core.turn.past_reactions import PastMoment, answer_of, written_said
from sashizu_core.turn.recorded_step import UNKNOWN_OUTCOME, RecordedStep
from sashizu_core.turn.steps import StepContext
from sashizu_core.types import Decision, Outcome, StepKind, ToolCall, ToolResult

__all__ = ["MOST_TIMES_KEPT", "Reacting", "Reactor"]

MOST_TIMES_KEPT = 3
"""How often hooks may keep one agent from ending."""


@dataclass(frozen=True, slots=True)
class Reacting:
    """Whose reactions run, and what holds them.

    `confining` makes what a program of the agent is held by that starts now; it blocks. `about` is
    what every command is told of the agent; `show` takes a line for the display. `again` has
    somebody asked whether a command runs again of which nobody knows what it did.
    """

    book: ReactionBook
    sandbox: Sandbox | None
    confining: Callable[[], Confinement]
    workspace: Path
    child: bool
    about: Mapping[str, Any]
    show: Callable[[str], None] | None = None
    again: Callable[[Reaction], Awaitable[bool]] | None = None


class Reactor:
    """The reactions of one agent instance.

    What was said at a moment that is on record is taken from there; see `PastMoment`.
    """

    def __init__(self, reacting: Reacting, steps: StepContext) -> None:
        self._reacting = reacting
        self._steps = steps
        self._confining = anyio.Lock()
        self._kept = 0

    # --- the moments ------------------------------------------------------------------------------

    async def begins(self, agent: str, prompt: str, *, resumed: bool) -> str:
        """An agent is about to be told its task; returns what is to be told with it.

        Raises:
            SashizuError: the task is refused.
        """
        if self._reacting.child:
            found = [await self._now("SubagentStart", {"agent_type": agent}, (agent,))]
        else:
            source = "resume" if resumed else "startup"
            begun = await self._now("SessionStart", {"source": source}, (source,))
            asked = await self._now("UserPromptSubmit", {"prompt": prompt[:LARGEST_TEXT]})
            found = [begun, asked]
        for each in found:
            if each.verdict != "none":
                raise SashizuError(f"a hook of {each.by} refused the task: {each.reason}")
        return "\n".join(each.context for each in found if each.context)

    async def before(self, call: ToolCall, decision: Decision, at: int) -> Decision:
        """A call is about to be made that is not denied; the decision, or a stricter one.

        `at` is the number of its step.
        """
        told = {
            "tool_name": shared_name(call.name),
            "tool_input": tool_input(call, self._reacting.workspace),
            "tool_use_id": call.id,
        }
        blocks = self._reacting.book.settings.on_failure == "deny"
        names = tool_names(call.name)
        found = await self._react("PreToolUse", told, names, at, failure_blocks=blocks)
        if found.verdict == "none":
            return decision
        return Decision(
            "deny" if found.verdict == "block" else "ask",
            f"a hook of {found.by}: {found.reason}",
            "hook PreToolUse",
            "policy",
            found.by,
        )

    def recall(self, at: int) -> None:
        """Take over what was said before the call of a step that is taken from the record."""
        self._recalled(PastMoment.of(self._steps.past, "PreToolUse", at))

    async def after(self, call: ToolCall, result: ToolResult, shown: str, at: int) -> ToolResult:
        """A call was made; the result, and what reactions have to say about it.

        `shown` is what of the result may be seen, `at` the number of its step.
        """
        told = {
            "tool_name": shared_name(call.name),
            "tool_input": tool_input(call, self._reacting.workspace),
            "tool_response": {"content": shown[:LARGEST_TEXT], "is_error": result.is_error},
            "tool_use_id": call.id,
        }
        found = await self._react("PostToolUse", told, tool_names(call.name), at)
        notes = [found.context] if found.context else []
        if found.verdict != "none":
            notes.insert(0, f"[a hook of {found.by} objects]\n{found.reason}")
        if not notes:
            return result
        return replace(result, content="\n\n".join([result.content, *notes]))

    async def ends(self, agent: str, answer: str) -> str:
        """An agent has answered; what it is to do before it may end, empty if nothing."""
        event: ReactionEvent = "SubagentStop" if self._reacting.child else "Stop"
        told = {
            "stop_hook_active": self._kept > 0,
            "last_assistant_message": answer[:LARGEST_TEXT],
            "agent_type": agent,
        }
        found = await self._now(event, told, (agent,) if self._reacting.child else ())
        if found.verdict != "block":
            return ""
        if self._kept == MOST_TIMES_KEPT:
            self._show(f"hooks kept it from ending {self._kept} times, and are not heard again")
            return ""
        self._kept += 1
        return f"[a hook of {found.by} does not let you end yet]\n{found.reason}"

    # --- one event --------------------------------------------------------------------------------

    async def _now(
        self, event: ReactionEvent, told: Mapping[str, Any], names: Sequence[str] = ()
    ) -> Heard:
        """An event between the steps of the agent."""
        return await self._react(event, told, names, self._steps.count)

    async def _react(
        self,
        event: ReactionEvent,
        told: Mapping[str, Any],
        names: Sequence[str],
        at: int,
        *,
        failure_blocks: bool = False,
    ) -> Heard:
        """Run everything that reacts, side by side, but for what is on record of it."""
        moment = PastMoment.of(self._steps.past, event, at)
        answers = self._recalled(moment)
        reactions = self._reacting.book.matching(event, names)
        fresh = [
            each for each in reactions if not moment.over and not moment.heard(*self._told(each))
        ]
        if not fresh:
            return heard(answers, failure_blocks=failure_blocks)
        common = {"hook_event_name": event, "cwd": str(self._reacting.workspace)}
        payload = json.dumps({**self._reacting.about, **common, **told}, ensure_ascii=False)
        about = {"for_step": at, "failure_blocks": failure_blocks}
        async with anyio.create_task_group() as group:
            handles = [
                group.create_task(
                    self._step(each, payload, about, moment.cut_off(*self._told(each)))
                )
                for each in fresh
            ]
        for reaction, handle in zip(fresh, handles, strict=True):
            said = handle.return_value
            answers.append((reaction, said))
            if said.verdict == "failed":
                self._show(f"the hook {event} of {reaction.source} did not work: {said.reason}")
        return heard(answers, failure_blocks=failure_blocks)

    def _told(self, reaction: Reaction) -> tuple[str, str]:
        """What the record says of who reacts: where it was read, and the command."""
        command = self._steps.recorder.redactor.text(reaction.command[:2000])
        return reaction.source, command

    def _recalled(self, moment: PastMoment) -> list[tuple[Reaction, Said]]:
        """What hooks said then, and their steps once more in the record.

        Raises:
            StoppedAsRecorded: the agent was stopped while one ran.
        """
        past, recorder, answers = self._steps.past, self._steps.recorder, []
        for step in moment.steps:
            assert past is not None
            if step.finished or past.strict:
                every = (*step.before, *step.within, *step.after)
                recorder.write(past.copies(every, recorder))
                self._steps.go_on_at(step.seq + 1)
            if step.finished:
                answers.append(answer_of(past, step))
            elif past.strict:
                raise StoppedAsRecorded(past.stop or Outcome.CANCELLED)
        return answers

    def _show(self, line: str) -> None:
        if self._reacting.show is not None:
            self._reacting.show(line)

    async def _step(
        self,
        reaction: Reaction,
        payload: str,
        when: Mapping[str, Any],
        cut_off: RecordedStep | None,
    ) -> Said:
        """Run one command, as a step of its agent; `cut_off` is where it ran without an end."""
        recorder, redactor = self._steps.recorder, self._steps.recorder.redactor
        writes = self._reacting.book.settings.write
        kind = StepKind.EFFECT if writes else StepKind.IDEMPOTENT
        if self._steps.past is not None:  # no number twice
            self._steps.go_on_at(self._steps.past.last_seq + 1)
        common: dict[str, Any] = {
            "step": self._steps.next_seq(),
            "step_kind": kind.value,
            "op": "run_hook",
            "tool": reaction.event,
            "tool_type": "hook",
        }
        source, command = self._told(reaction)
        about = {"source": source, "command": command, "own": reaction.own, **when}
        asked = {"attrs": about, "args_sha256": _sha256(redactor.text(payload))}
        call = partial(self._run, reaction, payload)
        if cut_off is not None and StepKind.EFFECT in (kind, cut_off.kind):
            call = partial(self._run_again, reaction, payload)

        def outcome(
            said: Said | None, error: BaseException | None, took_ns: int
        ) -> Sequence[Event]:
            ended: dict[str, Any] = {**common, "duration_ns": took_ns, "attrs": dict(when)}
            if said is None or error is not None:
                ended["status"] = "cancelled"
                return [recorder.event("tool.ended", ended)]
            ended["status"] = "error" if said.verdict == "failed" else "ok"
            ended["attrs"] |= {"said": said.verdict, "reason": redactor.text(said.reason[:2000])}
            ended |= recorder.keep(written_said(said, redactor), last_words=True)
            return [recorder.event("tool.ended", ended)]

        intent = [recorder.event("tool.requested", {**common, **asked})]
        return await self._steps.step(kind, intent, call, outcome)

    # --- one command ------------------------------------------------------------------------------

    async def _run_again(self, reaction: Reaction, payload: str) -> Said:
        """Run a command that may have done something already, if somebody says so."""
        again = self._reacting.again
        if again is None or not await again(reaction):
            return Said("failed", f"{UNKNOWN_OUTCOME} It was not run again.")
        return await self._run(reaction, payload)

    async def _run(self, reaction: Reaction, payload: str) -> Said:
        sandbox = self._reacting.sandbox
        if sandbox is None:
            return Said("failed", "nothing holds its programs")
        try:
            async with self._confining:  # it remembers what it saw
                made = await anyio.to_thread.run_sync(self._reacting.confining)
            confinement = held(made, self._reacting.book)
            with anyio.move_on_after(reaction.timeout_s):
                workspace = self._reacting.workspace
                return await answered(sandbox, confinement, reaction, payload, workspace)
        except SandboxError as error:
            return Said("failed", str(error))
        return Said("failed", f"it took longer than {reaction.timeout_s:g} s")


def _sha256(text: str) -> str:
    return sha256(text.encode("utf-8", "surrogatepass")).hexdigest()
