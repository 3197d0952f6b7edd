"""What comes of an answer that goes wrong after status 200, over real HTTP, in both APIs."""

import gzip
import json

import anyio
import pytest
from sashizu_core.errors import ModelError

FAST = {
    "connect_timeout": "2s",
    "first_event_timeout": "0.3s",
    "idle_timeout": "0.3s",
    "reasoning_timeout": "0.3s",
}


@pytest.fixture
async def failed(server, connect, wire, ask):
    """Makes a call that a handler spoils; gives the error."""

    async def made(handler, **table) -> ModelError:
        server.serves(handler)
        model = await connect(server.url, api=wire.api, **table)
        with pytest.raises(ModelError) as caught, anyio.fail_after(5):
            await model.complete(ask())
        assert len(server.requests) == 1, "one attempt, without retries"
        return caught.value

    return made


async def test_a_web_page_with_status_200_is_a_transport_fault(failed) -> None:
    async def handler(connection, request):
        await connection.answer(200, b"\n <!doctype html><p>Sign in</p>", content_type="text/html")

    failure = await failed(handler)
    assert (failure.fault, failure.sent, failure.retryable) == ("transport", True, True)
    assert "web page" in str(failure)


async def test_json_that_is_cut_off_is_a_transport_fault(failed) -> None:
    async def handler(connection, request):
        await connection.answer(200, b'{"id": "x", "choices": [{"index": 0, "mess')

    failure = await failed(handler)
    assert (failure.fault, failure.sent) == ("transport", True)


async def test_a_connection_that_is_cut_is_a_transport_fault(failed, wire) -> None:
    async def handler(connection, request):
        await connection.events(wire.opening(), wire.text("Hel"))

    failure = await failed(handler)
    assert (failure.fault, failure.sent) == ("transport", True)
    assert failure.usage is None


async def test_a_connection_cut_before_any_answer_may_be_billed(failed) -> None:
    async def handler(connection, request):
        await connection.stream.aclose()

    failure = await failed(handler)
    assert (failure.fault, failure.sent) == ("transport", True)


async def test_a_clean_end_without_the_models_own_end_is_a_cut(failed, wire) -> None:
    async def handler(connection, request):
        await connection.events(wire.opening(), wire.text("Hel"), wire.text("lo"))
        await connection.end()

    failure = await failed(handler)
    assert (failure.fault, failure.sent) == ("transport", True)


async def test_an_empty_stream_is_a_cut(failed) -> None:
    async def handler(connection, request):
        await connection.events(b": hello\n\n")
        await connection.end()

    assert (await failed(handler)).fault == "transport"


async def test_a_garbage_event_is_a_transport_fault(failed, wire) -> None:
    async def handler(connection, request):
        await connection.events(wire.opening(), wire.text("Hel"), b"data: {nonsense\n\n")
        await connection.gone()

    failure = await failed(handler)
    assert (failure.fault, failure.sent) == ("transport", True)


@pytest.mark.parametrize(
    ("told", "fault"),
    [
        ({"message": "Overloaded", "type": "overloaded_error"}, "overloaded"),
        ({"message": "Slow", "code": "rate_limit_exceeded"}, "rate_limited"),
        ({"message": "Slow", "code": 429}, "rate_limited"),
        ({"message": "No money", "code": "insufficient_quota"}, "quota"),
        ({"message": "Long", "code": "context_length_exceeded"}, "context_too_long"),
        ({"message": "Bad", "type": "invalid_request_error"}, "invalid_request"),
        ({"message": "?"}, "transport"),
        ("something", "transport"),
    ],
)
async def test_an_error_event_is_typed_by_what_it_says(failed, wire, told, fault) -> None:
    async def handler(connection, request):
        event = b"event: error\ndata: " + json.dumps({"error": told}).encode() + b"\n\n"
        await connection.events(wire.opening(), wire.text("Hel"), event)
        await connection.gone()

    failure = await failed(handler)
    assert (failure.fault, failure.sent) == (fault, True)


async def test_an_error_event_may_be_the_error_itself(failed, wire) -> None:
    async def handler(connection, request):
        data = b'{"code": "server_error", "message": "Oops, try again in 3s."}'
        await connection.events(wire.opening(), b"event: error\ndata: " + data + b"\n\n")
        await connection.gone()

    failure = await failed(handler)
    assert (failure.fault, failure.retry_after_s) == ("overloaded", 3)
    assert "Oops" in str(failure)


async def test_an_error_object_with_status_200_is_an_error(failed) -> None:
    async def handler(connection, request):
        await connection.answer(200, {"error": {"message": "Oops", "code": "server_error"}})

    assert (await failed(handler)).fault == "overloaded"


async def test_a_stalled_stream_is_given_up(failed, wire, server) -> None:
    async def handler(connection, request):
        await connection.events(wire.opening(), wire.text("Hel"))
        await connection.gone()
        server.clients_gone.set()

    failure = await failed(handler, **FAST)
    assert (failure.fault, failure.sent) == ("timeout", True)
    assert "more content" in str(failure)
    with anyio.fail_after(1):
        await server.clients_gone.wait()


