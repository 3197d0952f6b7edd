"""What clients, services and the network can do to a gateway, and what it costs."""

import json
from datetime import datetime
from functools import partial

import anyio
import pytest
from sashizu_budget.ledger import Ledger
from sashizu_budget.spend_connection import SpendFile
from sashizu_budget.windows import Windows
from sashizu_core.errors import RecordError
from sashizu_core.testing.fakes import MemorySink
from sashizu_core.types import Limits

ASK = {"model": "gpt-5", "input": "hello"}
CHAT = {"model": "gpt-5", "messages": [{"role": "user", "content": "hello"}]}
MESSAGES = {
    "model": "claude-sonnet-4-5",
    "max_tokens": 1000,
    "messages": [{"role": "user", "content": "hello"}],
}


# --- budgets --------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("path", "body"),
    [("/v1/responses", ASK), ("/v1/chat/completions", CHAT), ("/v1/messages", MESSAGES)],
)
async def test_a_request_larger_than_the_whole_limit_is_refused_with_the_numbers(
    opened, service, path, body
):
    bench = await opened(Limits(tokens=500), upstream={"count": False})
    service.says()

    answered = await bench.ask(path, body)

    assert answered.status == 400
    assert answered.headers["x-should-retry"] == "false"
    assert "500 left" in answered.error["message"]
    assert not service.calls
    assert bench.of("budget.refused")[0]["attrs"]["left"] == 500


async def test_refusals_have_the_shape_of_the_dialect(opened, service):
    bench = await opened(Limits(tokens=500), upstream={"count": False})

    openai = await bench.ask("/v1/responses", ASK)
    anthropic = await bench.ask("/v1/messages", MESSAGES)

    assert openai.error["code"] == "budget_exceeded"
    assert openai.error["type"] == "insufficient_quota"
    assert anthropic.json["type"] == "error"
    assert anthropic.error["type"] == "invalid_request_error"


async def test_an_answer_without_usage_is_charged_at_the_hold_and_flagged(opened, service):
    bench = await opened()

    async def silent(wire, asked):
        await wire.answer(200, {"id": "r", "status": "completed", "output": []})

    service.does(silent)
    await bench.ask("/v1/responses", ASK)

    (held,), (settled,) = bench.of("budget.held"), bench.of("budget.settled")
    assert settled["budget_spent"] == held["budget_held"] == bench.state.spent.tokens
    assert settled["attrs"]["in_doubt"] is True
    assert bench.client.doubtful_tokens == held["budget_held"]


async def test_usage_above_the_hold_is_an_overrun_that_closes_the_budget(opened, service):
    bench = await opened()
    service.says(inputs=50_000, outputs=60_000)

    await bench.ask("/v1/responses", ASK)
    after = await bench.ask("/v1/responses", ASK)

    assert bench.of("budget.overrun")[0]["budget_spent"] == 110_000
    assert bench.state.spent.tokens == 110_000
    assert after.status == 400
    assert "closed" in after.error["message"]
    assert len(service.calls) == 1


async def test_a_failure_of_the_service_costs_a_request_and_no_tokens(opened, service):
    bench = await opened()

    async def fails(wire, asked):
        await wire.answer(500, {"error": {"message": f"bad key {service.key}"}})

    service.does(fails)
    answered = await bench.ask("/v1/responses", ASK)

    assert answered.status == 500
    assert answered.error["message"] == "bad key [key]"
    assert bench.state.spent.tokens == 0
    assert bench.state.spent.requests == 1
    assert bench.of("model.failed")[0]["error_type"] == "overloaded"


async def test_a_service_that_cannot_be_reached_costs_nothing(opened, service):
    bench = await opened(upstream={"base_url": "http://127.0.0.1:9/v1"})

    answered = await bench.ask("/v1/responses", ASK)

    assert answered.status == 502
    assert answered.headers["x-should-retry"] == "true"
    assert bench.state.spent.requests == 0
    assert bench.of("budget.released")


