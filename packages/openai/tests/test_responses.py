"""Responses: what is sent, and what is made of answers."""

import json

import pytest
from sashizu_core.bounds import text_bound
from sashizu_core.errors import ModelError
from sashizu_core.types import Message, ModelRequest, PreviousCall, ToolCall, Usage


@pytest.fixture
async def model(server, connect):
    return await connect(server.url, api="responses")


def streamed(*pieces: bytes):
    async def handler(connection, request):
        await connection.events(*pieces)
        await connection.end()

    return handler


def whole(body, status: int = 200):
    async def handler(connection, request):
        await connection.answer(status, body)

    return handler


REASONING = {
    "type": "reasoning",
    "id": "rs-1",
    "summary": [],
    "encrypted_content": "gAAAA-sealed",
    "status": None,
}


async def test_a_request_is_stateless_and_asks_for_sealed_reasoning(
    server, model, responses, ask, tool
) -> None:
    server.serves(streamed(responses.stream("Hello.")))
    await model.complete(ask(tools=(tool,), effort="high", output_schema=tool.parameters))
    assert server.last.target == "/v1/responses"
    assert server.last.json == {
        "model": "m-1",
        "input": [
            {"type": "message", "role": "system", "content": "You are brief."},
            {"type": "message", "role": "user", "content": "Say hello."},
        ],
        "tools": [
            {
                "type": "function",
                "name": "read_file",
                "description": "Read a file.",
                "parameters": dict(tool.parameters),
                "strict": False,
            }
        ],
        "stream": True,
        "store": False,
        "max_output_tokens": 64,
        "include": ["reasoning.encrypted_content"],
        "reasoning": {"effort": "high"},
        "text": {
            "format": {
                "type": "json_schema",
                "name": "answer",
                "schema": dict(tool.parameters),
                "strict": True,
            }
        },
    }


@pytest.mark.parametrize(
    ("name", "table", "asked"),
    [
        ("gpt-4.1", {}, False),
        ("gpt-6-sol", {}, True),
        ("gpt-6-sol", {"encrypted_reasoning": False}, False),
        ("gpt-4.1", {"encrypted_reasoning": True}, True),
    ],
)
async def test_reasoning_is_only_asked_of_models_that_have_it(
    server, connect, responses, ask, name, table, asked
) -> None:
    server.serves(streamed(responses.stream("Hello.")))
    model = await connect(server.url, api="responses", model=name, **table)
    await model.complete(ask())
    assert ("include" in server.last.json) is asked


async def test_text_usage_and_identity_are_read(server, model, responses, ask) -> None:
    end = responses.end(
        responses.message("Hello."), usage=responses.counts(100, 20, cached=60, reasoning=15)
    )
    server.serves(streamed(responses.opening(), responses.text("Hel"), responses.text("lo."), end))
    pieces: list[str] = []
    answer = await model.complete(ask(), on_text=pieces.append)
    assert pieces == ["Hel", "lo."]
    assert answer.message.content == "Hello."
    assert answer.message.opaque is None
    assert answer.finish_reason == "stop"
    assert answer.usage == Usage(100, 20, cache_read_tokens=60, reasoning_tokens=15)
    assert (answer.model, answer.response_id) == ("m-1-0001", "r-1")
    assert answer.ttft_ns is not None


async def test_items_that_only_came_one_by_one_are_used(server, model, responses, ask) -> None:
    done = responses.event(
        "output_item.done", output_index=1, item=responses.function_call("a", "read_file", "{}")
    )
    first = responses.event("output_item.done", output_index=0, item=responses.message("I look."))
    server.serves(streamed(responses.opening(), done, first, responses.end()))
    answer = await model.complete(ask())
    assert answer.message.content == "I look."
    assert answer.message.tool_calls == (ToolCall("a", "read_file", "{}"),)
    assert answer.finish_reason == "tool_calls"


async def test_streamed_text_counts_where_no_item_is_repeated(
    server, model, responses, ask
) -> None:
    server.serves(streamed(responses.text("Hel"), responses.text("lo."), responses.end()))
    assert (await model.complete(ask())).message.content == "Hello."


