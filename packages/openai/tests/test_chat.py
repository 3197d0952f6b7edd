"""Chat Completions: what is sent, and what is made of answers."""

import json

import pytest
from sashizu_core.errors import ModelError
from sashizu_core.types import Message, ModelRequest, ToolCall, ToolSchema, Usage


def streamed(*pieces: bytes, done: bool = True):
    async def handler(connection, request):
        await connection.events(*pieces, *[b"data: [DONE]\n\n"] * done)
        await connection.end()

    return handler


def whole(body):
    async def handler(connection, request):
        await connection.answer(200, body)

    return handler


async def test_a_request_says_everything_once(server, connect, chat, ask, tool) -> None:
    server.serves(streamed(chat.stream("Hello.")))
    model = await connect(server.url)
    schema = {"type": "object", "properties": {"n": {"type": "integer"}}}
    await model.complete(ask(tools=(tool,), effort="low", output_schema=schema))
    assert server.last.target == "/v1/chat/completions"
    assert server.last.json == {
        "model": "m-1",
        "messages": [
            {"role": "system", "content": "You are brief."},
            {"role": "user", "content": "Say hello."},
        ],
        "tools": [
            {
                "type": "function",
                "function": {
                    "name": "read_file",
                    "description": "Read a file.",
                    "parameters": dict(tool.parameters),
                },
            }
        ],
        "stream": True,
        "stream_options": {"include_usage": True},
        "max_tokens": 64,
        "reasoning_effort": "low",
        "response_format": {
            "type": "json_schema",
            "json_schema": {"name": "answer", "schema": schema, "strict": False},
        },
    }


async def test_what_was_not_asked_for_is_not_sent(server, connect, chat, ask) -> None:
    server.serves(streamed(chat.stream("Hello.")))
    model = await connect(server.url)
    await model.complete(ask(max_output_tokens=None))
    assert server.last.json.keys() == {
        "model",
        "messages",
        "stream",
        "stream_options",
        "max_tokens",
    }
    assert server.last.json["max_tokens"] == 8192


async def test_the_output_cap_goes_under_the_endpoints_name(server, connect, chat, ask) -> None:
    server.serves(streamed(chat.stream("Hello.")))
    model = await connect(server.url, output_cap_name="max_completion_tokens", max_output_tokens=32)
    await model.complete(ask(max_output_tokens=64))
    assert server.last.json["max_completion_tokens"] == 32
    assert "max_tokens" not in server.last.json


async def test_a_strict_schema_is_sent_as_strict(server, connect, chat, ask, tool) -> None:
    server.serves(streamed(chat.stream("{}")))
    model = await connect(server.url)
    await model.complete(ask(output_schema=tool.parameters))
    assert server.last.json["response_format"]["json_schema"]["strict"] is True


async def test_a_conversation_with_tools_is_sent_back(server, connect, chat, tool) -> None:
    server.serves(streamed(chat.stream("Done.")))
    model = await connect(server.url)
    calls = (ToolCall("a", "read_file", '{"path": "x"}'), ToolCall("b", "read_file", "{}"))
    messages = (
        Message("system", "Brief.", opaque={"sashizu": '{"goal": "secret brief"}'}),
        Message("user", "Read."),
        Message("assistant", "", calls),
        Message("tool", "content of x", tool_call_id="a"),
        Message("tool", "no such file", tool_call_id="b", is_error=True),
    )
    await model.complete(ModelRequest(messages, tools=(tool,), max_output_tokens=64))
    assert server.last.json["messages"][2:] == [
        {
            "role": "assistant",
            "content": "",
            "tool_calls": [
                {
                    "id": call.id,
                    "type": "function",
                    "function": {"name": call.name, "arguments": call.arguments},
                }
                for call in calls
            ],
        },
        {"role": "tool", "content": "content of x", "tool_call_id": "a"},
        {"role": "tool", "content": "no such file", "tool_call_id": "b"},
    ]
    assert b"secret brief" not in server.last.body


async def test_text_usage_and_identity_are_read(server, connect, chat, ask) -> None:
    server.serves(
        streamed(
            chat.opening(),
            chat.text("Hel"),
            chat.text("lo."),
            chat.finish("stop"),
            chat.usage(100, 20, cached=60, reasoning=15),
        )
    )
    model = await connect(server.url)
    pieces: list[str] = []
    answer = await model.complete(ask(), on_text=pieces.append)
    assert pieces == ["Hel", "lo."]
    assert answer.message.content == "Hello."
    assert answer.finish_reason == "stop"
    assert answer.usage == Usage(100, 20, cache_read_tokens=60, reasoning_tokens=15)
    assert (answer.model, answer.response_id) == ("m-1-0001", "c-1")
    assert answer.ttft_ns is not None
    assert answer.ttft_ns > 0