async def test_a_service_that_dies_in_the_middle_is_charged_in_doubt(opened, service):
    bench = await opened()

    async def dies(wire, asked):
        await wire.begin()
        await wire.event({"type": "response.output_text.delta", "delta": "half"})
        await wire.stream.aclose()

    service.does(dies)
    answered = await bench.ask("/v1/responses", {**ASK, "stream": True})

    assert b"half" in answered.body
    assert not answered.complete
    (settled,) = bench.of("budget.settled")
    assert settled["attrs"]["in_doubt"] is True
    assert bench.state.spent.tokens == settled["budget_held"]
    assert bench.state.held.tokens == 0


async def test_a_service_that_dies_after_its_bill_is_booked_at_its_bill(opened, service):
    bench = await opened()

    async def dies(wire, asked):
        await wire.begin()
        done = {"id": "r", "status": "completed", "usage": {"input_tokens": 5, "output_tokens": 2}}
        await wire.event({"type": "response.completed", "response": done})
        await wire.stream.aclose()

    service.does(dies)
    await bench.ask("/v1/responses", {**ASK, "stream": True})

    assert bench.state.spent.tokens == 7


async def test_a_client_that_hangs_up_ends_the_call_and_pays_the_hold(opened, service):
    bench = await opened()
    gone = anyio.Event()
    noticed = anyio.Event()

    async def slow(wire, asked):
        await wire.begin()
        await wire.event({"type": "response.output_text.delta", "delta": "half"})
        await wire.gone()
        noticed.set()

    service.does(slow)
    with anyio.fail_after(10):
        await bench.ask(
            "/v1/responses",
            {**ASK, "stream": True},
            hung_up=gone,
            on_piece=lambda _: gone.set(),
        )
        await noticed.wait()

    (settled,) = bench.of("budget.settled")
    assert settled["attrs"]["in_doubt"] is True
    assert bench.of("model.failed")[0]["status"] == "cancelled"
    assert bench.state.held.tokens == 0


async def test_a_client_that_hangs_up_after_the_bill_pays_the_bill(opened, service):
    bench = await opened()
    gone = anyio.Event()

    async def lingers(wire, asked):
        await wire.begin()
        done = {"id": "r", "status": "completed", "usage": {"input_tokens": 5, "output_tokens": 2}}
        await wire.event({"type": "response.completed", "response": done})
        await wire.gone()

    service.does(lingers)
    with anyio.fail_after(10):
        await bench.ask(
            "/v1/responses",
            {**ASK, "stream": True},
            hung_up=gone,
            on_piece=lambda _: gone.set(),
        )

    assert bench.state.spent.tokens == 7


async def _half_and_the_rest(wire, gone, rest: bytes) -> None:
    """An answer that is no stream, whose client has hung up in the middle of it."""
    half = b'{"id": "r", "status": "completed", '
    told = f"content-type: application/json\r\ncontent-length: {len(half + rest)}"
    await wire.stream.send(f"HTTP/1.1 200 OK\r\n{told}\r\n\r\n".encode() + half)
    await gone.wait()
    await anyio.wait_all_tasks_blocked()
    await wire.stream.send(rest)


async def test_a_client_that_hangs_up_on_an_answer_on_its_way_pays_the_bill(opened, service):
    bench = await opened()
    gone = anyio.Event()

    async def waits(wire, asked):
        await _half_and_the_rest(wire, gone, b'"usage": {"input_tokens": 5, "output_tokens": 2}}')

    service.does(waits)
    with anyio.fail_after(10):
        await bench.ask("/v1/responses", ASK, hung_up=gone, on_piece=lambda _: gone.set())

    (settled,) = bench.of("budget.settled")
    assert (settled["budget_spent"], settled["attrs"]["in_doubt"]) == (7, False)
    assert bench.state.spent.tokens == 7
    assert bench.state.held.tokens == 0


