from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest
from sashizu_core.errors import ModelError
from sashizu_core.grants import Subject
from sashizu_core.ids import new_agent_id, new_run_id
from sashizu_core.testing.fakes import MemorySink, Script, ScriptedModel, call
from sashizu_core.turn.attempts import ProviderGate
from sashizu_core.turn.inference import Inference
from sashizu_core.turn.loop import AgentLoop
from sashizu_core.turn.record import Recorder
from sashizu_core.turn.steps import StepContext
from sashizu_core.turn.toolcalls import ToolBox
from sashizu_core.types import Completion, Message, ModelRequest, Outcome, Usage


@pytest.fixture
def sink() -> MemorySink:
    return MemorySink()


@pytest.fixture
def loop(sink: MemorySink) -> Callable[..., AgentLoop]:
    """A loop without tools: every tool call is answered with an error."""

    def make(script: Script, **options: Any) -> AgentLoop:
        steps = StepContext(Recorder([sink], {}), new_run_id(), new_agent_id())
        inference = Inference(ScriptedModel(script), steps, ProviderGate(), None)
        tools = ToolBox({}, Subject("id", "agent", ()), None, steps)  # type: ignore[arg-type]
        return AgentLoop(inference, tools, [Message("user", "go")], **options)

    return make


async def test_an_answer_without_tool_calls_is_final(loop: Callable[..., AgentLoop]) -> None:
    ending = await loop(["done"]).run()
    assert (ending.outcome, ending.answer.text, ending.error) == (Outcome.ANSWERED, "done", "")


async def test_tool_results_go_back_to_the_model(loop: Callable[..., AgentLoop]) -> None:
    agent = loop([[call("x")], "done"])
    assert (await agent.run()).outcome is Outcome.ANSWERED
    assert [message.role for message in agent.messages] == [
        "user",
        "assistant",
        "tool",
        "assistant",
    ]


async def test_an_agent_that_never_answers_meets_the_turn_limit(
    loop: Callable[..., AgentLoop],
) -> None:
    ending = await loop(lambda _: [call("x")], max_turns=3).run()
    assert ending.outcome is Outcome.TURN_LIMIT
    assert "3" in ending.error


async def test_a_final_fault_of_the_model_ends_the_agent_with_its_kind(
    loop: Callable[..., AgentLoop],
) -> None:
    ending = await loop([ModelError("no such key", fault="auth", status=401)]).run()
    assert ending.outcome is Outcome.MODEL_FAILED
    assert ending.error == "auth: no such key"


async def test_a_bug_in_an_adapter_ends_the_agent_and_is_named(
    loop: Callable[..., AgentLoop],
) -> None:
    ending = await loop([KeyError("choices")]).run()
    assert ending.outcome is Outcome.MODEL_FAILED
    assert "KeyError" in ending.error


async def test_half_a_tool_call_is_never_run_and_the_model_is_asked_once_more(
    loop: Callable[..., AgentLoop], sink: MemorySink
) -> None:
    half = Completion(
        Message("assistant", "let me", (call("x"),)), Usage(1, 1), "length", "scripted"
    )
    agent = loop([half, "done"], max_output_tokens=100)
    ending = await agent.run()
    assert ending.outcome is Outcome.ANSWERED
    assert "tool.requested" not in sink.kinds()
    assert agent.max_output_tokens == 200


async def test_an_answer_cut_twice_ends_with_what_there_is(loop: Callable[..., AgentLoop]) -> None:
    cut = Completion(Message("assistant", "some of it"), Usage(1, 1), "length", "scripted")
    ending = await loop(lambda _: cut).run()
    assert ending.outcome is Outcome.TRUNCATED
    assert ending.answer.text == "some of it"


async def test_a_conversation_too_long_is_compacted_and_tried_once_more(
    loop: Callable[..., AgentLoop],
) -> None:
    def script(request: ModelRequest) -> Any:
        if any(len(m.content) > 1000 for m in request.messages):
            raise ModelError("too long", fault="context_too_long", status=400)
        return "done"

    agent = loop(script)
    agent.messages += [
        Message("assistant", "", (call("x", "1"),)),
        Message("tool", "x" * 5000, tool_call_id="1"),
    ]
    assert (await agent.run()).outcome is Outcome.ANSWERED
    assert "5000 characters" in agent.messages[2].content


async def test_a_structured_answer_is_asked_for_again_until_it_fits(
    loop: Callable[..., AgentLoop],
) -> None:
    schema = {"type": "object", "required": ["n"]}
    agent = loop(["{}", '{"n": 1}'], output=schema)
    assert (await agent.run()).answer.text == '{"n": 1}'
    never = loop(lambda _: "{}", output=schema)
    ending = await never.run()
    assert ending.outcome is Outcome.FAILED
    assert "'n' is a required property" in ending.error


async def test_usage_is_summed_over_all_calls(loop: Callable[..., AgentLoop]) -> None:
    agent = loop([[call("x")], "done"])
    await agent.run()
    assert agent.inference.used.requests == 2
    assert agent.inference.used.output_tokens == len("{}") + len("done")


async def test_a_second_request_builds_on_the_bill_of_the_first(
    loop: Callable[..., AgentLoop],
) -> None:
    agent = loop([[call("x")], "done"])
    await agent.run()
    model = agent.inference.model
    assert isinstance(model, ScriptedModel)
    second = model.requests[1]
    assert second.previous is not None
    assert model.bound(second).rule == "previous call + text added"
    assert model.bound(replace(second, effort="high")).rule == "text of everything"
