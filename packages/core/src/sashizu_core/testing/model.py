"""What every model has to do, as tests to inherit."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator

import anyio
import anyio.lowlevel
import pytest

from sashizu_core.errors import ModelError
from sashizu_core.protocols import Model
from sashizu_core.specs import ModelSpec
from sashizu_core.testing.contract import Contract
from sashizu_core.types import Message, ModelRequest, PreviousCall, ToolSchema

__all__ = ["ModelContract"]

PROMPT_S = 1.0
"""Seconds in which a cancelled call has to end."""

CALL_S = 60.0
"""Seconds that a call of a test may take."""


@pytest.mark.anyio
class ModelContract(Contract):
    """Inherit it and give the fixture `spec`, or `model` where there is no spec.

    ```python
    class TestEcho(ModelContract):
        @pytest.fixture
        def spec(self):
            return echo_model()
    ```

    Say what the model cannot do with the attributes; the tests of that are then skipped.

    Attributes:
        full_name: what `spec` is opened with; the spec's own name if empty.
        streaming: whether text comes piece by piece.
        tools: whether the model calls the tool `read_file` when `tool_prompt` asks for it.
        reports_usage: whether completions say what was used.
        prompt: a question that the model answers with text.
        tool_prompt: a question that makes the model call the tool.
        small_cap: an output cap, in tokens, which the answer to `prompt` would exceed.
    """

    full_name = ""
    streaming = True
    tools = True
    reports_usage = True
    prompt = "Count from one to one hundred, in words."
    tool_prompt = "Call the tool read_file with the path README.md, and do nothing else."
    small_cap = 16

    @pytest.fixture
    def spec(self) -> ModelSpec | None:
        """The spec of the model under test."""
        return None

    @pytest.fixture
    async def model(self, spec: ModelSpec | None) -> AsyncIterator[Model]:
        """The model under test, open."""
        assert spec is not None, "override the fixture `spec` or `model`"
        async with spec.open(self.full_name or spec.name) as model:
            yield model

    @pytest.fixture
    def failing(self) -> Model | None:
        """A model of the same kind whose service fails; None if it has none that could."""
        return None

    async def test_it_answers(self, model: Model) -> None:
        with anyio.fail_after(CALL_S):
            answer = await model.complete(self._request())
        assert answer.message.role == "assistant"
        assert answer.message.content
        assert answer.finish_reason == "stop"
        assert not answer.message.tool_calls

    async def test_it_says_who_it_is(self, model: Model) -> None:
        assert model.info.name
        assert model.info.provider

    async def test_it_has_the_name_that_it_was_asked_for_by(
        self, model: Model, spec: ModelSpec | None
    ) -> None:
        if spec is None:
            pytest.skip("the model has no spec")
        assert model.info.name == (self.full_name or spec.name)
        assert spec.summary
        assert "\n" not in spec.summary

    async def test_it_reports_what_was_used(self, model: Model) -> None:
        if not self.reports_usage:
            pytest.skip("the model does not report usage")
        with anyio.fail_after(CALL_S):
            usage = (await model.complete(self._request())).usage
        assert usage is not None
        assert usage.requests == 1
        assert usage.cache_read_tokens + usage.cache_write_tokens <= usage.input_tokens
        assert usage.reasoning_tokens <= usage.output_tokens
        if model.info.bills_tokens:
            assert usage.input_tokens > 0
            assert usage.output_tokens > 0

    async def test_no_call_uses_more_than_its_bound(self, model: Model) -> None:
        messages: tuple[Message, ...] = (
            Message("system", "You answer briefly. \u3042\ufb01\u0301 {}[]\"'\\ \t\n" * 5),
            Message("user", self.prompt),
        )
        previous = None
        for _ in range(3):
            request = ModelRequest(messages, max_output_tokens=256, previous=previous)
            bound = model.bound(request)
            with anyio.fail_after(CALL_S):
                answer = await model.complete(request)
            usage = answer.usage
            if usage is not None:
                assert usage.input_tokens <= bound.input_tokens
                assert usage.output_tokens <= bound.output_tokens
                previous = PreviousCall(messages, (), None, None, usage)
                model.learn(bound, usage)
            messages = (*messages, answer.message, Message("user", "And again, please."))

    async def test_the_bound_names_the_cap_that_is_asked_for(self, model: Model) -> None:
        bound = model.bound(self._request(max_output_tokens=self.small_cap))
        assert bound.output_tokens <= self.small_cap
        assert bound.rule
        assert model.bound(self._request()).output_tokens > 0

    async def test_a_bill_above_the_bound_raises_later_bounds(self, model: Model) -> None:
        if model.info.context_window is not None or not model.info.bills_tokens:
            pytest.skip("the context window bounds every call, or nothing is billed")
        request = self._request()
        bound = model.bound(request)
        with anyio.fail_after(CALL_S):
            usage = (await model.complete(request)).usage
        if usage is None:
            pytest.skip("the model does not report usage")
        excess = type(bound)(usage.input_tokens - 1, bound.output_tokens, bound.rule)
        model.learn(excess, usage)
        assert model.bound(request).input_tokens > bound.input_tokens

    async def test_the_output_cap_is_kept(self, model: Model) -> None:
        with anyio.fail_after(CALL_S):
            answer = await model.complete(self._request(max_output_tokens=self.small_cap))
        assert answer.finish_reason == "length"
        assert not answer.message.tool_calls
        if answer.usage is not None:
            assert answer.usage.output_tokens <= self.small_cap

    async def test_text_is_streamed_as_it_comes(self, model: Model) -> None:
        if not self.streaming:
            pytest.skip("the model does not stream")
        pieces: list[str] = []
        with anyio.fail_after(CALL_S):
            answer = await model.complete(self._request(), on_text=pieces.append)
        assert "".join(pieces) == answer.message.content
        assert all(pieces)

    async def test_it_calls_a_tool(self, model: Model) -> None:
        if not self.tools:
            pytest.skip("the model calls no tools")
        with anyio.fail_after(CALL_S):
            answer = await model.complete(self._request(self.tool_prompt, tools=(READ_FILE,)))
        calls = answer.message.tool_calls
        assert answer.finish_reason == "tool_calls"
        assert calls
        assert {call.name for call in calls} == {READ_FILE.name}
        assert len({call.id for call in calls}) == len(calls)
        assert all(call.id and "path" in json.loads(call.arguments) for call in calls)

    async def test_it_goes_on_after_a_tools_result(self, model: Model) -> None:
        if not self.tools:
            pytest.skip("the model calls no tools")
        request = self._request(self.tool_prompt, tools=(READ_FILE,))
        with anyio.fail_after(2 * CALL_S):
            asked = (await model.complete(request)).message
            results = (
                Message("tool", "# A project", tool_call_id=call.id) for call in asked.tool_calls
            )
            told = ModelRequest(
                (*request.messages, asked, *results),
                tools=request.tools,
                max_output_tokens=request.max_output_tokens,
            )
            answer = await model.complete(told)
        assert answer.message.content or answer.message.tool_calls

    async def test_a_cancelled_call_ends_at_once(self, model: Model) -> None:
        started = anyio.current_time()
        with anyio.CancelScope() as scope:
            scope.cancel()
            await model.complete(self._request())
            await anyio.lowlevel.checkpoint()
        assert scope.cancelled_caught
        assert anyio.current_time() - started < PROMPT_S

    async def test_a_call_cancelled_in_the_middle_ends_at_once(self, model: Model) -> None:
        if not self.streaming:
            pytest.skip("the model does not stream")
        heard: list[float] = []
        with anyio.CancelScope() as scope:

            def cancel(_text: str) -> None:
                heard.append(anyio.current_time())
                scope.cancel()

            await model.complete(self._request(), on_text=cancel)
            await anyio.lowlevel.checkpoint()
        assert scope.cancelled_caught
        assert anyio.current_time() - heard[0] < PROMPT_S

    async def test_it_serves_several_calls_at_once(self, model: Model) -> None:
        answers: list[str] = []

        async def call() -> None:
            answers.append((await model.complete(self._request())).message.content)

        with anyio.fail_after(CALL_S):
            async with anyio.create_task_group() as tasks:
                for _ in range(4):
                    tasks.start_soon(call)
        assert len(answers) == 4
        assert all(answers)

    async def test_what_the_provider_counts_is_within_the_bound(self, model: Model) -> None:
        request = self._request()
        with anyio.fail_after(CALL_S):
            counted = await model.count(request)
        if counted is None:
            pytest.skip("the provider does not count")
        assert 0 <= counted <= model.bound(request).input_tokens

    async def test_failures_become_model_errors(self, failing: Model | None) -> None:
        if failing is None:
            pytest.skip("no failing model is given: override the fixture `failing`")
        with anyio.fail_after(CALL_S), pytest.raises(ModelError) as caught:
            await failing.complete(self._request())
        assert str(caught.value)
        assert caught.value.fault

    def _request(
        self,
        text: str | None = None,
        *,
        tools: tuple[ToolSchema, ...] = (),
        max_output_tokens: int = 2048,
    ) -> ModelRequest:
        messages = (
            Message("system", "You do what you are asked."),
            Message("user", text or self.prompt),
        )
        return ModelRequest(messages, tools=tools, max_output_tokens=max_output_tokens)


READ_FILE = ToolSchema(
    "read_file",
    "Read a text file of the workspace.",
    {
        "type": "object",
        "properties": {"path": {"type": "string", "description": "relative to the workspace"}},
        "required": ["path"],
        "additionalProperties": False,
    },
)