async def test_the_rest_of_an_answer_that_nobody_wants_is_not_waited_for_for_long(
    opened, service, monkeypatch
):
    monkeypatch.setattr("sashizu_gateway.gateway.REST_S", 0.05)
    bench = await opened()
    gone, noticed = anyio.Event(), anyio.Event()

    async def stalls(wire, asked):
        await wire.stream.send(
            b"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: 99\r\n\r\n{"
        )
        await wire.gone()
        noticed.set()

    service.does(stalls)
    with anyio.fail_after(10):
        await bench.ask("/v1/responses", ASK, hung_up=gone, on_piece=lambda _: gone.set())
        await noticed.wait()

    (settled,) = bench.of("budget.settled")
    assert settled["attrs"]["in_doubt"] is True
    assert bench.state.spent.tokens == settled["budget_held"]
    assert bench.state.held.tokens == 0


async def test_the_rest_of_an_answer_that_is_too_large_to_be_read_is_not_waited_for(
    opened, service, monkeypatch
):
    monkeypatch.setattr("sashizu_gateway.reading.LARGEST", 1000)
    bench = await opened()
    gone, noticed = anyio.Event(), anyio.Event()

    async def floods(wire, asked):
        half = b'{"id": "' + b"x" * 600
        told = f"content-type: application/json\r\ncontent-length: {10**9}"
        await wire.stream.send(f"HTTP/1.1 200 OK\r\n{told}\r\n\r\n".encode() + half)
        await gone.wait()
        await anyio.wait_all_tasks_blocked()
        await wire.stream.send(half)
        await wire.gone()
        noticed.set()

    service.does(floods)
    with anyio.fail_after(8):  # less than an answer gets that can be read
        await bench.ask("/v1/responses", ASK, hung_up=gone, on_piece=lambda _: gone.set())
        await noticed.wait()

    assert bench.of("budget.settled")[0]["attrs"]["in_doubt"] is True


async def test_a_client_that_hangs_up_on_a_failure_pays_for_a_request(opened, service):
    bench = await opened()
    gone, begun = anyio.Event(), anyio.Event()

    async def fails(wire, asked):
        await wire.stream.send(
            b"HTTP/1.1 500 No\r\ncontent-type: application/json\r\ncontent-length: 99\r\n\r\n{"
        )
        begun.set()
        await wire.gone()

    service.does(fails)
    with anyio.fail_after(4):
        async with anyio.create_task_group() as group:
            group.start_soon(partial(bench.ask, "/v1/responses", ASK, hung_up=gone))
            await begun.wait()
            await anyio.wait_all_tasks_blocked()
            gone.set()

    assert bench.state.spent.tokens == bench.state.held.tokens == 0
    assert bench.state.spent.requests == 1


async def test_a_call_waits_for_room_and_then_goes_out(opened, service):
    bench = await opened(Limits(tokens=4000), upstream={"count": False})
    release = anyio.Event()
    begun = anyio.Event()

    async def slow(wire, asked):
        begun.set()
        await release.wait()
        used = {"input_tokens": 20, "output_tokens": 5}
        await wire.answer(200, {"id": "r", "status": "completed", "usage": used})

    service.does(slow)
    body = {**ASK, "max_output_tokens": 2000}
    answers = []

    async def ask():
        answers.append(await bench.ask("/v1/responses", body))

    with anyio.fail_after(10):
        async with anyio.create_task_group() as group:
            group.start_soon(ask)
            await begun.wait()
            group.start_soon(ask)
            await anyio.wait_all_tasks_blocked()
            assert len(service.calls) == 1
            release.set()

    assert [answered.status for answered in answers] == [200, 200]
    assert bench.state.spent.tokens == 50


async def test_a_call_for_which_no_room_comes_is_told_to_come_again(opened, service):
    bench = await opened(Limits(tokens=4000), upstream={"count": False}, wait="0.2s")
    begun, release = anyio.Event(), anyio.Event()

    async def slow(wire, asked):
        begun.set()
        await release.wait()
        await wire.answer(200, {"id": "r", "usage": {"input_tokens": 20, "output_tokens": 5}})

    service.does(slow)
    body = {**ASK, "max_output_tokens": 2000}
    with anyio.fail_after(10):
        async with anyio.create_task_group() as group:
            group.start_soon(bench.ask, "/v1/responses", body)
            await begun.wait()
            late = await bench.ask("/v1/responses", body)
            release.set()

    assert late.status == 429
    assert late.headers["retry-after"] == "10"
    assert late.error["code"] == "rate_limit_exceeded"
    assert len(service.calls) == 1
    assert bench.of("budget.refused")


