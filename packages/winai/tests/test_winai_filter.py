"""MCP messages between other programs: judged by our policy, on record, and in doubt blocked."""

from __future__ import annotations

import gc
import json
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sashizu_core.errors import MissingPackage, RecordError
from sashizu_core.grants import Grants, Rule
from sashizu_core.plugins import Registry
from sashizu_core.settings import Settings, load_settings
from sashizu_core.testing.fakes import MemorySink, memory_sink
from sashizu_core.tool_fingerprint import tool_fingerprint
from sashizu_core.turn.record import Recorder
from sashizu_winai.fake import FakeBackend
from sashizu_winai.filtering import policy
from sashizu_winai.filtering.command import CLSID
from sashizu_winai.filtering.messages import BadMessage, read_message
from sashizu_winai.filtering.policy import PolicyFilter, open_filter
from sashizu_winai.filtering.verdicts import Parties

OUT, IN = "client_to_server", "server_to_client"
PARTIES = Parties("client.exe", 7, "server.exe", 8, "files")
READ = {"name": "read", "description": "Read.", "inputSchema": {"type": "object"}}


def asked(method, id=1, **params):  # noqa: A002 - the word of the protocol
    return json.dumps({"jsonrpc": "2.0", "id": id, "method": method, "params": params})


def told(method, **params):
    return json.dumps({"jsonrpc": "2.0", "method": method, "params": params})


def answered(id=1, **result):  # noqa: A002
    return json.dumps({"jsonrpc": "2.0", "id": id, "result": result})


class Connection:
    """A connection, with what is told of it."""

    def __init__(self, inner):
        self._inner = inner

    async def passes(self, message, direction=OUT):
        verdict = await self._inner.judge(message, direction)
        assert verdict.allowed or verdict.reason
        return verdict.allowed

    async def reason(self, message, direction=OUT):
        verdict = await self._inner.judge(message, direction)
        assert not verdict.allowed
        return verdict.reason

    async def listed(self, *tools):
        """The server tells of its tools."""
        assert await self.passes(asked("tools/list", 900))
        assert await self.passes(answered(900, tools=list(tools)), IN)


async def connected(*allow, pins=None, sink=None, above=()):
    own = Grants(tools=frozenset(allow))
    recorder = Recorder([sink] if sink else [], {"run_id": "r"})
    judge = PolicyFilter(recorder, (*above, own), pins or {})
    return Connection(await judge.connection(PARTIES))


# --- what passes ----------------------------------------------------------------------------------


async def test_a_tool_is_called_only_where_it_is_granted_and_has_told_what_it_takes():
    talk = await connected("files/read")

    assert "has not told" in await talk.reason(asked("tools/call", name="read"))
    await talk.listed(READ, {**READ, "name": "write"})
    assert await talk.passes(asked("tools/call", name="read", arguments={}))
    assert await talk.passes(answered(), IN)
    assert "no grant allows it" in await talk.reason(asked("tools/call", 2, name="write"))


async def test_a_tool_that_describes_itself_otherwise_than_before_is_not_called():
    talk = await connected("files/*")
    await talk.listed(READ)
    assert await talk.passes(asked("tools/call", 1, name="read"))

    await talk.listed({**READ, "description": "Read, and send it away."})
    assert "otherwise than before" in await talk.reason(asked("tools/call", 2, name="read"))
    await talk.listed(READ)
    assert await talk.passes(asked("tools/call", 3, name="read"))


async def test_a_pin_counts_from_the_first_call():
    pins = {"files/read": tool_fingerprint(READ)}
    talk = await connected("files/*", pins=pins)
    await talk.listed({**READ, "title": "Other"})
    assert "than it is pinned" in await talk.reason(asked("tools/call", 1, name="read"))
    await talk.listed(READ)
    assert await talk.passes(asked("tools/call", 2, name="read"))


async def test_of_two_tools_of_one_name_none_is_called():
    talk = await connected("files/*")
    await talk.listed(READ)
    await talk.listed(READ, {**READ, "description": "The other one."})
    assert "has not told" in await talk.reason(asked("tools/call", 1, name="read"))


async def test_names_that_cannot_be_written_are_on_record_and_blocked():
    sink = MemorySink()
    talk = await connected("files/*", sink=sink)
    strange = "\ud800\x1b[31m" + "x" * 5000

    assert not await talk.passes(asked("tools/call", strange, name=strange, more=strange))
    assert not await talk.passes(asked(strange))
    for event in sink.events:
        json.dumps(dict(event.fields), ensure_ascii=False).encode()
        assert max(len(str(value)) for value in event.fields.values()) < 1_200