async def test_reasoning_is_given_back_sealed_and_in_its_place(
    server, model, responses, ask, tool, connect
) -> None:
    items = (
        REASONING,
        responses.message("I look at both.", phase="commentary"),
        responses.function_call("a", "read_file", '{"path":"x"}'),
        {**REASONING, "id": "rs-2", "encrypted_content": "gAAAA-more"},
        responses.function_call("b", "read_file", '{"path":"y"}'),
    )
    server.serves(
        streamed(responses.opening(), responses.end(*items)),
        streamed(responses.stream("Done.")),
    )
    request = ask(tools=(tool,))
    spoken = (await model.complete(request)).message
    results = [Message("tool", "text", tool_call_id=call.id) for call in spoken.tool_calls]
    further = ModelRequest((*request.messages, spoken, *results), tools=(tool,))
    json.dumps(spoken.opaque)  # a conversation is stored as JSON
    await model.complete(further)
    sealed = {key: value for key, value in REASONING.items() if value is not None}
    assert server.last.json["input"][2:] == [
        sealed,
        {
            "type": "message",
            "role": "assistant",
            "status": "completed",
            "content": [{"type": "output_text", "text": "I look at both.", "annotations": []}],
            "id": "msg-1",
            "phase": "commentary",
        },
        {
            "type": "function_call",
            "call_id": "a",
            "name": "read_file",
            "arguments": '{"path":"x"}',
            "id": "fc-a",
        },
        {**sealed, "id": "rs-2", "encrypted_content": "gAAAA-more"},
        {
            "type": "function_call",
            "call_id": "b",
            "name": "read_file",
            "arguments": '{"path":"y"}',
            "id": "fc-b",
        },
        {"type": "function_call_output", "call_id": "a", "output": "text"},
        {"type": "function_call_output", "call_id": "b", "output": "text"},
    ]
    other = await connect(server.url, api="responses", model="m-2")
    await other.complete(further)
    assert b"gAAAA" not in server.last.body, "nobody else can open it"
    assert [item["type"] for item in server.last.json["input"][2:]] == [
        "message",
        "function_call",
        "function_call",
        "function_call_output",
        "function_call_output",
    ]


async def test_reasoning_that_nobody_stored_is_not_referred_to(
    server, model, responses, ask
) -> None:
    bare = {"type": "reasoning", "id": "rs-1", "summary": [], "encrypted_content": None}
    server.serves(streamed(responses.end(bare, responses.message("Hello."))))
    assert (await model.complete(ask())).message.opaque is None


async def test_text_is_not_kept_twice(server, model, responses, ask) -> None:
    said = "A long answer. " * 100
    server.serves(streamed(responses.end(REASONING, responses.message(said))))
    message = (await model.complete(ask())).message
    assert "A long answer" not in json.dumps(message.opaque)


async def test_half_a_tool_call_is_never_handed_on(server, model, responses, ask, tool) -> None:
    half = {**responses.function_call("b", "read_file", '{"path": "/et'), "status": "incomplete"}
    end = responses.end(
        REASONING,
        responses.message("I will"),
        responses.function_call("a", "read_file", '{"path": "x"}'),
        half,
        status="incomplete",
        incomplete_details={"reason": "max_output_tokens"},
        usage=responses.counts(10, 64),
    )
    server.serves(streamed(responses.opening(), end))
    answer = await model.complete(ask(tools=(tool,)))
    assert answer.finish_reason == "length"
    assert answer.message.tool_calls == ()
    assert answer.message.content == "I will"
    assert answer.message.opaque is None
    assert answer.usage == Usage(10, 64)


async def test_a_filtered_answer_says_so(server, model, responses, ask) -> None:
    end = responses.end(
        responses.message("I"), status="incomplete", incomplete_details={"reason": "content_filter"}
    )
    server.serves(streamed(end))
    assert (await model.complete(ask())).finish_reason == "content_filter"


async def test_duplicate_call_ids_are_replaced(server, model, responses, ask, tool) -> None:
    call = responses.function_call("a", "read_file", "{}")
    server.serves(streamed(responses.end(call, call)))
    calls = (await model.complete(ask(tools=(tool,)))).message.tool_calls
    assert len({call.id for call in calls}) == 2


async def test_a_failed_response_carries_its_usage(server, model, responses, ask) -> None:
    failed = responses.end(
        status="failed",
        error={"code": "rate_limit_exceeded", "message": "Please try again in 11.054s."},
        usage=responses.counts(100, 7),
    )
    server.serves(streamed(responses.opening(), failed))
    with pytest.raises(ModelError) as caught:
        await model.complete(ask())
    failure = caught.value
    assert (failure.fault, failure.sent) == ("rate_limited", True)
    assert failure.retry_after_s == pytest.approx(11.054)
    assert failure.usage == Usage(100, 7)