async def test_a_client_that_hangs_up_while_it_waits_for_room_costs_nothing(opened, service):
    bench = await opened(Limits(tokens=4000), upstream={"count": False})
    begun, release, gone = anyio.Event(), anyio.Event(), anyio.Event()

    async def slow(wire, asked):
        begun.set()
        await release.wait()
        await wire.answer(
            200,
            {"id": "r", "status": "completed", "usage": {"input_tokens": 20, "output_tokens": 5}},
        )

    service.does(slow)
    body = {**ASK, "max_output_tokens": 2000}
    with anyio.fail_after(10):
        async with anyio.create_task_group() as group:
            group.start_soon(bench.ask, "/v1/responses", body)
            await begun.wait()
            async with anyio.create_task_group() as waiting:

                async def impatient():
                    await bench.ask("/v1/responses", body, hung_up=gone)

                waiting.start_soon(impatient)
                await anyio.wait_all_tasks_blocked()
                gone.set()
            release.set()

    assert len(service.calls) == 1
    assert bench.state.spent.tokens == 25


@pytest.mark.parametrize("jump", [-86_400, -3_600, 600], ids=lambda s: f"{s} s")
async def test_a_clock_that_jumps_gives_a_client_nothing_back(opened, service, tmp_path, jump):
    noon = int(datetime(2026, 11, 21, 12).astimezone().timestamp()) * 10**9
    now = [noon]
    spend = tmp_path / "spend.sqlite"
    Windows(SpendFile(spend, now_ns=lambda: now[0]), str(tmp_path)).set("day", Limits(tokens=4000))
    ledger = Ledger(spend=spend, project=tmp_path, now_ns=lambda: now[0])
    bench = await opened(Limits(), ledger=ledger, upstream={"count": False})
    service.says(inputs=900, outputs=500)
    body = {**ASK, "max_output_tokens": 600}
    first = await bench.ask("/v1/responses", body)
    now[0] = noon + jump * 10**9
    second = await bench.ask("/v1/responses", body)
    third = await bench.ask("/v1/responses", body)
    bench.client.end()
    ledger.close()

    assert (first.status, second.status, third.status) == (200, 200, 400)
    assert "budget of 'day 2026-11-21' refused" in third.error["message"]
    assert "2,800 tokens are spent" in third.error["message"]
    windows = Windows(SpendFile(spend, now_ns=lambda: now[0]), str(tmp_path)).now()
    assert windows.stands[0].spent[0] == 2800


async def test_many_calls_at_once_never_spend_more_than_the_limit(opened, service):
    bench = await opened(Limits(tokens=60_000), upstream={"count": False})
    service.says(inputs=900, outputs=300)
    statuses = []

    async def ask(number):
        body = {"model": "gpt-5", "input": f"{number} " * 200, "max_output_tokens": 1000}
        statuses.append((await bench.ask("/v1/responses", body, thread_id=f"t{number % 7}")).status)

    with anyio.fail_after(60):
        async with anyio.create_task_group() as group:
            for number in range(80):
                group.start_soon(ask, number)

    assert bench.state.spent.tokens <= 60_000
    assert bench.state.spent.tokens >= 0.9 * 60_000
    assert statuses.count(200) == len(service.calls) == bench.state.spent.tokens // 1200
    assert {*statuses} == {200, 400}


async def test_a_limit_in_dollars_refuses_a_model_without_a_price(opened, service):
    bench = await opened(Limits(nusd=10**9))
    service.says()

    answered = await bench.ask("/v1/responses", {**ASK, "model": "nobody-knows-me"})

    assert answered.status == 400
    assert "openai/nobody-knows-me" in answered.error["message"]
    assert not service.calls


