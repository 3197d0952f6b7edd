"""What clients write so that calls cost more than their bounds, or that nothing goes on."""

import anyio
import pytest
from sashizu_budget.nodes import Node
from sashizu_core.errors import SashizuError
from sashizu_core.types import Limits
from sashizu_gateway.clients import DEEPEST

CHAT = {"model": "gpt-5", "messages": [{"role": "user", "content": "hello"}]}
MOST = 2**63 - 1


@pytest.mark.parametrize("limits", [Limits(), Limits(tokens=100_000), Limits(tokens=10)])
async def test_no_number_of_a_client_is_larger_than_the_record_can_hold(opened, service, limits):
    bench = await opened(limits)
    service.says()

    await bench.ask("/v1/chat/completions", {**CHAT, "max_tokens": MOST, "n": 128})

    booked = [*bench.of("budget.held"), *bench.of("budget.refused")]
    assert booked
    for event in booked:
        assert event["budget_held"] <= MOST
        assert event["attrs"].get("nusd", 0) <= MOST
    assert not bench.gateway.ended


# --- references ---------------------------------------------------------------------------------


def asks(*items):
    return {"model": "gpt-5", "input": [{"role": "user", "content": "hello"}, *items]}


def messages(*content, **more):
    said = [{"role": "assistant", "content": list(content)}]
    return {"model": "claude-sonnet-4-5", "max_tokens": 1000, "messages": said, **more}


def spoke(audio):
    said = [{"role": "assistant", "audio": audio}, *CHAT["messages"]]
    return {**CHAT, "messages": said}


@pytest.mark.parametrize(
    ("path", "body"),
    [
        ("/v1/responses", asks({"id": "msg_1"})),
        ("/v1/responses", asks({"id": "msg_1", "type": None})),
        ("/v1/responses", asks({"type": "compaction_trigger"})),
        ("/v1/responses", asks({"type": "reasoning", "id": "rs_1", "summary": []})),
        ("/v1/responses", asks({"type": "image_generation_call", "id": "ig_1", "result": None})),
        ("/v1/responses", asks({"type": "web_search_call", "id": "ws_1"})),
        ("/v1/responses", asks() | {"instructions": [{"type": "input_file", "file_id": "f"}]}),
        ("/v1/chat/completions", spoke({"id": "audio_1"})),
        ("/v1/messages", messages() | {"system": [{"type": "document", "source": {"type": []}}]}),
    ],
)
async def test_what_lies_at_the_provider_is_not_asked_for_by_its_name(opened, service, path, body):
    bench = await opened()
    service.says()

    answered = await bench.ask(path, body)

    assert answered.status == 400
    assert "refers to something else" in str(answered.json) or "images" in str(answered.json)
    assert not service.calls


async def test_reasoning_that_the_gateway_saw_billed_may_be_named_by_its_id(opened, service):
    bench = await opened()
    service.does(
        reasons("rs_1", billed=700),
        reasons("rs_2", billed=300),
    )
    first = asks()
    item = {"type": "reasoning", "id": "rs_1", "summary": []}

    assert (await bench.ask("/v1/responses", {**first, "max_output_tokens": 1000})).status == 200
    went_on = await bench.ask("/v1/responses", {**asks(item), "max_output_tokens": 1000})
    anew = await bench.ask(
        "/v1/responses", {**asks(item), "instructions": "else", "max_output_tokens": 1000}
    )

    assert [went_on.status, anew.status] == [200, 200]
    _, second, third = bench.of("budget.held")
    assert second["attrs"]["rule"] == "previous call + text added"
    text = len('{"type":"reasoning","id":"rs_1","summary":[]}')
    # the bill of the call before holds the reasoning; without that bill it is added
    assert second["budget_held"] == 100 + 700 + text + 16 + 1024 + 1000
    assert third["budget_held"] > 700 + 2 * 16 + 1024 + 1000


def reasons(name, *, billed):
    async def handler(wire, asked):
        used = {"input_tokens": 100, "output_tokens": billed + 10}
        used["output_tokens_details"] = {"reasoning_tokens": billed}
        output = [{"type": "reasoning", "id": name, "summary": []}]
        await wire.answer(200, {"status": "completed", "output": output, "usage": used})

    return handler