@pytest.mark.parametrize("spoken", [True, False])
async def test_endless_comments_and_pings_do_not_keep_a_call_alive(failed, wire, spoken) -> None:
    async def handler(connection, request):
        await connection.events(wire.opening(), *[wire.text("Hel")] * spoken)
        while True:
            ping = b": keep-alive\n\n" + wire.opening() + b'event: ping\ndata: {"type": "ping"}\n\n'
            await connection.events(ping)
            await anyio.sleep(0.02)

    failure = await failed(handler, **FAST)
    assert (failure.fault, failure.sent) == ("timeout", True)


async def test_silence_before_the_first_byte_is_given_up(failed, server) -> None:
    async def handler(connection, request):
        await connection.gone()
        server.clients_gone.set()

    failure = await failed(handler, **FAST)
    assert (failure.fault, failure.sent) == ("timeout", True)
    with anyio.fail_after(1):
        await server.clients_gone.wait()


async def test_the_first_byte_may_come_late(server, connect, wire, ask) -> None:
    async def handler(connection, request):
        await anyio.sleep(0.2)
        await connection.events(wire.stream("Hello."))
        await connection.end()

    server.serves(handler)
    model = await connect(server.url, api=wire.api, **{**FAST, "first_event_timeout": "5s"})
    assert (await model.complete(ask())).message.content == "Hello."


async def test_a_model_asked_to_reason_may_be_silent_for_longer(server, connect, wire, ask) -> None:
    async def handler(connection, request):
        await connection.events(wire.opening())
        await anyio.sleep(0.4)
        await connection.events(wire.stream("Hello."))
        await connection.end()

    server.serves(handler)
    model = await connect(server.url, api=wire.api, **{**FAST, "reasoning_timeout": "5s"})
    assert (await model.complete(ask(effort="high"))).message.content == "Hello."
    with pytest.raises(ModelError) as caught:
        await model.complete(ask(effort="none"))
    assert caught.value.fault == "timeout"


async def test_a_compressed_answer_is_read(server, connect, wire, ask) -> None:
    async def handler(connection, request):
        body = gzip.compress(wire.stream("Hello."))
        await connection.answer(
            200, body, content_type="text/event-stream", content_encoding="gzip"
        )

    server.serves(handler)
    model = await connect(server.url, api=wire.api)
    assert (await model.complete(ask())).message.content == "Hello."


async def test_damaged_compression_is_a_transport_fault(failed, wire) -> None:
    async def handler(connection, request):
        body = gzip.compress(wire.stream("Hello."))
        damaged = body[:12] + bytes(byte ^ 0x5A for byte in body[12:])
        await connection.answer(200, damaged, content_encoding="gzip")

    failure = await failed(handler)
    assert (failure.fault, failure.sent) == ("transport", True)


async def test_a_bomb_is_not_unpacked(failed, wire, server) -> None:
    async def handler(connection, request):
        bomb = gzip.compress(b"data: " + bytes(128 * 1024 * 1024), compresslevel=1)
        await connection.answer(200, bomb, content_encoding="gzip")

    failure = await failed(handler)
    assert failure.fault == "protocol"
    assert "too large" in str(failure)


async def test_an_endless_body_is_not_read_to_its_end(failed, wire, server) -> None:
    async def handler(connection, request):
        while True:
            await connection.events(b": " + b"x" * 1024 * 1024 + b"\n")

    failure = await failed(handler)
    assert failure.fault == "protocol"


async def test_a_finished_answer_survives_what_comes_after_it(server, connect, wire, ask) -> None:
    async def cut(connection, request):
        await connection.events(wire.stream("Hello."))

    async def stalled(connection, request):
        await connection.events(wire.stream("Hello."))
        await connection.gone()

    async def garbage(connection, request):
        await connection.events(wire.stream("Hello."), b"data: {nonsense\n\n")
        await connection.end()

    server.serves(cut, stalled, garbage)
    model = await connect(server.url, api=wire.api)
    for _ in range(3):
        with anyio.fail_after(3):
            answer = await model.complete(ask())
        assert answer.message.content == "Hello."
        assert answer.usage is not None


async def test_no_usage_is_said_and_not_made_up(server, connect, wire, ask) -> None:
    async def handler(connection, request):
        stream = wire.stream("Hello.").replace(b'"usage"', b'"usual"')
        await connection.events(stream)
        await connection.end()

    server.serves(handler)
    model = await connect(server.url, api=wire.api)
    assert (await model.complete(ask())).usage is None


async def test_senseless_usage_counts_as_none(server, connect, wire, ask) -> None:
    async def handler(connection, request):
        await connection.events(wire.stream("Hello.", read=-5))
        await connection.end()

    server.serves(handler)
    model = await connect(server.url, api=wire.api)
    assert (await model.complete(ask())).usage is None


async def test_other_calls_go_on_while_one_is_broken(server, connect, wire, ask) -> None:
    async def handler(connection, request):
        if b"spoil" in request.body:
            await connection.events(wire.opening())
            return
        await connection.events(wire.stream("Hello."))
        await connection.end()

    server.serves(handler)
    model = await connect(server.url, api=wire.api)
    faults, answers = [], []

    async def call(text: str) -> None:
        try:
            answers.append((await model.complete(ask(text))).message.content)
        except ModelError as error:
            faults.append(error.fault)

    async with anyio.create_task_group() as tasks:
        for number in range(20):
            tasks.start_soon(call, "spoil this" if number % 4 == 0 else "go on")
    assert answers == ["Hello."] * 15
    assert faults == ["transport"] * 5