async def test_a_limit_in_dollars_counts_what_the_model_costs(opened, service):
    bench = await opened(Limits(nusd=10**9))
    service.says(inputs=1000, outputs=100)

    await bench.ask("/v1/responses", {**ASK, "service_tier": "priority"})

    assert bench.state.spent.nusd > 0
    assert "service_tier" not in service.calls[0].json


# --- what cannot be bounded -----------------------------------------------------------------------


async def test_tools_of_the_provider_are_left_out_and_put_on_record_once(opened, service):
    bench = await opened()
    service.says()
    own = {"type": "function", "name": "mine", "parameters": {}}
    group = {
        "type": "namespace",
        "name": "several",
        "tools": [own, {"type": "web_search"}],
    }
    tools = [own, group, {"type": "web_search"}, {"type": "mcp", "server_url": "https://x"}]

    answered = await bench.ask("/v1/responses", {**ASK, "tools": tools})
    await bench.ask("/v1/responses", {**ASK, "tools": tools})

    assert service.calls[0].json["tools"] == [own, {**group, "tools": [own]}]
    assert answered.headers["x-sashizu-removed"] == "web_search, web_search, mcp"
    (denied,) = bench.of("security.denied")
    assert denied["attrs"]["removed"] == ["web_search", "mcp"]


@pytest.mark.parametrize(
    ("path", "body"),
    [
        ("/v1/responses", {**ASK, "previous_response_id": "resp_1"}),
        ("/v1/responses", {**ASK, "conversation": "conv_1"}),
        ("/v1/responses", {**ASK, "background": True}),
        ("/v1/responses", {**ASK, "prompt": {"id": "pmpt_1"}}),
        (
            "/v1/responses",
            {
                **ASK,
                "tools": [{"type": "web_search"}],
                "tool_choice": {"type": "web_search"},
            },
        ),
        ("/v1/responses", {**ASK, "input": [{"type": "item_reference", "id": "x"}]}),
        (
            "/v1/responses",
            {
                **ASK,
                "input": [{"role": "user", "content": [{"type": "input_file", "file_id": "f"}]}],
            },
        ),
        (
            "/v1/responses",
            {
                **ASK,
                "input": [
                    {
                        "type": "function_call_output",
                        "call_id": "c",
                        "output": [{"type": "input_image", "image_url": "https://x/y.png"}],
                    }
                ],
            },
        ),
        (
            "/v1/responses",
            {
                **ASK,
                "input": [{"type": "tool_search_output", "tools": [{"type": "web_search"}]}],
            },
        ),
        (
            "/v1/chat/completions",
            {**CHAT, "modalities": ["text", "audio"], "audio": {"voice": "a"}},
        ),
        (
            "/v1/chat/completions",
            {
                "model": "gpt-5",
                "messages": [
                    {
                        "role": "user",
                        "content": [{"type": "image_url", "image_url": {"url": "data:x"}}],
                    }
                ],
            },
        ),
        ("/v1/messages", {**MESSAGES, "container": "c"}),
        (
            "/v1/messages",
            {
                **MESSAGES,
                "messages": [
                    {
                        "role": "user",
                        "content": [
                            {"type": "document", "source": {"type": "url", "url": "https://x"}}
                        ],
                    }
                ],
            },
        ),
    ],
)
async def test_what_refers_to_something_else_is_refused_under_a_budget(opened, service, path, body):
    bench = await opened()
    service.says()

    answered = await bench.ask(path, body)

    assert answered.status == 400
    assert not service.calls
    assert bench.of("security.denied")[0]["decision"] == "deny"
    assert bench.state.spent.tokens == 0


async def test_a_tool_of_the_provider_does_not_pass_as_a_group_of_tools(opened, service):
    bench = await opened()
    service.says()
    disguised = {"type": "web_search", "tools": [{"type": "function", "name": "f"}]}

    await bench.ask("/v1/responses", {**ASK, "tools": [disguised]})

    assert "tools" not in service.calls[0].json