# --- JSON of anybody's ----------------------------------------------------------------------------


@pytest.mark.parametrize(
    "given", [{"type": ["string", "null"]}, {"type": "file"}, {"type": "image"}, {"type": {}}]
)
async def test_arguments_of_tools_are_text_whatever_they_look_like(opened, service, given):
    bench = await opened()
    service.says()
    call = {"type": "tool_use", "id": "t", "name": "n", "input": {"what": given, **given}}

    assert (await bench.ask("/v1/messages", messages(call))).status == 200


async def test_schemas_of_tools_in_a_conversation_are_text(opened, service):
    bench = await opened()
    service.says()
    schema = {"type": "object", "properties": {"type": {"type": ["string", "null"]}}}
    tool = {"type": "function", "name": "f", "parameters": schema}

    found = {"type": "tool_search_output", "tools": [tool]}
    answered = await bench.ask("/v1/responses", asks(found))

    assert answered.status == 200


@pytest.mark.parametrize("tool", [{"type": []}, {"type": {"a": 1}}, 5, None])
async def test_tools_that_are_none_are_left_out(opened, service, tool):
    bench = await opened()
    service.says()

    answered = await bench.ask("/v1/responses", {**asks(), "tools": [tool]})

    assert answered.status == 200
    assert "tools" not in service.calls[0].json


async def test_tools_have_to_be_a_list(opened, service):
    bench = await opened()
    service.says()

    answered = await bench.ask("/v1/responses", {**asks(), "tools": {"type": "web_search"}})

    assert answered.status == 400
    assert not service.calls


@pytest.mark.parametrize("place", ["metadata", "input", "text"])
async def test_a_request_that_is_nested_too_deeply_costs_nothing(opened, service, place):
    bench = await opened()
    service.says()
    body = b'{"model":"gpt-5","input":"x","%b":%b1%b}' % (place.encode(), b"[" * 500, b"]" * 500)

    answered = await bench.ask("/v1/responses", body)

    assert answered.status == 400
    assert answered.error["type"] == "invalid_request_error"
    assert bench.state.spent.tokens == bench.state.held.tokens == 0


async def test_names_of_tools_that_were_left_out_are_plain_and_few(opened, service):
    bench = await opened()
    service.says()
    tools = [{"type": "a\r\nset-cookie: x=y"}, *({"type": f"tool{n}"} for n in range(5000))]

    answered = await bench.ask("/v1/responses", {**asks(), "tools": tools})

    told = answered.headers["x-sashizu-removed"]
    assert told.startswith("a--set-cookie--x-y, tool0")
    assert len(told) < 2000
    (denied,) = bench.of("security.denied")
    assert len(denied["attrs"]["removed"]) <= 50


# --- images ---------------------------------------------------------------------------------------


async def held_for(bench, path, body):
    answered = await bench.ask(path, body)
    assert answered.status == 200, answered.body
    return bench.of("budget.held")[-1]["budget_held"]


async def test_an_image_takes_nothing_off_the_bound_of_a_text(opened, service):
    bench = await opened(upstream={"image_tokens": 1500})
    service.says()
    text = {"type": "text", "text": "\uff21" * 10_000}
    image = {"type": "image", "source": {"type": "url", "url": "https://x"}}
    image["image_url"] = "\ufdfa" * 900
    call = {"type": "tool_use", "id": "t", "name": "n"}
    picture = {"type": "image", "source": "x" * 30_000}

    assert await held_for(bench, "/v1/messages", messages(text, image)) > 30_000
    assert await held_for(bench, "/v1/messages", messages({**call, "input": picture})) > 30_000


async def test_an_image_at_an_address_may_be_another_one_by_the_next_call(opened, service):
    bench = await opened(upstream={"image_tokens": 5000})
    service.says(inputs=100)
    image = {"type": "image", "source": {"type": "url", "url": "https://x/y"}}
    body = messages(image)
    await bench.ask("/v1/messages", body)

    more = {**body, "messages": [*body["messages"], {"role": "user", "content": "and?"}]}

    assert await held_for(bench, "/v1/messages", more) > 5000


# --- prices and bills -----------------------------------------------------------------------------


def kept(seconds):
    return {"cache_control": {"type": "ephemeral", "ttl": seconds}}


