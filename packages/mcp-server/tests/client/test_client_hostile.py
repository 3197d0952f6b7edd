"""Whatever a server does ends in a typed error of the one call, and nobody else hears of it."""

from __future__ import annotations

import anyio
import pytest
from sashizu_core.errors import ArgumentsError
from sashizu_mcp_server.client.faults import (
    BadReply,
    ReplyTooLarge,
    ServerFault,
    ServerGone,
    ServerRefused,
    ServerSilent,
    ToolChanged,
)

FAULTS = {
    "crash-on-call": (ServerGone, "ended with status 7: out of cheese"),
    "hang-on-call": (ServerSilent, "did not answer within 2 s"),
    "stubborn": (ServerSilent, "did not answer within 2 s"),
    "large-reply": (ReplyTooLarge, "more than 8388608 bytes"),
    "endless-line": (ReplyTooLarge, "more than 8388608 bytes"),
    "no-json": (ServerSilent, "did not answer"),
    "no-utf8": (ServerSilent, "did not answer"),
    "deep-json": (ServerSilent, "did not answer"),
    "wrong-id": (ServerSilent, "did not answer"),
    "wrong-id-kind": (ServerSilent, "did not answer"),
    "no-id": (ServerSilent, "did not answer"),
    "no-result": (ServerSilent, "did not answer"),
    "batch": (ServerSilent, "did not answer"),
    "result-is-list": (ServerSilent, "did not answer"),
    "error-of-no-kind": (ServerSilent, "did not answer"),
    "content-is-number": (BadReply, "content"),
    "content-of-no-kind": (BadReply, "content"),
    "error-with-escapes": (ServerRefused, "answered with an error: [2Jgone xxx"),
    "ended-output": (ServerGone, "closed its output"),
    "flood-notifications": (BadReply, "more than 2000 things unasked"),
    "flood-requests": (BadReply, "more than 2000 things unasked"),
}


@pytest.mark.parametrize("how", FAULTS)
async def test_a_call_that_goes_wrong_is_a_typed_error_and_the_others_go_on(
    run, table, how
) -> None:
    kind, said = FAULTS[how]
    patience = "2s" if kind is ServerSilent else "30s"
    async with run(bad=table(how, timeout=patience), good=table("good", timeout="20s")) as one:
        tools = (await one.tools("bad/echo", "good/echo")).tools
        with pytest.raises(kind) as caught:
            await one.call(tools["bad/echo"])
        assert said in str(caught.value)
        assert len(str(caught.value)) < 2_000
        assert str(caught.value).isprintable()
        result = await one.call(tools["good/echo"])
        assert (result.content, result.is_error) == ("hello", False)


ANSWERS = {
    "twice": "first",
    "error-result": "it did not work",
    "flood-logs": "logged",
    "flood-stderr": "noisy",
    "asks-for-roots": "asked",
    "hidden-answer": "seen[2J only",
    "picture": "[left out: image/png, 300 bytes]\n[resource: file:///etc/passwd]",
    "structured": '{"answer": 42}',
    "noise-at-start": "hello",
    "ignores-discover": "hello",
}


@pytest.mark.parametrize("how", ANSWERS)
async def test_what_is_only_odd_does_no_harm(run, table, how) -> None:
    async with run(odd=table(how, timeout="20s")) as one:
        tools = (await one.tools("odd/echo")).tools
        result = await one.call(tools["odd/echo"])
        assert result.content == ANSWERS[how]
        assert result.is_error == (how == "error-result")


STARTS = {
    "crash-at-start": "ended with status 3: no cheese[2J",
    "silent": "did not start within 1 s",
    "hang-on-list": "did not start within 1 s",
    "endless-noise": "more than 200 lines that are no message",
    "endless-line-at-start": "more than 8388608 bytes in one message",
    "no-greeting": "could not be started",
    "future-version": "could not be started",
    "refuses-greeting": "not today",
    "endless-pages": "more than 50 pages",
    "list-is-text": "could not be started",
    "answers-before": "could not be started",
    "no-object": "could not be started",
}


@pytest.mark.parametrize("how", STARTS)
async def test_a_server_that_does_not_start_is_absent_with_its_reason(run, table, how) -> None:
    slow = how in ("silent", "hang-on-list")
    tables = {"bad": table(how, start_timeout="1s" if slow else "20s"), "good": table("good")}
    async with run(**tables) as one:
        served = await one.tools("bad/*", "bad/echo", "good/echo")
        assert list(served.tools) == ["good/echo"]
        assert set(served.absent) == {"bad/*", "bad/echo"}
        assert STARTS[how] in served.absent["bad/echo"]
        assert served.absent["bad/echo"].isprintable()


async def test_a_program_that_does_not_exist_is_absent(run) -> None:
    async with run(bad={"command": "no-such-program-anywhere"}) as one:
        served = await one.tools("bad/echo", "unknown/echo")
        assert "there is no program 'no-such-program-anywhere'" in served.absent["bad/echo"]
        assert "is described nowhere" in served.absent["unknown/echo"]


LISTINGS = {
    "same-names": {"echo"},
    "odd-names": {"echo"},
    "large-schema": {"echo"},
    "deep-schema": {"echo"},
    "remote-schema": {"echo"},
}


@pytest.mark.parametrize("how", LISTINGS)
async def test_tools_that_cannot_be_told_apart_or_used_are_left_out(run, table, how) -> None:
    async with run(odd=table(how)) as one:
        served = await one.tools("odd/*")
        assert {name.removeprefix("odd/") for name in served.tools} == LISTINGS[how]
        assert served.absent
        assert all(name.isprintable() and reason for name, reason in served.absent.items())


