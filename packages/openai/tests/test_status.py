"""What comes of an answer with an error status, over real HTTP."""

import json
from email.utils import formatdate

import pytest
from sashizu_core.errors import ModelError


def error(message: str, code: str | None = None, kind: str | None = None) -> dict[str, object]:
    return {"error": {"message": message, "code": code, "type": kind, "param": None}}


@pytest.fixture
async def refused(server, connect, wire, ask):
    """Makes a call that a server refuses; gives the error."""

    async def made(status, body=b"{}", **headers) -> ModelError:
        async def handler(connection, request):
            await connection.answer(status, body, **headers)

        server.serves(handler)
        model = await connect(server.url, api=wire.api)
        with pytest.raises(ModelError) as caught:
            await model.complete(ask())
        assert len(server.requests) == 1, "one attempt, without retries"
        return caught.value

    return made


async def test_too_many_requests_says_how_long_to_wait(refused) -> None:
    failure = await refused(429, error("Slow down.", "rate_limit_exceeded"), retry_after="1")
    assert failure.fault == "rate_limited"
    assert failure.retryable
    assert not failure.sent
    assert failure.status == 429
    assert failure.retry_after_s == 1


@pytest.mark.parametrize(
    ("headers", "wait_s"),
    [
        ({"retry_after": "600"}, 600),
        ({"retry_after": "2.5"}, 2.5),
        ({"retry_after_ms": "350", "retry_after": "1"}, 0.35),
        (
            {
                "retry_after": "Wed, 21 Oct 2026 07:28:30 GMT",
                "date": "Wed, 21 Oct 2026 07:28:00 GMT",
            },
            30,
        ),
        ({"retry_after": "-5"}, 0),
        ({"retry_after": "soon"}, None),
        ({"retry_after": "nan"}, None),
        (
            {
                "x_ratelimit_remaining_requests": "0",
                "x_ratelimit_reset_requests": "6m0s",
                "x_ratelimit_remaining_tokens": "120",
                "x_ratelimit_reset_tokens": "9h",
            },
            360,
        ),
        ({"x_ratelimit_remaining_tokens": "0", "x_ratelimit_reset_tokens": "20ms"}, 0.02),
        ({}, None),
    ],
)
async def test_the_wait_is_read_from_every_header_that_tells_it(refused, headers, wait_s) -> None:
    failure = await refused(429, error("Slow down."), **headers)
    assert failure.fault == "rate_limited"
    assert failure.retry_after_s == (None if wait_s is None else pytest.approx(wait_s))


async def test_a_date_without_the_servers_own_clock_is_set_against_ours(refused) -> None:
    failure = await refused(429, error("Slow down."), retry_after=formatdate(usegmt=True))
    assert failure.retry_after_s == pytest.approx(0, abs=5)


async def test_the_wait_is_read_from_the_message_as_a_last_resort(refused) -> None:
    failure = await refused(429, error("Limit reached. Please try again in 1.242s. Thanks."))
    assert failure.retry_after_s == pytest.approx(1.242)


async def test_no_credit_left_is_fatal_though_it_looks_like_a_rate_limit(refused) -> None:
    body = error("You exceeded your current quota.", "insufficient_quota", "insufficient_quota")
    failure = await refused(429, body, retry_after="1")
    assert failure.fault == "quota"
    assert not failure.retryable


@pytest.mark.parametrize(
    ("status", "body", "fault", "sent"),
    [
        (500, error("Oops", None, "server_error"), "overloaded", False),
        (502, b"<html>Bad gateway</html>", "overloaded", False),
        (503, b"", "overloaded", False),
        (504, b"upstream timed out", "overloaded", True),
        (524, b"", "overloaded", True),
        (529, error("Overloaded", None, "overloaded_error"), "overloaded", False),
        (408, b"", "overloaded", False),
        (402, error("Insufficient Balance"), "quota", False),
        (401, error("Incorrect API key provided.", "invalid_api_key"), "auth", False),
        (403, error("No access"), "auth", False),
        (404, error("The model does not exist", "model_not_found"), "not_found", False),
        (404, b"404 page not found", "not_found", False),
        (422, {"detail": "field required"}, "invalid_request", False),
        (400, error("Unknown parameter: 'x'."), "invalid_request", False),
        (418, b"", "invalid_request", False),
        (413, b"too large", "context_too_long", False),
        (400, error("...", "context_length_exceeded"), "context_too_long", False),
        (
            400,
            error("This model's maximum context length is 8192 tokens.", None, "BadRequestError"),
            "context_too_long",
            False,
        ),
        (
            400,
            error("too much", None, "exceed_context_size_error"),
            "context_too_long",
            False,
        ),
        (400, error("Flagged", "content_policy_violation"), "content_filter", False),
        (400, {"error": "model is still loading"}, "invalid_request", False),
        (400, {"object": "error", "message": "maximum context length"}, "context_too_long", False),
        (400, b"[1, 2", "invalid_request", False),
        (400, {"error": [1]}, "invalid_request", False),
    ],
)
async def test_every_status_has_its_fault(refused, status, body, fault, sent) -> None:
    failure = await refused(status, body)
    assert (failure.fault, failure.sent, failure.status) == (fault, sent, status)


async def test_a_redirect_is_not_followed_because_the_request_carries_a_key(refused) -> None:
    failure = await refused(307, b"", location="https://elsewhere.example/v1")
    assert failure.fault == "not_found"
    assert "https://elsewhere.example/v1" in str(failure)
    assert not failure.sent


async def test_messages_name_the_model_and_repeat_what_the_provider_says(refused) -> None:
    failure = await refused(400, error("Unknown parameter: 'x'."))
    assert str(failure) == "test: status 400: Unknown parameter: 'x'."


async def test_messages_never_hold_the_key_or_what_looks_like_one(refused) -> None:
    key = "sk-test-0123456789abcdef"
    told = f"Incorrect API key provided: {key}; also sk-proj-ab****wxyz. \x1b[31mred"
    failure = await refused(401, error(told))
    assert key not in str(failure)
    assert "wxyz" not in str(failure)
    assert "\x1b" not in str(failure)


async def test_a_short_key_that_the_provider_repeats_is_hidden_too(
    server, connect, wire, ask, monkeypatch
) -> None:
    async def handler(connection, request):
        given = request.headers["authorization"].removeprefix("Bearer ")
        await connection.answer(401, error(f"wrong key {given}"))

    server.serves(handler)
    model = await connect(server.url, api=wire.api)
    with pytest.raises(ModelError) as caught:
        await model.complete(ask())
    assert str(caught.value) == "test: status 401: wrong key [key]"


async def test_of_an_endless_error_body_only_the_beginning_is_read(
    server, connect, wire, ask
) -> None:
    async def handler(connection, request):
        await connection.head(500, content_type="application/json")
        while True:
            await connection.events(b"x" * 65536)

    server.serves(handler)
    model = await connect(server.url, api=wire.api)
    with pytest.raises(ModelError) as caught:
        await model.complete(ask())
    assert caught.value.fault == "overloaded"
    assert len(str(caught.value)) < 400
    await server.clients_gone.wait()


async def test_an_error_body_that_is_cut_off_still_has_its_status(
    server, connect, wire, ask
) -> None:
    async def handler(connection, request):
        await connection.head(429, content_type="application/json", retry_after="3")
        await connection.events(json.dumps(error("Slow"))[:9].encode())

    server.serves(handler)
    model = await connect(server.url, api=wire.api)
    with pytest.raises(ModelError) as caught:
        await model.complete(ask())
    assert (caught.value.fault, caught.value.retry_after_s) == ("rate_limited", 3)
