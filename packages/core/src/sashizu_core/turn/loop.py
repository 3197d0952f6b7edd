"""One agent at work: ask the model, run the tools it calls, repeat until it has answered."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from sashizu_core.bounds import MOST_BYTES_PER_CHARACTER, text_bound
from sashizu_core.errors import BudgetRefused, ModelError
from sashizu_core.prompt import aside
from sashizu_core.turn.answer import Answer, answer_schema, read_answer
from sashizu_core.turn.degrading import LAST_NOTE, NOTE_BYTES, Degradation
from sashizu_core.turn.inference import Inference
from sashizu_core.turn.tool_results import cut_results
from sashizu_core.turn.toolcalls import ToolBox
from sashizu_core.types import (
    Completion,
    Message,
    ModelRequest,
    Outcome,
    PreviousCall,
)

__all__ = ["DEFAULT_MAX_TURNS", "AgentLoop", "Ending"]

DEFAULT_MAX_TURNS = 50
"""How many answers of the model one task may take."""

LAST_ANSWER = 4
"""The most of the last short answer, in times the least output that is worth a call."""

_REPAIRS = 2
"""How often an answer that does not fit its schema is sent back."""


@dataclass(frozen=True, slots=True)
class Ending:
    """How the loop ended. `error` is for a person, empty when the agent answered."""

    outcome: Outcome
    answer: Answer
    error: str = ""


@dataclass(slots=True)
class AgentLoop:
    """The loop of one agent instance.

    `messages` is the conversation so far and grows; `partial` is the last text of the model, which
    is what remains of an agent that was stopped. `tokens_left` gives the tokens that can still be
    reserved, None without a limit. `accept` says what is wrong with an answer, in words for the
    model, or nothing; like one that does not fit its schema it is sent back. `degradation` is what
    is done before a budget ends.
    """

    inference: Inference
    tools: ToolBox
    messages: list[Message]
    criteria: Sequence[str] = ()
    output: Mapping[str, Any] | None = None
    max_turns: int = DEFAULT_MAX_TURNS
    max_output_tokens: int | None = None
    degradation: Degradation | None = None
    tokens_left: Callable[[], int | None] = lambda: None
    on_text: Callable[[str], None] | None = None
    accept: Callable[[str], str] | None = None
    partial: str = ""
    turns: int = 0
    _previous: PreviousCall | None = field(default=None, init=False)
    _repairs: int = field(default=0, init=False)
    _cut_before: bool = field(default=False, init=False)

    async def run(self) -> Ending:
        """Work until there is an answer, or a reason why there is none."""
        try:
            while self.turns < self.max_turns:
                self.turns += 1
                completion = await self._ask()
                if (ending := await self._digest(completion)) is not None:
                    return ending
        except BudgetRefused as error:
            await self._last_words(error)
            return self.stopped(Outcome.BUDGET, str(error))
        except ModelError as error:
            return self.stopped(Outcome.MODEL_FAILED, f"{error.fault}: {error}")
        return self.stopped(
            Outcome.TURN_LIMIT, f"no final answer within {self.max_turns} answers of the model"
        )

    def stopped(self, outcome: Outcome, error: str) -> Ending:
        """The ending of an agent that was stopped: what it said last, and why."""
        return Ending(outcome, read_answer(self.partial, self.criteria), error)

    # --- asking -----------------------------------------------------------------------------------

    async def _ask(self) -> Completion:
        before, compacted = self._before_asking(), False
        while True:
            try:
                completion = await self._complete()
            except BudgetRefused:
                if self.degradation is None or not self.degradation.returns():
                    raise
                self._previous = before
            except ModelError as error:
                if error.fault == "context_too_long" and not compacted and self._compact():
                    compacted = True
                elif self.degradation is None or not self.degradation.replaces(error):
                    raise
                self._previous = None
            else:
                if self.degradation is not None:
                    self.degradation.proved()
                return completion

    def _before_asking(self) -> PreviousCall | None:
        """Change to another model, or tell the agent to wrap up, where its budget runs low.

        Returns the call that the agent's own model can go on from.
        """
        before, degradation = self._previous, self.degradation
        if degradation is not None:
            if degradation.goes_on_for_less():
                self._previous = None
            if (note := degradation.note(self._request())) is not None:
                self.messages.append(note)
        return before

    def _request(self) -> ModelRequest:
        return ModelRequest(
            messages=tuple(self.messages),
            tools=self.tools.schemas,
            max_output_tokens=self.max_output_tokens,
            effort=self.degradation.effort if self.degradation is not None else None,
            output_schema=answer_schema(self.output, self.criteria),
            previous=self._previous,
        )

    async def _complete(self) -> Completion:
        request = self._request()
        completion = await self.inference.complete(request, on_text=self.on_text)
        self._previous = (
            PreviousCall(
                request.messages,
                request.tools,
                request.output_schema,
                request.effort,
                completion.usage,
            )
            if completion.usage is not None and self._same_model()
            else None
        )
        if completion.message.content:
            self.partial = completion.message.content
        return completion

    def _same_model(self) -> bool:
        """Whether who is asked next answered last, so that its bill tells of the next one."""
        return self.inference.answered_by == self.inference.model.info.name

    def _compact(self) -> bool:
        """Replace the older half of the tool results by notes; False if there are none left."""
        full = [
            index
            for index, message in enumerate(self.messages)
            if message.role == "tool" and len(message.content) > 200
        ]
        for index in full[: (len(full) + 1) // 2]:
            old = self.messages[index]
            note = f"[a result of {len(old.content)} characters was dropped to save space]"
            self.messages[index] = Message("tool", note, tool_call_id=old.tool_call_id)
        self._previous = None
        return bool(full)

    async def _last_words(self, refused: BudgetRefused) -> None:
        """Ask for one short answer, where cutting what tools said makes room for it.

        It is held like every call: where it does not fit, it is not made.
        """
        if self.degradation is None or not self.degradation.warns or refused.closed:
            return
        if refused.unit not in ("tokens", "nusd") or not self._cut_all_results():
            return
        info = self.inference.model.info
        self.max_output_tokens = LAST_ANSWER * info.min_output_tokens
        self.messages.append(aside(LAST_NOTE))
        try:
            completion = await self._complete()
        except (BudgetRefused, ModelError):
            return
        if completion.message.content:  # what it calls is not run any more
            self.messages.append(Message("assistant", completion.message.content))

    def _cut_all_results(self) -> bool:
        """Cut what tools said to what the budget has room for; False if they said nothing."""
        places = [i for i, message in enumerate(self.messages) if message.role == "tool"]
        results = [self.messages[i] for i in places]
        for i, note in zip(places, cut_results(results, 0), strict=True):
            self.messages[i] = note
        self._previous = None
        bound = self.inference.model.bound(self._request())
        taken = bound.input_tokens + LAST_ANSWER * self.inference.model.info.min_output_tokens
        room = (self.tokens_left() or 0) - taken - NOTE_BYTES
        if room > 0:
            for i, result in zip(places, cut_results(results, room), strict=True):
                self.messages[i] = result
        return bool(places)

    # --- digesting --------------------------------------------------------------------------------

    async def _digest(self, completion: Completion) -> Ending | None:
        """Act on an answer; None means that the model is to be asked again."""
        message = completion.message
        if completion.finish_reason == "length":
            return self._cut_off(message)
        if completion.finish_reason == "content_filter":
            return self.stopped(
                Outcome.MODEL_FAILED, "content_filter: the provider refused to answer"
            )
        self.messages.append(message)
        if not message.tool_calls:
            return self._final(message)
        results = await self.tools.run(message.tool_calls)
        self.messages += self._fitted(completion, results)
        return None

    def _fitted(self, completion: Completion, results: Sequence[Message]) -> list[Message]:
        """Cut results that would make the next hold not fit."""
        left = self.tokens_left()
        if left is None:
            return list(results)
        usage, calls = completion.usage, completion.message.tool_calls
        taken = usage.input_tokens + usage.reasoning_tokens if usage is not None else 0
        taken += 32 * (len(results) + 1) + 64 * len(calls)
        taken += 2 * self.inference.model.info.min_output_tokens
        if self.degradation is not None and self.degradation.warns and not self.degradation.told:
            taken += NOTE_BYTES
        texts = [completion.message.content, *[call.arguments for call in calls]]
        characters = sum(map(len, texts)) + sum(len(result.content) for result in results)
        if taken + MOST_BYTES_PER_CHARACTER * characters <= left:
            return list(results)
        return cut_results(results, max(0, left - taken - sum(map(text_bound, texts))))

    def _cut_off(self, message: Message) -> Ending | None:
        """An answer that ran into its cap: half a tool call is never run."""
        if self._cut_before:
            return self.stopped(Outcome.TRUNCATED, "the answer was cut at the output cap twice")
        self._cut_before = True
        if self.max_output_tokens is not None:
            self.max_output_tokens *= 2
        if message.content:
            self.messages.append(Message("assistant", message.content))
        self.messages.append(
            Message(
                "user", "Your answer was cut off at the output cap. Be briefer and complete it."
            )
        )
        return None

    def _final(self, message: Message) -> Ending | None:
        answer = read_answer(message.content, self.criteria, self.output)
        problem = answer.problem
        if not problem and self.accept is not None:
            problem = self.accept(answer.text)
        if not problem:
            return Ending(Outcome.ANSWERED, answer)
        if self._repairs == _REPAIRS:
            return Ending(Outcome.FAILED, answer, problem)
        self._repairs += 1
        self.messages.append(Message("user", f"{problem}. Answer again."))
        return None