async def test_a_refusal_is_text(server, model, responses, ask) -> None:
    item = {"type": "message", "content": [{"type": "refusal", "refusal": "I cannot."}]}
    server.serves(
        streamed(responses.event("refusal.delta", delta="I cannot."), responses.end(item))
    )
    pieces: list[str] = []
    assert (await model.complete(ask(), on_text=pieces.append)).message.content == "I cannot."
    assert pieces == ["I cannot."]


async def test_a_service_that_does_not_stream_is_understood(server, model, responses, ask) -> None:
    body = {
        "id": "r",
        "status": "completed",
        "error": None,
        "output": [responses.message("Hello.")],
        "usage": responses.counts(7, 3),
    }
    server.serves(whole(body))
    answer = await model.complete(ask())
    assert (answer.message.content, answer.usage) == ("Hello.", Usage(7, 3))


async def test_an_unreadable_item_breaks_the_protocol(server, model, responses, ask) -> None:
    server.serves(streamed(responses.end({"type": "function_call", "arguments": "{}"})))
    with pytest.raises(ModelError) as caught:
        await model.complete(ask())
    assert (caught.value.fault, caught.value.sent) == ("protocol", True)


async def test_a_model_may_think_in_silence_for_longer_than_it_may_be_idle(
    server, connect, responses, ask
) -> None:
    import anyio

    added = responses.event("output_item.added", output_index=0, item={"type": "reasoning"})
    done = responses.event("output_item.done", output_index=0, item=REASONING)

    def handler(*, ends: bool):
        async def serve(connection, request):
            await connection.events(responses.opening(), added)
            await anyio.sleep(0.4)
            await connection.events(done)
            if not ends:
                await connection.gone()
            await connection.events(responses.stream("Hello."))
            await connection.end()

        return serve

    model = await connect(
        server.url,
        api="responses",
        first_event_timeout="0.3s",
        idle_timeout="0.2s",
        reasoning_timeout="5s",
    )
    server.serves(handler(ends=True))
    assert (await model.complete(ask())).message.content == "Hello."
    server.serves(handler(ends=False))
    with pytest.raises(ModelError) as caught:
        await model.complete(ask())
    assert caught.value.fault == "timeout", "once it has thought, silence is silence"


async def test_input_is_counted_by_the_provider(server, connect, ask, tool) -> None:
    server.serves(whole({"object": "response.input_tokens", "input_tokens": 321}))
    model = await connect(server.url, api="responses", count=True)
    assert await model.count(ask(tools=(tool,), effort="low")) == 321
    assert server.last.target == "/v1/responses/input_tokens"
    assert server.last.json.keys() == {"model", "input", "tools", "reasoning"}


@pytest.mark.parametrize(
    ("body", "status"),
    [({"error": {"message": "?"}}, 404), ({}, 200), (b"<p>", 200), ({"input_tokens": "3"}, 200)],
)
async def test_a_provider_that_cannot_count_says_nothing(
    server, connect, ask, body, status
) -> None:
    server.serves(whole(body, status))
    model = await connect(server.url, api="responses", count=True)
    assert await model.count(ask()) is None


async def test_other_services_are_not_asked_to_count(server, model, ask) -> None:
    assert await model.count(ask()) is None
    assert not server.requests


async def test_the_next_call_is_bounded_by_the_bill_of_the_last(
    server, model, responses, ask
) -> None:
    server.serves(streamed(responses.stream("Hello.", read=30, written=5)))
    request = ask()
    first = model.bound(request)
    assert first.input_tokens >= 1024
    assert first.output_tokens == 64
    answer = await model.complete(request)
    assert answer.usage is not None
    more = Message("user", "And now?")
    further = ModelRequest(
        (*request.messages, answer.message, more),
        max_output_tokens=64,
        previous=PreviousCall(request.messages, (), None, None, answer.usage),
    )
    bound = model.bound(further)
    assert bound.rule == "previous call + text added"
    assert bound.input_tokens <= 1024 + 30 + text_bound("Hello.And now?") + 2 * 16