async def test_a_server_cannot_have_more_tools_than_anybody_reads(run, table) -> None:
    async with run(odd=table("many-tools")) as one:
        assert len((await one.tools("odd/*")).tools) == 500


async def test_hidden_words_of_a_description_are_not_shown_to_a_model(run, table) -> None:
    async with run(odd=table("hidden-words")) as one:
        tool = (await one.tools("odd/echo")).tools["odd/echo"]
        assert tool.schema.description.endswith("describes it so: Plain.[2J")
        shown = tool.schema.parameters["properties"]["word"]["description"]
        assert shown == "see ]0;x this"


async def test_a_long_description_is_cut(run, table) -> None:
    async with run(odd=table("long-description")) as one:
        tool = (await one.tools("odd/echo")).tools["odd/echo"]
        assert len(tool.schema.description) < 2_200


@pytest.mark.parametrize("how", ["looping-schema", "multiplying-schema", "slow-expression"])
async def test_a_schema_that_never_ends_keeps_nobody_busy(run, table, how) -> None:
    async with run(odd=table(how, timeout="20s")) as one:
        tool = (await one.tools("odd/echo")).tools["odd/echo"]
        word = "a" * 64 + "!"
        with anyio.fail_after(10):
            result = await one.call(tool, f'{{"word": "{word}"}}')
        assert result.content == word


async def test_answers_are_not_held_against_expressions_of_the_server(run, table) -> None:
    async with run(odd=table("slow-answer-schema", timeout="20s")) as one:
        tool = (await one.tools("odd/echo")).tools["odd/echo"]
        assert "!" in (await one.call(tool)).content


async def test_arguments_that_do_not_fit_are_refused_before_the_server_hears_of_them(
    run, table, tmp_path
) -> None:
    heard = tmp_path / "heard"
    async with run(good=table("good", env={"HEARD": str(heard)})) as one:
        tool = (await one.tools("good/echo")).tools["good/echo"]
        for arguments in ('{"word": 7}', "[]", "{", '{"word": NaN}', "[" * 100_000):
            with pytest.raises(ArgumentsError, match="good/echo"):
                tool.parse(arguments)
    assert b"tools/call" not in heard.read_bytes()


async def test_a_server_that_crashed_is_started_again_for_the_next_call(run, table) -> None:
    async with run(bad=table("crash-on-call")) as one:
        tool = (await one.tools("bad/echo")).tools["bad/echo"]
        for _ in range(2):
            with pytest.raises(ServerGone, match="ended with status 7"):
                await one.call(tool)
        assert len(one.sandbox.started) == 2


async def test_a_server_that_always_crashes_is_left_alone(run, table) -> None:
    async with run(bad=table("crash-on-call")) as one:
        tool = (await one.tools("bad/echo")).tools["bad/echo"]
        for _ in range(4):
            with pytest.raises(ServerGone):
                await one.call(tool)
        with pytest.raises(Exception, match="failed 4 times and is left alone"):
            await one.call(tool)
        assert len(one.sandbox.started) == 4


async def test_a_server_that_is_silent_twice_is_ended_and_started_again(run, table) -> None:
    async with run(bad=table("hang-on-call", timeout="1s")) as one:
        tool = (await one.tools("bad/echo")).tools["bad/echo"]
        for _ in range(3):
            with pytest.raises(ServerSilent):
                await one.call(tool)
        assert len(one.sandbox.started) == 2


@pytest.mark.parametrize("how", ["changes-tools", "loses-tools"])
async def test_a_tool_that_changes_during_a_run_is_not_called_again(run, table, how) -> None:
    async with run(odd=table(how, timeout="20s")) as one:
        tool = (await one.tools("odd/echo")).tools["odd/echo"]
        await one.call(tool)
        for _ in range(2):
            with pytest.raises(ToolChanged, match="so it was not called"):
                await one.call(tool)
        (event,) = one.events
        assert (event["tool"], event["category"]) == ("odd/echo", "tool_changed")


async def test_a_server_that_stops_listening_is_ended_and_started_again(run, table) -> None:
    async with run(bad=table("deaf", timeout="1s")) as one:
        tool = (await one.tools("bad/echo")).tools["bad/echo"]
        assert (await one.call(tool)).content == "not listening"
        faults = []
        while len(one.sandbox.started) == 1:  # what it had heard by then is not told
            try:
                result = await one.call(tool)
            except (ServerGone, ServerSilent) as fault:
                faults.append(fault)
            else:
                assert result.content == "not listening"
        assert 1 <= len(faults) <= 2
        assert len(one.sandbox.started) == 2


async def test_many_calls_at_once_of_a_server_that_crashes_all_end(run, table) -> None:
    async with run(bad=table("crash-on-call"), good=table("good", timeout="20s")) as one:
        tools = (await one.tools("bad/echo", "good/echo")).tools
        ended = []

        async def call(name: str) -> None:
            try:
                ended.append((await one.call(tools[name])).content)
            except ServerGone:
                ended.append("gone")
            except ServerFault as error:
                ended.append(str(error))

        async with anyio.create_task_group() as group:
            for _ in range(4):
                group.start_soon(call, "bad/echo")
                group.start_soon(call, "good/echo")
        assert ended.count("hello") == 4
        assert len(ended) == 8


async def test_nothing_is_left_of_a_server_that_ignores_its_end(run, table) -> None:
    async with run(bad=table("stubborn")) as one:
        tool = (await one.tools("bad/echo")).tools["bad/echo"]
        with pytest.raises(ServerSilent):
            await one.call(tool)
        assert one.sandbox.alive()
    assert one.sandbox.alive() == []
