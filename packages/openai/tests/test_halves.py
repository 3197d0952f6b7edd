"""Servers whose texts are UTF-16 cut an emoji in two, and send the halves one after the other."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st
from sashizu_core.errors import ModelError
from sashizu_openai.chat_answer import ChatAnswer
from sashizu_openai.halves import Spoken, mended
from sashizu_openai.sse import Event

HIGH, LOW = "\ud83d", "\ude00"


def streamed(*pieces: bytes):
    async def handler(connection, request):
        await connection.events(*pieces)
        await connection.end()

    return handler


def whole(body):
    async def handler(connection, request):
        await connection.answer(200, body)

    return handler


async def heard(model, request):
    said: list[str] = []
    answer = await model.complete(request, on_text=said.append)
    return answer, "".join(said)


@pytest.mark.parametrize(
    ("pieces", "text"),
    [
        (["a", HIGH, LOW, "b"], "a😀b"),
        (["a" + HIGH, LOW + "b"], "a😀b"),
        (["a", HIGH], "a\ufffd"),
        ([LOW, "b"], "\ufffdb"),
        ([HIGH, "b", LOW], "\ufffdb\ufffd"),
        ([HIGH, HIGH, LOW], "\ufffd😀"),
    ],
)
async def test_halves_are_joined_and_what_stays_alone_is_marked(
    server, connect, wire, ask, pieces, text
) -> None:
    end = wire.stream("x").replace(b'"content": "x"', b'"content": ""')
    if wire.api == "responses":
        end = wire.end(wire.message("".join(pieces)), usage=wire.counts(1, 1))
    server.serves(streamed(*map(wire.text, pieces), end))
    model = await connect(server.url, api=wire.api)
    answer, said = await heard(model, ask())
    assert answer.message.content == said == text
    answer.message.content.encode()


async def test_a_document_of_its_own_may_hold_halves(server, connect, wire, ask) -> None:
    text = f"a{HIGH}b"
    if wire.api == "chat":
        choice = {"message": {"content": text}, "finish_reason": "stop"}
        body = {"choices": [choice], "model": "m", "usage": None}
    else:
        body = {"status": "completed", "output": [wire.message(text)], "id": "r" + LOW}
    server.serves(whole(json.dumps(body).encode()))
    model = await connect(server.url, api=wire.api)
    answer, _ = await heard(model, ask())
    assert answer.message.content == "a\ufffdb"
    assert answer.response_id.encode() in (b"", "r\ufffd".encode())


async def test_arguments_thoughts_and_names_can_be_written_down(
    server, connect, chat, ask, tool
) -> None:
    server.serves(
        streamed(
            chat.delta(reasoning_content="hm " + HIGH),
            chat.delta(reasoning_content=LOW),
            chat.call(0, "c" + LOW, "read_file", '{"path":"', HIGH, LOW, HIGH, '"}'),
            chat.finish("tool_calls"),
            b"data: [DONE]\n\n",
        )
    )
    model = await connect(server.url)
    answer, _ = await heard(model, ask(tools=(tool,)))
    (call,) = answer.message.tool_calls
    assert call.arguments == '{"path":"😀\ufffd"}'
    assert call.id == "c\ufffd"
    assert answer.message.opaque["openai"]["fields"] == {"reasoning_content": "hm 😀"}


async def test_items_that_are_given_back_can_be_written_down(
    server, connect, responses, ask
) -> None:
    thought = {"type": "reasoning", "id": "rs", "content": [{"text": HIGH}]}
    call = responses.function_call("c-1", "read_file", f'{{"path":"{HIGH}"}}')
    server.serves(streamed(responses.end(thought, call, usage=responses.counts(1, 1))))
    model = await connect(server.url, api="responses")
    answer, _ = await heard(model, ask())
    json.dumps(answer.message.opaque, ensure_ascii=False).encode()
    assert answer.message.tool_calls[0].arguments == '{"path":"\ufffd"}'


async def test_an_error_that_holds_a_half_is_told(server, connect, wire, ask) -> None:
    error = {"error": {"message": f"no {HIGH} credit", "code": "insufficient_quota"}}

    async def refuse(connection, request):
        await connection.answer(429, json.dumps(error).encode())

    server.serves(whole(json.dumps(error).encode()), refuse)
    model = await connect(server.url, api=wire.api)
    for _ in range(2):
        with pytest.raises(ModelError, match="credit") as caught:
            await model.complete(ask())
        assert caught.value.fault == "quota"
        str(caught.value).encode()


async def test_bytes_that_are_no_utf_8_are_replaced_as_event_streams_have_it(
    server, connect, chat, ask
) -> None:
    server.serves(streamed(chat.text("a?b").replace(b"?", b"\xf0\x9f"), chat.stream("c")))
    answer, said = await heard(await connect(server.url), ask())
    assert answer.message.content == said == "a\ufffdbc"


@given(st.lists(st.text(st.sampled_from(["a", "é", HIGH, LOW, "😀", "\ufffd", "\ufeff"]))))
def test_what_is_heard_is_what_is_kept_wherever_it_was_cut(pieces: list[str]) -> None:
    said: list[str] = []
    spoken = Spoken(said.append)
    for piece in pieces:
        spoken.add(piece)
    assert "".join(said).encode() is not None
    assert spoken.end() == "".join(said) == mended("".join(pieces))
    assert all(said)


def test_a_deep_document_with_a_half_is_unreadable_and_nothing_worse() -> None:
    answer = ChatAnswer({}, None, "")
    deep = b'{"a":"\\ud83d","b":' + b"[" * 100_000 + b"]" * 100_000 + b"}"
    with pytest.raises(ModelError, match="cannot be read"):
        answer.take(Event("", deep))
