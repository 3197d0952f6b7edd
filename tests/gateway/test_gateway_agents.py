"""Agents of one client, told apart by what it says of them."""

import json

import pytest
from sashizu_core.types import Limits

ASK = {"model": "gpt-5", "input": "hello"}


def codex(thread: str, parent: str = "", name: str = "") -> dict[str, str]:
    metadata = {"agent_name": name, "thread_id": thread, "window_number": 0}
    headers = {"session_id": "root", "thread_id": thread}
    headers["x_codex_turn_metadata"] = json.dumps(metadata)
    if parent:
        headers["x_codex_parent_thread_id"] = parent
    return headers


async def test_each_thread_of_codex_has_a_node_below_the_one_that_started_it(opened, service):
    bench = await opened()
    service.says(inputs=100, outputs=10)

    await bench.ask("/v1/responses", ASK, **codex("root", name="/root"))
    await bench.ask("/v1/responses", ASK, **codex("one", "root", "/root/one"))
    await bench.ask("/v1/responses", ASK, **codex("two", "one", "/root/one/two"))
    await bench.ask("/v1/responses", ASK, **codex("one", "root", "/root/one"))

    spent = {agent.name: agent.node.state().spent.tokens for agent in bench.client.agents}
    assert spent == {"codex/root": 440, "codex/root/one": 330, "codex/root/one/two": 110}
    assert [agent.depth for agent in bench.client.agents] == [0, 1, 2]
    started = bench.of("agent.started")
    assert [event.get("parent_agent_id") for event in started] == [
        None,
        started[0]["agent_id"],
        started[1]["agent_id"],
    ]


async def test_agents_of_claude_code_are_told_apart(opened, service):
    bench = await opened()
    service.says(inputs=100, outputs=10)
    body = {"model": "claude-sonnet-4-5", "max_tokens": 100, "messages": []}
    session = {"x_claude_code_session_id": "5e55"}
    agent = {"x_claude_code_agent_id": "a-123", "x_claude_code_parent_agent_id": ""}

    await bench.ask("/v1/messages", body, **session)
    await bench.ask("/v1/messages", body, **session, **agent)

    first, second = bench.client.agents
    assert (first.depth, second.depth) == (0, 1)
    assert first.node.state().spent.tokens == 220
    assert second.node.state().spent.tokens == 110


async def test_any_client_can_name_its_agents(opened, service):
    bench = await opened()
    service.says()

    await bench.ask("/v1/responses", ASK, x_sashizu_agent="planner")
    await bench.ask("/v1/responses", ASK, x_sashizu_agent="coder", x_sashizu_parent="planner")

    assert [(agent.name, agent.depth) for agent in bench.client.agents] == [
        ("codex/planner", 0),
        ("codex/coder", 1),
    ]


async def test_each_agent_has_its_own_limit_below_the_common_one(opened, service):
    bench = await opened(
        Limits(tokens=100_000), per_agent=Limits(requests=2), upstream={"count": False}
    )
    service.says()

    first = [(await bench.ask("/v1/responses", ASK, **codex("root"))).status for _ in range(3)]
    other = await bench.ask("/v1/responses", ASK, **codex("other"))

    assert first == [200, 200, 400]
    assert other.status == 200


async def test_agents_are_booked_and_refused_above_their_limit(opened, service):
    bench = await opened(Limits(tokens=100_000, agents=2))
    service.says()

    statuses = [
        (
            await bench.ask("/v1/responses", ASK, **codex(name, "root" if name != "root" else ""))
        ).status
        for name in ("root", "one", "two", "one")
    ]

    assert statuses == [200, 200, 400, 200]
    assert bench.state.spent.agents == 2
    assert bench.of("budget.refused")[0]["budget_unit"] == "agents"


async def test_a_client_with_very_many_agents_is_still_counted(opened, service):
    bench = await opened(agents=5)
    service.says(inputs=10, outputs=1)

    for number in range(20):
        await bench.ask("/v1/responses", ASK, **codex(f"t{number}"))

    assert len(list(bench.client.agents)) == 5
    assert bench.state.spent.tokens == 220


@pytest.mark.parametrize(
    "headers",
    [
        {"thread_id": "x" * 5000},
        {"thread_id": "a\x00b"},
        {"thread_id": "same", "x_codex_parent_thread_id": "same"},
        {"thread_id": "t", "x_codex_turn_metadata": "[" * 3000},
        {"thread_id": "t", "x_codex_turn_metadata": '{"agent_name": 5}'},
        {"thread_id": "t", "x_codex_turn_metadata": '{"agent_name": "<b>\\n\\u202e"}'},
        {"thread_id": "a", "x_codex_parent_thread_id": "nobody"},
    ],
)
async def test_what_a_client_says_of_its_agents_breaks_nothing(opened, service, headers):
    bench = await opened()
    service.says(inputs=10, outputs=1)

    answered = await bench.ask("/v1/responses", ASK, **headers)

    assert answered.status == 200
    assert bench.state.spent.tokens == 11
    (agent,) = bench.client.agents
    assert agent.name.replace("/", "").replace("-", "").isalnum()


async def test_agents_that_name_each_other_as_parents_make_no_circle(opened, service):
    bench = await opened()
    service.says(inputs=10, outputs=1)

    await bench.ask("/v1/responses", ASK, **codex("a", "b"))
    await bench.ask("/v1/responses", ASK, **codex("b", "a"))
    await bench.ask("/v1/responses", ASK, **codex("a", "b"))

    assert [agent.depth for agent in bench.client.agents] == [0, 1]
    assert bench.state.spent.tokens == 33


async def test_agents_end_on_record_when_their_client_does(opened, service):
    bench = await opened()
    service.says(inputs=10, outputs=1)
    await bench.ask("/v1/responses", ASK, **codex("root", name="/root"))
    await bench.ask("/v1/responses", ASK, **codex("one", "root", "/root/one"))

    bench.client.end()

    ended = bench.of("agent.ended")
    assert [event["agent_name"] for event in ended] == ["codex/root/one", "codex/root"]
    assert [event["attrs"]["tokens"] for event in ended] == [11, 11]