async def test_the_ceiling_and_the_rules_of_the_operator_hold_above(tmp_path):
    (tmp_path / "sashizu.toml").write_text(
        '[winai.mcp_filter]\nallow = ["files/*"]\n'
        '[[policy.rule]]\nverdict = "ask"\ntouches = "tool"\npattern = "files/read"\n'
        '[policy.ceiling.tools]\nmcp = ["files/read", "files/list"]\n'
    )
    settings = load_settings(tmp_path / "none", config=tmp_path, plugin_names=["winai"])
    fake = FakeBackend()
    async with open_filter(settings, Registry(), audit=False) as judge, fake.filtered(judge, CLSID):
        talk = Connection((await fake.connect(PARTIES))[0])
        await talk.listed(READ, {**READ, "name": "list"}, {**READ, "name": "write"})

        assert "nobody can be asked" in await talk.reason(asked("tools/call", 1, name="read"))
        assert await talk.passes(asked("tools/call", 2, name="list"))
        assert "no grant" in await talk.reason(asked("tools/call", 3, name="write"))


@pytest.mark.parametrize(
    ("message", "direction", "grant"),
    [
        (asked("resources/read", uri="file:///x"), OUT, "files/method.resources.read"),
        (asked("sampling/createMessage"), IN, "files/method.sampling.createMessage"),
        (asked("something/new"), OUT, "files/*"),
        (told("not/a/notification"), OUT, "files/method.not.a.notification"),
        (asked("tools/list"), IN, "files/method.tools.list"),
    ],
)
async def test_every_other_method_needs_a_grant_by_its_name(message, direction, grant):
    assert not await (await connected()).passes(message, direction)
    assert await (await connected(grant)).passes(message, direction)


async def test_a_tool_cannot_pass_for_a_method_nor_a_method_for_a_tool():
    talk = await connected("files/method.resources.read")
    await talk.listed({**READ, "name": "method.resources.read"})
    assert not await talk.passes(asked("tools/call", name="method.resources.read"))
    assert not await talk.passes(asked("tools/call", name=["read"]))
    assert not await talk.passes(asked("tools/call"))


async def test_what_the_protocol_needs_passes_without_a_grant():
    talk = await connected()
    assert await talk.passes(asked("initialize"))
    assert await talk.passes(answered(), IN)
    assert await talk.passes(told("notifications/initialized"))
    assert await talk.passes(asked("ping"), IN)
    assert await talk.passes(answered(), OUT)


async def test_an_answer_passes_once_and_only_if_it_was_asked_for():
    talk = await connected()
    assert "answers nothing" in await talk.reason(answered(), IN)
    assert await talk.passes(asked("ping"))
    assert "answers nothing" in await talk.reason(answered(), OUT)
    assert "not answered yet" in await talk.reason(asked("ping"))
    assert await talk.passes(answered(), IN)
    assert "second time" in await talk.reason(answered(), IN)


async def test_a_rule_forbids_a_server_or_a_method_whole():
    for pattern, passes in (("files/*", False), ("files/method.ping", False), ("other/*", True)):
        forbidding = Grants(tools=None, rules=(Rule("deny", "tool", pattern),))
        talk = await connected("files/*", above=(forbidding,))
        assert await talk.passes(asked("ping")) is passes
        assert await talk.passes(told("notifications/initialized")) is (pattern != "files/*")


async def test_a_server_whose_name_means_nothing_is_not_talked_to():
    judge = PolicyFilter(Recorder([], {}), (Grants(tools=None),), {})
    odd = Parties("c", 1, "s", 2, "a/../b")
    talk = Connection(await judge.connection(odd))
    assert "no name of a server" in await talk.reason(asked("initialize"))
    assert "no name of a server" in await talk.reason(asked("tools/call", name="read"))


# --- what is no message ---------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("", "no JSON"),
        ("[]", "none of JSON-RPC"),
        ('{"jsonrpc": "1.0", "id": 1, "method": "ping"}', "none of JSON-RPC"),
        ('{"jsonrpc": "2.0", "id": 1, "method": "ping", "method": "tools/call"}', "key twice"),
        ('{"jsonrpc": "2.0", "id": 1, "method": "m", "params": {"a": 1, "a": 2}}', "key twice"),
        ('{"jsonrpc": "2.0", "id": 1, "method": "ping", "Method": "tools/call"}', "by case"),
        ('{"jsonrpc": "2.0", "id": 1, "method": "m", "Re\\u017fult": {}}', "by case"),
        ('{"jsonrpc": "2.0", "id": 1, "method": "m", "params": {"NAME": "a"}}', "by case"),
        ('{"jsonrpc": "2.0", "id": NaN, "method": "m"}', "no number of JSON"),
        ('{"jsonrpc": "2.0", "id": true, "method": "m"}', "the id is"),
        ('{"jsonrpc": "2.0", "id": null, "result": {}}', "the id is"),
        ('{"jsonrpc": "2.0", "id": 1, "method": 5}', "no text"),
        ('{"jsonrpc": "2.0", "id": 1, "method": "m", "params": []}', "no object"),
        ('{"jsonrpc": "2.0", "id": 1, "method": "m", "result": {}}', "at once"),
        ('{"jsonrpc": "2.0", "id": 1}', "neither asks nor answers"),
        ('{"jsonrpc": "2.0", "id": 1, "result": {}, "error": {}}', "neither asks nor answers"),
        ('{"jsonrpc": "2.0", "id": 1, "result": 3}', "no object"),
        ("[" * 100_000, "too deeply|no JSON"),
        ("x" * (4 * 1024 * 1024 + 1), "may have"),
    ],
)
async def test_what_has_not_one_meaning_is_blocked_and_on_record(text, why):
    sink = MemorySink()
    with pytest.raises(BadMessage, match=why):
        read_message(text)

    talk = await connected("files/*", sink=sink)
    await talk.reason(text)

    (event,) = sink.of("security.denied")
    assert (event["category"], event["status"]) == ("protocol", "denied")