async def test_under_a_limit_in_dollars_nothing_is_cached_at_a_rate_that_no_price_names(
    opened, service
):
    bench = await opened(Limits(nusd=10**9))
    service.says()
    text = {"type": "text", "text": "x"}
    inner = {"type": "tool_result", "tool_use_id": "t", "content": [{**text, **kept("1h")}]}
    named = {"name": "n", "input_schema": {"properties": kept("1h")}}
    body = messages({**text, **kept("1h")}, inner, {**text, **kept("5m")}, **kept("1h"))
    body |= {"system": [{**text, **kept("1h")}], "tools": [{**named, **kept("1h")}]}

    answered = await bench.ask("/v1/messages", body)

    assert answered.headers["x-sashizu-removed"] == "cache_control.ttl"
    (sent,) = service.calls
    assert sent.json["tools"][0]["input_schema"] == named["input_schema"]
    assert str(sent.json).count("1h") == 1
    assert str(sent.json).count("'type': 'ephemeral'") == 7


async def test_without_a_limit_in_dollars_caches_are_kept_as_long_as_asked(opened, service):
    bench = await opened(Limits(tokens=100_000))
    service.says()

    await bench.ask("/v1/messages", messages(**kept("1h")))

    assert service.calls[0].json["cache_control"]["ttl"] == "1h"


async def test_a_stream_that_tells_its_output_only_when_it_begins_has_no_bill(opened, service):
    bench = await opened(Limits(tokens=100_000))

    async def handler(wire, asked):
        used = {"input_tokens": 5, "output_tokens": 1}
        await wire.begin()
        await wire.event({"type": "message_start", "message": {"id": "m", "usage": used}})
        await wire.event({"type": "message_delta", "delta": {"stop_reason": "end_turn"}})
        await wire.event({"type": "message_stop"})
        await wire.end()

    service.does(handler)
    answered = await bench.ask("/v1/messages", messages(stream=True))

    assert answered.complete
    (settled,) = bench.of("budget.settled")
    assert settled["attrs"]["in_doubt"] is True
    assert bench.state.spent.tokens == bench.of("budget.held")[0]["budget_held"]


async def test_a_count_that_is_an_estimate_is_held_with_a_margin(opened, service):
    bench = await opened(Limits(tokens=12_000))
    service.says(inputs=10_000)

    answered = await bench.ask("/v1/messages", messages({"type": "text", "text": "x" * 20_000}))

    assert answered.status == 200
    (held,) = bench.of("budget.held")
    assert held["attrs"]["rule"].startswith("provider's count")
    assert held["budget_held"] == 10_000 + 328 + 1000


# --- agents ---------------------------------------------------------------------------------------


async def test_agents_beneath_agents_have_an_end(opened, service):
    bench = await opened(Limits(tokens=10_000_000))
    service.says()

    for number in range(DEEPEST + 10):
        told = {"x_sashizu_agent": f"a{number}", "x_sashizu_parent": f"a{number - 1}"}
        assert (await bench.ask("/v1/responses", asks(), **told)).status == 200

    agents = list(bench.client.agents)
    assert max(agent.depth for agent in agents) == DEEPEST
    assert sum(agent.used.requests for agent in agents) == DEEPEST + 10


# --- requests of many parts -----------------------------------------------------------------------


@pytest.mark.parametrize(
    "parts",
    [
        b'"input":[%b]' % b",".join([b'""'] * 20_001),
        b'"input":"x","tools":[%b]' % b",".join([b"{}"] * 20_001),
        b'"input":"x","metadata":[%b]' % b",".join([b"[]"] * 1_000_001),
        b'"input":"x","metadata":[%b]' % b",".join([b"[" * 200 + b"]" * 200] * 10_001),
    ],
)
async def test_a_request_of_more_parts_than_anybody_has_is_not_looked_at(opened, service, parts):
    bench = await opened()
    service.says()

    answered = await bench.ask("/v1/responses", b'{"model":"gpt-5",%b}' % parts)

    assert answered.status == 413
    assert "parts" in answered.error["message"]
    assert not service.calls


async def test_a_text_of_many_commas_is_one_part(opened, service):
    bench = await opened(Limits(tokens=5_000_000), upstream={"context_window": 1_000_000})
    service.says()

    answered = await bench.ask("/v1/responses", {**asks(), "input": "1," * 500_000})

    assert answered.status == 200