async def test_parallel_tool_calls_are_put_together(server, connect, chat, ask, tool) -> None:
    server.serves(
        streamed(
            chat.call(0, "a", "read_file", '{"pa', 'th": "x"}'),
            chat.call(1, "b", "read_file", '{"path": "y"}'),
            chat.finish("tool_calls"),
        )
    )
    answer = await (await connect(server.url)).complete(ask(tools=(tool,)))
    assert answer.finish_reason == "tool_calls"
    assert answer.message.tool_calls == (
        ToolCall("a", "read_file", '{"path": "x"}'),
        ToolCall("b", "read_file", '{"path": "y"}'),
    )


async def test_half_a_tool_call_is_never_handed_on(server, connect, chat, ask, tool) -> None:
    server.serves(
        streamed(
            chat.text("I will"),
            chat.call(0, "a", "read_file", '{"path": "x"}'),
            chat.call(1, "b", "read_file", '{"path": "/et'),
            chat.finish("length"),
            chat.usage(10, 64),
        )
    )
    answer = await (await connect(server.url)).complete(ask(tools=(tool,)))
    assert answer.finish_reason == "length"
    assert answer.message.tool_calls == ()
    assert answer.message.content == "I will"
    assert answer.usage == Usage(10, 64)


async def test_duplicate_and_missing_call_ids_are_replaced(
    server, connect, chat, ask, tool
) -> None:
    server.serves(
        streamed(
            chat.call(0, "a", "read_file", '{"path": "x"}'),
            chat.call(1, "a", "read_file", '{"path": "y"}'),
            chat.call(2, "", "read_file", '{"path": "z"}'),
            chat.finish("tool_calls"),
        )
    )
    answer = await (await connect(server.url)).complete(ask(tools=(tool,)))
    calls = answer.message.tool_calls
    assert [json.loads(call.arguments)["path"] for call in calls] == ["x", "y", "z"]
    assert calls[0].id == "a"
    assert len({call.id for call in calls}) == 3
    assert all(call.id for call in calls)


async def test_calls_that_share_an_index_are_told_apart_by_their_ids(
    server, connect, chat, ask, tool
) -> None:
    server.serves(
        streamed(
            chat.call(0, "a", "read_file", '{"path": "x"}'),
            chat.call(0, "b", "read_file", '{"path": "y"}'),
            chat.finish("stop"),
        )
    )
    answer = await (await connect(server.url)).complete(ask(tools=(tool,)))
    assert answer.finish_reason == "tool_calls"
    assert [call.arguments for call in answer.message.tool_calls] == [
        '{"path": "x"}',
        '{"path": "y"}',
    ]


async def test_a_call_without_a_name_breaks_the_protocol(server, connect, chat, ask, tool) -> None:
    server.serves(streamed(chat.call(0, "a", "", "{}"), chat.finish("tool_calls")))
    with pytest.raises(ModelError) as caught:
        await (await connect(server.url)).complete(ask(tools=(tool,)))
    assert (caught.value.fault, caught.value.sent) == ("protocol", True)


@pytest.mark.parametrize("done", [True, False])
async def test_an_answer_without_choices_breaks_the_protocol(
    server, connect, chat, ask, done
) -> None:
    if done:
        server.serves(streamed(chat.opening(), chat.usage(10, 0)))
    else:
        server.serves(whole({"id": "x", "choices": [], "usage": None}))
    with pytest.raises(ModelError) as caught:
        await (await connect(server.url)).complete(ask())
    assert (caught.value.fault, caught.value.sent) == ("protocol", True)


async def test_a_missing_done_is_forgiven_once_the_model_has_ended(
    server, connect, chat, ask
) -> None:
    server.serves(streamed(chat.text("Hello."), chat.finish("stop"), done=False))
    answer = await (await connect(server.url)).complete(ask())
    assert answer.message.content == "Hello."
    assert answer.usage is None


async def test_a_service_that_does_not_stream_is_understood(server, connect, ask, tool) -> None:
    call = {"id": "a", "type": "function", "function": {"name": "read_file", "arguments": {"p": 1}}}
    body = {
        "id": "x",
        "model": "m",
        "choices": [
            {
                "index": 0,
                "message": {"role": "assistant", "content": "Hello.", "tool_calls": [call]},
                "finish_reason": "tool_calls",
            }
        ],
        "usage": {"prompt_tokens": 7, "completion_tokens": 3, "total_tokens": 10},
    }
    server.serves(whole(body))
    pieces: list[str] = []
    answer = await (await connect(server.url)).complete(ask(tools=(tool,)), on_text=pieces.append)
    assert pieces == ["Hello."]
    assert answer.message.tool_calls == (ToolCall("a", "read_file", '{"p":1}'),)
    assert answer.usage == Usage(7, 3)


