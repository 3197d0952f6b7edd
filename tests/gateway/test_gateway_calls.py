"""Calls that pass the gateway: bounded, forwarded, settled, recorded."""

import json

import anyio
import pytest
from sashizu_core.types import Limits

ASK = {
    "/v1/responses": {"model": "gpt-5", "input": "hello"},
    "/v1/chat/completions": {"model": "gpt-5", "messages": [{"role": "user", "content": "hello"}]},
    "/v1/messages": {
        "model": "claude-sonnet-4-5",
        "max_tokens": 1000,
        "messages": [{"role": "user", "content": "hello"}],
    },
}
CAPS = {
    "/v1/responses": "max_output_tokens",
    "/v1/chat/completions": "max_completion_tokens",
    "/v1/messages": "max_tokens",
}
each_dialect = pytest.mark.parametrize("path", ASK)
each_way = pytest.mark.parametrize("stream", [False, True], ids=["whole", "streamed"])


@each_dialect
@each_way
async def test_a_call_is_answered_and_booked_at_what_the_provider_says(
    opened, service, path, stream
):
    bench = await opened()
    service.says("good day", inputs=120, outputs=7)

    answered = await bench.ask(path, {**ASK[path], "stream": stream})

    assert answered.status == 200
    assert answered.complete
    assert b"good day" in answered.body
    assert bench.state.spent.tokens == 127
    assert bench.state.held.tokens == 0


@each_dialect
@each_way
async def test_a_call_is_on_record_with_its_hold_and_its_bill(opened, service, path, stream):
    bench = await opened()
    service.says(inputs=120, outputs=7)

    await bench.ask(path, {**ASK[path], "stream": stream})

    kinds = [kind for kind in bench.sink.kinds() if kind.startswith(("budget.", "model."))]
    assert kinds == ["budget.held", "model.requested", "model.answered", "budget.settled"]
    (answered,), (settled,) = bench.of("model.answered"), bench.of("budget.settled")
    assert (answered["input_tokens"], answered["output_tokens"]) == (120, 7)
    assert settled["budget_spent"] == 127
    assert settled["attrs"]["in_doubt"] is False


@each_dialect
async def test_the_key_stays_in_the_gateway_and_the_token_out_of_the_service(opened, service, path):
    bench = await opened()
    service.says()

    answered = await bench.ask(path, ASK[path], x_api_key="sk-of-the-client")

    (asked,) = service.calls
    shown = asked.headers.get("authorization", "") + asked.headers.get("x-api-key", "")
    assert shown in (f"Bearer {service.key}", service.key)
    assert bench.client.secret not in repr(asked.headers)
    assert service.key not in repr(answered)
    assert service.key not in repr(bench.sink.events)
    assert bench.client.secret not in repr(bench.sink.events)


@each_dialect
async def test_an_output_cap_is_put_in_where_the_client_gives_none(opened, service, path):
    bench = await opened(max_output_tokens=2000)
    service.says()
    body = {name: value for name, value in ASK[path].items() if name != "max_tokens"}

    await bench.ask(path, body)

    assert service.calls[0].json[CAPS[path]] == 2000


async def test_a_cap_of_the_client_is_kept_under_the_name_that_it_used(opened, service):
    bench = await opened()
    service.says()

    await bench.ask("/v1/chat/completions", {**ASK["/v1/chat/completions"], "max_tokens": 77})

    assert service.calls[0].json["max_tokens"] == 77
    assert "max_completion_tokens" not in service.calls[0].json


async def test_of_two_names_for_the_cap_only_one_is_sent(opened, service):
    bench = await opened()
    service.says()
    caps = {"max_tokens": 77, "max_completion_tokens": 50_000}

    await bench.ask("/v1/chat/completions", {**ASK["/v1/chat/completions"], **caps})

    sent = service.calls[0].json
    (hold,) = bench.of("budget.held")
    assert [sent[name] for name in caps if name in sent] == [hold["attrs"]["output_cap"]]


async def test_the_output_shrinks_to_what_is_left(opened, service):
    bench = await opened(Limits(tokens=3000))
    service.says(inputs=1100, outputs=100)

    answered = await bench.ask("/v1/responses", ASK["/v1/responses"])

    assert answered.status == 200
    assert 256 <= service.calls[0].json["max_output_tokens"] < 2000


async def test_several_choices_are_bounded_together(opened, service):
    bench = await opened(Limits(tokens=50_000))
    service.says()
    body = {**ASK["/v1/chat/completions"], "n": 4, "max_tokens": 1000}

    await bench.ask("/v1/chat/completions", body)

    (hold,) = bench.of("budget.held")
    assert hold["attrs"]["output_cap"] == 4000
    assert service.calls[0].json["max_tokens"] == 1000


async def test_pieces_reach_the_client_before_the_answer_ends(opened, service):
    bench = await opened()
    seen = anyio.Event()

    async def slowly(wire, asked):
        await wire.begin()
        await wire.event({"type": "response.output_text.delta", "delta": "first"})
        await seen.wait()
        done = {"id": "r", "status": "completed", "usage": {"input_tokens": 5, "output_tokens": 2}}
        await wire.event({"type": "response.completed", "response": done})
        await wire.end()

    service.does(slowly)
    with anyio.fail_after(10):
        answered = await bench.ask(
            "/v1/responses",
            {**ASK["/v1/responses"], "stream": True},
            on_piece=lambda piece: seen.set() if b"first" in piece else None,
        )

    assert answered.complete
    assert bench.state.spent.tokens == 7