# --- what fails here ------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("error", "status", "told"),
    [(SashizuError("the file is locked"), 503, "the file is locked"), (KeyError("x"), 500, "log")],
)
async def test_what_fails_in_the_gateway_is_told_in_the_dialect(
    opened, service, monkeypatch, caplog, error, status, told
):
    bench = await opened()
    service.says()

    def fails(_node, _amount):
        raise error

    monkeypatch.setattr(Node, "reserve", fails)
    answered = await bench.ask("/v1/messages", messages(), x_sashizu_agent="a")
    monkeypatch.undo()

    assert answered.status == status
    assert told in answered.error["message"]
    assert bool(caplog.records) == (status == 500)
    assert (await bench.ask("/v1/messages", messages())).status == 200


async def test_the_bill_of_several_answers_is_known_when_all_of_them_have_ended(opened, service):
    bench = await opened(Limits(tokens=100_000))

    async def handler(wire, asked):
        await wire.begin()
        running = {"prompt_tokens": 5, "completion_tokens": 1, "total_tokens": 6}
        ended = {"index": 0, "delta": {}, "finish_reason": "stop"}
        await wire.event({"choices": [ended], "usage": running})
        await wire.stream.aclose()

    service.does(handler)
    answered = await bench.ask("/v1/chat/completions", {**CHAT, "n": 2, "stream": True})

    assert not answered.complete
    (settled,) = bench.of("budget.settled")
    assert settled["attrs"]["in_doubt"] is True


async def test_a_call_that_was_billed_and_failed_has_its_cost_on_record(opened, service):
    bench = await opened(Limits(tokens=100_000))
    used = {"input_tokens": 1000, "output_tokens": 100}

    async def handler(wire, asked):
        await wire.answer(200, {"status": "failed", "error": {"message": "no"}, "usage": used})

    service.does(handler)
    await bench.ask("/v1/responses", asks())

    (failed,) = bench.of("model.failed")
    (settled,) = bench.of("budget.settled")
    assert failed["tokens"] == settled["budget_spent"] == 1100
    assert failed["cost_nusd"] == settled["attrs"]["nusd"] > 0
    assert failed["price_ref"].startswith("https://")


async def test_the_price_of_a_call_in_doubt_is_on_record(opened, service):
    bench = await opened(Limits(tokens=100_000))

    async def handler(wire, asked):
        await wire.stream.aclose()

    service.does(handler)
    await bench.ask("/v1/responses", asks())

    (failed,) = bench.of("model.failed")
    assert failed["price_ref"].startswith("https://")
    assert "cost_nusd" not in failed  # it is with the hold that was charged


async def test_an_answer_that_is_packed_all_the_same_is_said_to_be(opened, service):
    bench = await opened(Limits(tokens=100_000))

    async def handler(wire, asked):
        assert asked.headers["accept-encoding"] == "identity"
        await wire.answer(200, b"\x1f\x8b packed", **{"content-encoding": "gzip"})

    service.does(handler)
    answered = await bench.ask("/v1/responses", asks())

    assert answered.headers["content-encoding"] == "gzip"
    assert answered.body == b"\x1f\x8b packed"
    (settled,) = bench.of("budget.settled")
    assert settled["attrs"]["in_doubt"] is True


async def test_requests_take_so_much_memory_together_and_no_more(opened, service):
    bench = await opened(Limits(tokens=1_000_000))
    bench.gateway.room.left = 1500
    came, go_on = anyio.Event(), anyio.Event()

    async def waits(wire, asked):
        came.set()
        await go_on.wait()
        await wire.answer(200, {"status": "completed", "usage": {}})

    service.does(waits)
    large = asks() | {"input": "x" * 1000}
    found = []

    async def ask():
        found.append(await bench.ask("/v1/responses", large))

    with anyio.fail_after(30):
        async with anyio.create_task_group() as group:
            group.start_soon(ask)
            await came.wait()
            refused = await bench.ask("/v1/responses", large)
            go_on.set()
    again = await bench.ask("/v1/responses", large)

    assert refused.status == 429
    assert refused.headers["retry-after"]
    assert [answered.status for answered in (*found, again)] == [200, 200]
    assert bench.gateway.room.left == 1500