@pytest.mark.parametrize(
    ("reason", "finish"),
    [("content_filter", "content_filter"), ("eos", "stop"), ("function_call", "stop")],
)
async def test_finish_reasons_are_translated(server, connect, chat, ask, reason, finish) -> None:
    server.serves(streamed(chat.text("Hm."), chat.finish(reason)))
    assert (await (await connect(server.url)).complete(ask())).finish_reason == finish


async def test_a_service_that_gives_up_is_overloaded(server, connect, chat, ask) -> None:
    server.serves(streamed(chat.text("Hm."), chat.finish("insufficient_system_resource")))
    with pytest.raises(ModelError) as caught:
        await (await connect(server.url)).complete(ask())
    assert (caught.value.fault, caught.value.sent) == ("overloaded", True)


async def test_content_in_parts_and_refusals_are_text(server, connect, chat, ask) -> None:
    server.serves(
        streamed(
            chat.delta(content=[{"type": "text", "text": "Hel"}, {"type": "text", "text": "lo"}]),
            chat.delta(refusal="I cannot."),
            chat.finish("stop"),
        )
    )
    answer = await (await connect(server.url)).complete(ask())
    assert answer.message.content == "HelloI cannot."


async def test_reasoning_left_out_of_the_output_is_still_counted(
    server, connect, chat, ask
) -> None:
    usage = {
        "prompt_tokens": 10,
        "completion_tokens": 5,
        "total_tokens": 45,
        "completion_tokens_details": {"reasoning_tokens": 30},
    }
    server.serves(streamed(chat.finish("stop"), chat.event(choices=[], usage=usage)))
    answer = await (await connect(server.url)).complete(ask())
    assert answer.usage == Usage(10, 35, reasoning_tokens=30)


async def test_thoughts_before_a_call_are_given_back_to_the_model_that_had_them(
    server, connect, chat, ask, tool
) -> None:
    thinks = (
        chat.delta(reasoning_content="Let me "),
        chat.delta(reasoning_content="see."),
        chat.call(0, "a", "read_file", "{}"),
        chat.finish("tool_calls"),
    )
    server.serves(streamed(*thinks), streamed(chat.stream("Done.")))
    model = await connect(server.url)
    request = ask(tools=(tool,))
    thought = (await model.complete(request)).message
    assert "Let me" not in thought.content
    further = (*request.messages, thought, Message("tool", "text", tool_call_id="a"))
    await model.complete(ModelRequest(further, tools=(tool,)))
    assert server.last.json["messages"][2]["reasoning_content"] == "Let me see."
    other = await connect(server.url, model="m-2")
    await other.complete(ModelRequest(further, tools=(tool,)))
    assert "reasoning_content" not in server.last.json["messages"][2]


async def test_tools_with_names_that_the_api_forbids_come_back_under_their_own(
    server, connect, chat, ask
) -> None:
    odd = ToolSchema("git hub/read.file", "Read.", {"type": "object"})

    async def handler(connection, request):
        name = request.json["tools"][0]["function"]["name"]
        assert name.replace("_", "").isalnum()
        await connection.events(chat.call(0, "a", name, "{}"), chat.finish("tool_calls"))
        await connection.end()

    server.serves(handler)
    model = await connect(server.url)
    request = ask(tools=(odd,))
    answer = await model.complete(request)
    assert answer.message.tool_calls == (ToolCall("a", "git hub/read.file", "{}"),)
    sent = server.last.json["tools"][0]["function"]["name"]
    await model.complete(ModelRequest((*request.messages, answer.message), tools=(odd,)))
    again = server.last.json["messages"][2]["tool_calls"][0]["function"]["name"]
    assert again == sent


async def test_text_that_utf8_cannot_carry_is_sent_readably(server, connect, chat, ask) -> None:
    server.serves(streamed(chat.stream("Hello.")))
    await (await connect(server.url)).complete(ask("half \ud83d a face"))
    assert server.last.json["messages"][1]["content"] == "half \ufffd a face"


async def test_other_choices_than_the_first_are_left_out(server, connect, chat, ask) -> None:
    other = chat.event(choices=[{"index": 1, "delta": {"content": "NO"}, "finish_reason": "stop"}])
    server.serves(streamed(chat.text("Yes."), other, chat.finish("stop")))
    assert (await (await connect(server.url)).complete(ask())).message.content == "Yes."


async def test_chat_completions_cannot_count(server, connect, ask) -> None:
    model = await connect(server.url)
    assert await model.count(ask()) is None
    assert not server.requests