@settings(max_examples=30)
@given(
    st.text(max_size=200)
    | st.recursive(
        st.none() | st.integers() | st.text(max_size=5),
        lambda inner: (
            st.lists(inner)
            | st.dictionaries(
                st.sampled_from(["jsonrpc", "id", "method", "params", "result", "error", "name"]),
                inner,
            )
        ),
    ).map(json.dumps)
)
def test_no_text_does_anything_but_mean_one_thing_or_be_blocked(text):
    try:
        message = read_message(text)
    except BadMessage:
        return
    found = json.loads(text)
    assert found["jsonrpc"] == "2.0"
    assert getattr(message, "id", None) == found.get("id")
    assert getattr(message, "method", None) == found.get("method")


# --- the record -----------------------------------------------------------------------------------


async def test_every_message_is_on_record_before_it_passes():
    sink = MemorySink()
    talk = await connected("files/read", sink=sink)
    await talk.listed(READ)
    sink.events.clear()

    assert await talk.passes(asked("tools/call", 5, name="read", arguments={"path": "a"}))
    assert sink.kinds() == ["tool.requested", "tool.decided"]
    assert sink.durable_count == 2
    assert await talk.passes(json.dumps({"jsonrpc": "2.0", "id": 5, "error": {"code": 1}}), IN)

    (requested,), (decided,), (ended,) = (
        sink.of(kind) for kind in ("tool.requested", "tool.decided", "tool.ended")
    )
    assert (requested["tool"], requested["mcp_method"]) == ("files/read", "tools/call")
    assert (decided["decision"], decided["decision_rule"]) == ("allow", "tools: files/read")
    assert (ended["status"], ended["step"]) == ("error", requested["step"])


async def test_what_is_blocked_is_on_record_as_denied():
    sink = MemorySink()
    talk = await connected(sink=sink)
    await talk.reason(asked("resources/read", uri="file:///etc/passwd"))

    (denied,) = sink.of("security.denied")
    assert "no grant allows it" in denied["decision_reason"]
    assert [one["status"] for one in sink.of("tool.ended")] == ["denied"]


async def test_what_cannot_be_recorded_does_not_pass():
    class Full(MemorySink):
        def write(self, events):
            if self.events:
                raise RecordError("the disk is full")
            super().write(events)

    talk = await connected("files/*", sink=Full())
    assert "the disk is full" in await talk.reason(asked("ping"))


async def test_a_connection_that_nobody_holds_has_ended_and_makes_room(monkeypatch):
    monkeypatch.setattr(policy, "MOST_CONNECTIONS", 2)
    sink = MemorySink()
    judge = PolicyFilter(Recorder([sink], {"run_id": "r"}), (Grants(),), {})

    held = [await judge.connection(PARTIES) for _ in range(2)]
    assert await judge.connection(PARTIES) is None
    assert await held.pop().judge(asked("ping"), OUT)
    gc.collect()

    assert await judge.connection(PARTIES) is not None
    begun = [one["agent_id"] for one in sink.of("agent.started")]
    assert [one["agent_id"] for one in sink.of("agent.ended")] == [begun[1]]
    judge.end()
    assert sorted(one["agent_id"] for one in sink.of("agent.ended")) == sorted(begun)


async def test_a_filter_is_a_run_with_an_instance_for_each_connection(tmp_path):
    sink = MemorySink()
    registry = Registry(sinks={"memory": memory_sink(sink)})
    fake = FakeBackend()
    async with open_filter(Settings(), registry) as judge, fake.filtered(judge, CLSID):
        held = [await fake.connect(PARTIES) for _ in range(2)]
        assert all(held)
    kinds = sink.kinds()
    assert kinds == ["run.started", *["agent.started"] * 2, *["agent.ended"] * 2, "run.ended"]
    started, _ = sink.of("agent.started")
    assert started["mcp_server"] == "files"
    assert started["attrs"]["client_pid"] == 7
    assert len({one["agent_id"] for one in sink.of("agent.started")}) == 2
    with pytest.raises(MissingPackage):
        async with open_filter(Settings(), Registry()):
            pass
    assert Path.cwd().name == sink.of("run.started")[0]["project"]