async def test_images_count_as_much_as_the_operator_says(opened, service):
    bench = await opened(Limits(tokens=100_000), upstream={"image_tokens": 7000})
    service.says()
    image = {"type": "input_image", "image_url": "data:image/png;base64," + "A" * 40_000}
    body = {"model": "gpt-5", "input": [{"role": "user", "content": [image, image]}]}

    answered = await bench.ask("/v1/responses", {**body, "max_output_tokens": 100})

    assert answered.status == 200
    (held,) = bench.of("budget.held")
    assert 14_000 <= held["budget_held"] < 20_000


async def test_without_a_limit_in_tokens_nothing_is_left_out(opened, service):
    bench = await opened(Limits(requests=5))
    service.says()

    await bench.ask("/v1/responses", {**ASK, "tools": [{"type": "web_search"}]})

    assert service.calls[0].json["tools"] == [{"type": "web_search"}]


async def test_models_that_the_operator_does_not_list_are_denied(opened, service):
    bench = await opened(upstream={"models": ["gpt-5*"]})
    service.says()

    denied = await bench.ask("/v1/responses", {**ASK, "model": "o3-pro"})
    allowed = await bench.ask("/v1/responses", {**ASK, "model": "gpt-5-mini"})

    assert (denied.status, allowed.status) == (403, 200)
    assert bench.of("security.denied")[0]["decision_reason"].startswith("the model 'o3-pro'")


# --- requests that are none -----------------------------------------------------------------------


@pytest.mark.parametrize("token", ["wrong", "", "sk-sashizu-"])
async def test_nobody_without_the_token_is_served(opened, service, token):
    bench = await opened()
    service.says()

    answered = await bench.ask("/v1/responses", ASK, token=token)

    assert answered.status == 401
    assert not service.asked


@pytest.mark.parametrize(
    ("body", "status"),
    [
        (b"", 400),
        (b"{", 400),
        (b"[]", 400),
        (b'{"model": 5, "input": "x"}', 400),
        (b'{"model": "gpt-5"}', 400),
        (b'{"model": "gpt-5", "input": {}}', 400),
        (b'{"model": "gpt-5", "input": "x", "max_output_tokens": -1}', 400),
        (b'{"model": "gpt-5", "input": "x", "max_output_tokens": true}', 400),
        (b'{"model": "gpt-5", "input": "\\ud800"}', 400),
        (b'{"model": "gpt-5", "input": NaN}', 400),
        (b'{"model": "' + b"m" * 300 + b'", "input": "x"}', 400),
        (b'{"model": "a\\nb", "input": "x"}', 400),
        (b'{"model": "gpt-5", "input": ' + b"[" * 5000 + b"]" * 5000 + b"}", 400),
    ],
)
async def test_what_cannot_be_read_is_refused(opened, service, body, status):
    bench = await opened()

    answered = await bench.ask("/v1/responses", body)

    assert answered.status == status
    assert answered.error["message"]
    assert not service.asked


async def test_a_body_that_is_too_large_is_not_read_to_its_end(opened, service):
    bench = await opened(max_body=2000)
    body = json.dumps({"model": "gpt-5", "input": "x" * 5000}).encode()

    told = await bench.ask("/v1/responses", body)
    untold = await bench.ask("/v1/responses", body, content_length="")

    assert told.status == untold.status == 413


async def test_a_body_that_is_compressed_is_refused(opened, service):
    bench = await opened()

    answered = await bench.ask("/v1/responses", ASK, content_encoding="gzip")

    assert answered.status == 415


@pytest.mark.parametrize(
    ("method", "path", "status"),
    [
        ("POST", "/v1/embeddings", 404),
        ("POST", "/v1/responses/compact", 404),
        ("GET", "/v1/responses", 405),
        ("DELETE", "/v1/responses/resp_1", 404),
        ("POST", "/v1/models", 405),
        ("GET", "/v1/models/../../secret", 404),
        ("GET", "/v1/models/a%2e", 404),
    ],
)
async def test_paths_without_a_bound_are_not_forwarded(opened, service, method, path, status):
    bench = await opened()
    service.says()

    answered = await bench.ask(path, ASK, method=method)

    assert answered.status == status
    assert not service.asked