async def test_usage_that_only_the_gateway_asked_for_is_not_shown(opened, service):
    bench = await opened()
    service.says(inputs=30, outputs=3)
    body = {**ASK["/v1/chat/completions"], "stream": True}

    quiet = await bench.ask("/v1/chat/completions", body)
    loud = await bench.ask(
        "/v1/chat/completions", {**body, "stream_options": {"include_usage": True}}
    )

    assert [event["choices"] != [] for event in quiet.events] == [True, True]
    assert loud.events[-1]["usage"]["total_tokens"] == 33
    assert quiet.body.endswith(b"data: [DONE]\n\n")
    assert bench.state.spent.tokens == 66


async def test_a_conversation_that_goes_on_is_bounded_by_its_last_bill(opened, service):
    bench = await opened(Limits(tokens=200_000))
    service.says("x", inputs=900, outputs=10)
    long = {"role": "user", "content": "word " * 8000}
    answer = {"role": "assistant", "content": "x"}
    more = {"role": "user", "content": "go on"}

    await bench.ask("/v1/responses", {"model": "gpt-5", "input": [long], "metadata": {"turn": "1"}})
    await bench.ask(
        "/v1/responses",
        {"model": "gpt-5", "input": [long, answer, more], "metadata": {"turn": "2"}},
    )

    first, second = bench.of("budget.held")
    assert first["attrs"]["rule"] == "text of everything"
    assert first["budget_held"] > 40_000
    assert second["attrs"]["rule"] == "previous call + text added"
    assert second["budget_held"] - second["attrs"]["output_cap"] < 900 + 1024 + 300


@pytest.mark.parametrize(
    "change",
    [
        {"model": "gpt-5-mini"},
        {"instructions": "Answer in verse."},
        {"tools": [{"type": "function", "name": "f", "parameters": {}}]},
        {"reasoning": {"effort": "high"}},
    ],
    ids=lambda change: next(iter(change)),
)
async def test_a_bill_says_nothing_of_a_request_with_other_settings(opened, service, change):
    bench = await opened(Limits(tokens=200_000))
    service.says(inputs=900, outputs=10)
    item = {"role": "user", "content": "word " * 100}

    await bench.ask("/v1/responses", {"model": "gpt-5", "input": [item]})
    await bench.ask("/v1/responses", {"model": "gpt-5", "input": [item, item], **change})

    assert [held["attrs"]["rule"] for held in bench.of("budget.held")] == ["text of everything"] * 2


async def test_marks_of_what_is_cached_do_not_break_a_conversation(opened, service):
    bench = await opened(Limits(tokens=200_000))
    service.says(inputs=900, outputs=10)
    text = {"type": "text", "text": "word " * 100}
    marked = {**text, "cache_control": {"type": "ephemeral"}}
    rest = {"model": "claude-sonnet-4-5", "max_tokens": 500}

    for parts in ([marked], [text, marked]):
        messages = [{"role": "user", "content": [part]} for part in parts]
        await bench.ask("/v1/messages", {**rest, "messages": messages})

    rules = [held["attrs"]["rule"] for held in bench.of("budget.held")]
    assert rules == ["text of everything", "previous call + text added"]


async def test_the_providers_count_is_asked_for_before_anything_is_refused(opened, service):
    bench = await opened(Limits(tokens=20_000))
    service.says(inputs=6000, outputs=50)
    body = {"model": "gpt-5", "input": "word " * 6000, "stream": True}

    answered = await bench.ask("/v1/responses", body)

    assert answered.status == 200
    assert [asked.path for asked in service.asked] == [
        "/v1/responses/input_tokens",
        "/v1/responses",
    ]
    assert "stream" not in service.asked[0].json
    (held,) = bench.of("budget.held")
    assert held["attrs"]["rule"].startswith("provider's count")
    assert bench.state.spent.tokens == 6050
    assert bench.state.spent.requests == 2


async def test_a_service_that_does_not_count_is_asked_once(opened, service):
    bench = await opened(Limits(tokens=5000))

    async def none(wire, asked):
        await wire.answer(404, {"error": {"message": "no such path"}})

    service.does(none)
    body = {"model": "gpt-5", "input": "word " * 6000}

    first = await bench.ask("/v1/responses", body)
    second = await bench.ask("/v1/responses", body)

    assert first.status == second.status == 400
    assert len(service.asked) == 1


async def test_lists_of_models_and_counts_are_passed_on(opened, service):
    bench = await opened()
    service.says(inputs=42)

    async def models(wire, asked):
        await wire.answer(200, {"data": [{"id": "gpt-5"}]})

    counted = await bench.ask("/v1/responses/input_tokens", ASK["/v1/responses"])
    service.does(models)
    listed = await bench.ask("/v1/models", b"", method="GET")

    assert counted.json == {"input_tokens": 42}
    assert listed.json["data"][0]["id"] == "gpt-5"
    assert service.asked[1].headers["authorization"] == f"Bearer {service.key}"
    assert bench.state.spent.requests == 1
    assert bench.of("model.answered")[0]["op"] == "count_tokens"


async def test_without_a_ledger_calls_are_recorded_all_the_same(opened, service):
    bench = await opened(None)
    service.says(inputs=30, outputs=3)

    answered = await bench.ask("/v1/responses", ASK["/v1/responses"])

    assert answered.status == 200
    assert bench.of("model.answered")[0]["tokens"] == 33
    assert bench.client.used.tokens == 33


async def test_what_is_sent_is_what_was_judged(opened, service):
    bench = await opened()
    service.says()
    twice = b'{"model":"gpt-5","input":"hi","max_output_tokens":10,"max_output_tokens":300}'

    await bench.ask("/v1/responses", twice)

    sent = service.calls[0].body
    assert sent.count(b"max_output_tokens") == 1
    assert json.loads(sent)["max_output_tokens"] == 300
    assert bench.of("budget.held")[0]["attrs"]["output_cap"] == 300