async def test_anybody_may_ask_whether_it_is_there(opened):
    bench = await opened()

    answered = await bench.ask("/health", b"", method="GET", token="")

    assert answered.json == {"status": "ok"}


async def test_headers_of_the_client_decide_nothing_at_the_service(opened, service):
    bench = await opened()
    service.says()

    await bench.ask(
        "/v1/responses",
        ASK,
        openai_organization="org-of-somebody",
        openai_project="proj",
        cookie="a=b",
        x_forwarded_for="1.2.3.4",
        host="elsewhere.example",
        transfer_encoding="chunked",
        openai_beta="responses=v1",
    )

    headers = service.calls[0].headers
    assert headers["openai-beta"] == "responses=v1"
    assert headers["host"].startswith("127.0.0.1:")
    sent = {"openai-organization", "openai-project", "cookie", "x-forwarded-for"}
    assert not sent & headers.keys()
    assert "transfer-encoding" not in headers


async def test_headers_of_the_service_that_are_not_for_clients_stay_behind(opened, service):
    bench = await opened()

    async def talkative(wire, asked):
        body = {"id": "r", "status": "completed", "usage": {"input_tokens": 1, "output_tokens": 1}}
        await wire.answer(
            200,
            body,
            **{"set-cookie": "a=b", "x-request-id": "req_1", "x-sashizu-removed": "nothing"},
        )

    service.does(talkative)
    answered = await bench.ask("/v1/responses", ASK)
    await bench.ask("/v1/responses", ASK)

    assert answered.headers["x-request-id"] == "req_1"
    assert not {"set-cookie", "x-sashizu-removed"} & answered.headers.keys()
    assert "cookie" not in service.calls[1].headers


async def test_a_redirect_is_not_followed_with_the_key(opened, service):
    bench = await opened()

    async def elsewhere(wire, asked):
        await wire.answer(302, b"", location="http://127.0.0.1:9/steal")

    service.does(elsewhere)
    answered = await bench.ask("/v1/responses", ASK)

    assert answered.status == 302
    assert "location" not in answered.headers
    assert len(service.asked) == 1


# --- the record -----------------------------------------------------------------------------------


class BrokenSink(MemorySink):
    """Takes so many writes, and no more."""

    def __init__(self, good: int) -> None:
        super().__init__()
        self.good = good

    def write(self, events):
        if self.good == 0:
            raise RecordError("the disk is full")
        self.good -= 1
        super().write(events)


@pytest.mark.parametrize("good", [0, 1])
async def test_what_cannot_be_recorded_is_not_sent_and_ends_the_gateway(opened, service, good):
    bench = await opened(sink=BrokenSink(good))
    service.says()

    first = await bench.ask("/v1/responses", ASK)
    second = await bench.ask("/v1/responses", ASK)

    assert (first.status, second.status) == (503, 503)
    assert not service.calls


async def test_prompts_and_answers_are_kept_where_the_record_keeps_them(opened, service):
    class Keeping(MemorySink):
        keeps_content = True

        def __init__(self) -> None:
            super().__init__()
            self.kept: list[str] = []

        def keep(self, text: str) -> str:
            self.kept.append(text)
            return "0" * 64

    sink = Keeping()
    bench = await opened(sink=sink)
    service.says("the answer")
    question = {"role": "user", "content": "the question"}
    more = {"role": "user", "content": "and more"}
    body = {"model": "gpt-5", "stream": True}

    await bench.ask("/v1/responses", {**body, "input": [question]})
    await bench.ask("/v1/responses", {**body, "input": [question, more]})

    assert [text.count("the question") for text in sink.kept] == [1, 0, 0, 0]
    assert ["the answer" in text for text in sink.kept] == [False, True, False, True]
    assert all("blobs" in event for event in bench.of("model.requested"))
