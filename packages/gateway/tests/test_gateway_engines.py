"""Programs of other vendors: where they are, how they are started, and what they say."""

import json
from pathlib import Path

import anyio
import pytest
from sashizu_core.errors import UsageError
from sashizu_core.ids import new_agent_id, new_run_id
from sashizu_core.settings import Settings
from sashizu_core.testing.fakes import MemorySink
from sashizu_core.turn.record import Recorder
from sashizu_core.turn.steps import StepContext
from sashizu_core.types import Usage
from sashizu_gateway.engines.listening import LONGEST_LINE, Listener, lines_of, tail_of
from sashizu_gateway.engines.offers import engine_specs
from sashizu_gateway.engines.programs import find_program
from sashizu_gateway.engines.tongues import TONGUES

CODEX = [
    {"type": "thread.started", "thread_id": "t"},
    {"type": "turn.started"},
    {
        "type": "item.started",
        "item": {"id": "i1", "type": "command_execution", "command": "ls", "exit_code": None},
    },
    {
        "type": "item.completed",
        "item": {"id": "i1", "type": "command_execution", "command": "ls", "exit_code": 1},
    },
    {
        "type": "item.completed",
        "item": {
            "id": "i2",
            "type": "file_change",
            "changes": [{"path": "a.py", "kind": "update"}],
            "status": "completed",
        },
    },
    {"type": "item.completed", "item": {"id": "i3", "type": "agent_message", "text": "first"}},
    {"type": "item.completed", "item": {"id": "i4", "type": "agent_message", "text": "all good"}},
    {
        "type": "turn.completed",
        "usage": {
            "input_tokens": 2000,
            "cached_input_tokens": 400,
            "output_tokens": 100,
            "reasoning_output_tokens": 20,
        },
    },
]
CLAUDE = [
    {"type": "system", "subtype": "init"},
    {
        "type": "assistant",
        "message": {
            "content": [
                {"type": "text", "text": "looking"},
                {"type": "tool_use", "id": "u1", "name": "Bash", "input": {"command": "ls"}},
            ]
        },
    },
    {
        "type": "user",
        "message": {"content": [{"type": "tool_result", "tool_use_id": "u1", "is_error": True}]},
    },
    {
        "type": "result",
        "subtype": "success",
        "result": "all good",
        "usage": {"input_tokens": 5, "cache_read_input_tokens": 10, "output_tokens": 2},
    },
]
COMMAND = [
    {"type": "tool.started", "id": "1", "name": "grep", "about": {"pattern": "x"}},
    {"type": "tool.ended", "id": "1", "name": "grep", "ok": True},
    {"type": "message", "text": "looking"},
    {"type": "result", "text": "all good", "usage": {"input_tokens": 3, "output_tokens": 1}},
]


def heard(kind: str, events: list) -> tuple[Listener, MemorySink]:
    sink = MemorySink()
    recorder = Recorder([sink], {"run_id": new_run_id()})
    listener = Listener(kind, StepContext(recorder, new_run_id(), new_agent_id()))
    for event in events:
        TONGUES[kind].take(event, listener)
    return listener, sink


@pytest.mark.parametrize(
    ("kind", "events", "usage"),
    [
        ("codex", CODEX, Usage(2000, 100, 400, 0, 20)),
        ("claude", CLAUDE, Usage(15, 2, 10)),
        ("command", COMMAND, Usage(3, 1)),
    ],
)
def test_the_last_words_of_a_program_are_its_answer_and_its_usage_is_declared(kind, events, usage):
    listener, _ = heard(kind, events)

    assert listener.heard.answer == "all good"
    assert listener.heard.declared == usage
    assert not listener.heard.failed


@pytest.mark.parametrize(
    ("kind", "events", "ended"),
    [
        (
            "codex",
            CODEX,
            [("codex/command_execution", "error"), ("codex/file_change", "ok")],
        ),
        ("claude", CLAUDE, [("claude/tool", "error")]),
        ("command", COMMAND, [("command/grep", "ok")]),
    ],
)
def test_what_a_program_says_it_did_is_on_record_as_its_words(kind, events, ended):
    _, sink = heard(kind, events)

    told = sink.of("tool.ended")
    assert [(event["tool"], event["status"]) for event in told] == ended
    assert all(event["attrs"]["declared_by"] == kind for event in told)
    assert all(event["tool_type"] == "foreign" for event in told)


def test_codex_has_not_failed_that_complains_and_then_completes_its_turn():
    complaint = {"type": "error", "message": "Reconnecting... 1/5"}

    listener, _ = heard("codex", [complaint, *CODEX])

    assert listener.heard.failed == ""
    assert listener.heard.answer == "all good"


@pytest.mark.parametrize(
    ("kind", "event", "why"),
    [
        ("codex", {"type": "turn.failed", "error": {"message": "no budget"}}, "no budget"),
        ("codex", {"type": "error", "message": "gone"}, "gone"),
        ("claude", {"type": "result", "subtype": "error_max_turns"}, "error_max_turns"),
        ("claude", {"type": "result", "is_error": True, "result": "bad"}, "bad"),
        ("command", {"type": "error", "message": "broken"}, "broken"),
    ],
)
def test_a_program_that_fails_says_why(kind, event, why):
    listener, _ = heard(kind, [event])

    assert listener.heard.failed == why


@pytest.mark.parametrize("kind", TONGUES)
@pytest.mark.parametrize(
    "event",
    [
        {},
        {"type": None},
        {"type": 5, "item": 5},
        {"type": "item.completed", "item": None},
        {"type": "item.completed", "item": {"type": 5, "changes": [5, {"path": 5}]}},
        {"type": "item.completed", "item": {"type": "agent_message", "text": {}}},
        {"type": "turn.completed", "usage": {"input_tokens": "many"}},
        {"type": "turn.failed", "error": 5},
        {"type": "assistant", "message": {"content": [5, {"type": "tool_use"}]}},
        {"type": "assistant", "message": "text"},
        {"type": "assistant", "message": {"content": 5}},
        {"type": "user", "message": {"content": {"a": 1}}},
        {"type": "result", "usage": [], "text": 5, "result": 5},
        {"type": "tool.started", "id": {}, "name": [], "about": [1]},
    ],
)
def test_nothing_that_a_program_says_breaks_anything(kind, event):
    listener, sink = heard(kind, [event])

    assert listener.heard.declared is None
    assert json.dumps([dict(event.fields) for event in sink.events])


async def said(*pieces: bytes):
    send, receive = anyio.create_memory_object_stream[bytes](len(pieces) + 1)
    for piece in pieces:
        send.send_nowait(piece)
    send.close()
    with receive:
        return [event async for event in lines_of(receive)]


async def test_lines_are_put_together_again_and_other_words_are_left_out():
    pieces = [b'{"a":', b"1}\nno json\n[1]\n{broken}\n", b'  {"b": 2}\n', b'{"c": 3}']

    assert await said(*pieces) == [{"a": 1}, {"b": 2}, {"c": 3}]


async def test_a_line_without_end_is_not_kept():
    huge = b'{"a": "' + b"x" * (LONGEST_LINE // 2)

    assert await said(huge, huge, huge, b'"}\n{"b": 2}\n') == [{"b": 2}]


async def test_of_what_a_program_complains_the_last_is_kept():
    send, receive = anyio.create_memory_object_stream[bytes](3)
    for piece in (b"x" * 20_000, b"the end"):
        send.send_nowait(piece)
    send.close()
    kept = bytearray()

    with receive:
        await tail_of(receive, kept)

    assert len(kept) <= 8 * 1024
    assert kept.endswith(b"the end")


def script(file: Path, text: str) -> Path:
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(text)
    file.chmod(0o755)
    return file


def test_a_program_that_npm_installed_is_found_behind_its_script(tmp_path):
    place = tmp_path / "node_modules/@openai"
    shim = script(place / "codex/bin/codex.js", "#!/usr/bin/env node\n")
    native = script(place / "codex-linux-x64/vendor/x86_64/bin/codex", "")
    native.write_bytes(b"\x7fELF...")
    (tmp_path / "bin").mkdir()
    (tmp_path / "bin/codex").symlink_to(shim)

    found = find_program("codex", str(tmp_path / "bin/codex"))

    assert found.words == (str(native),)
    assert found.readable == (native.parent.parent,)


def test_a_script_is_run_by_the_interpreter_that_it_names(tmp_path):
    file = script(tmp_path / "claude", "#!/usr/bin/env sh\necho hello\n")

    found = find_program("claude", str(file))

    assert Path(found.words[0]).is_absolute()
    assert found.words[1] == str(file)
    assert file.parent in found.readable


@pytest.mark.parametrize("text", ["#!/bin/sh\n", "\x7fELF"])
def test_a_program_that_lies_among_all_that_is_the_users_is_not_shown_with_it(
    tmp_path, monkeypatch, text
):
    monkeypatch.setenv("HOME", str(tmp_path / "user"))
    (tmp_path / "user" / "bin").mkdir(parents=True)
    own = script(tmp_path / "user" / "bin" / "claude", text)
    among = script(tmp_path / "user" / "claude", text)
    above = script(tmp_path / "claude", text)

    assert own.parent in find_program("claude", str(own)).readable
    for file in (among, above):
        with pytest.raises(UsageError, match="folder of its own"):
            find_program("claude", str(file))


def test_a_program_that_is_not_there_is_told_with_what_to_do():
    with pytest.raises(UsageError, match=r"programs\.codex"):
        find_program("codex", "/nowhere/codex")


def test_engines_are_offered_as_models_that_are_whole_agents():
    specs = engine_specs(Settings())

    assert [spec.name for spec in specs] == ["codex/*", "claude/*", "command/*"]
    assert all(spec.engine for spec in specs)
    assert {spec.name.removesuffix("/*") for spec in specs} == set(TONGUES)


def test_codex_is_told_to_leave_holding_to_us(tmp_path):
    words = TONGUES["codex"].words("gpt-5", "http://127.0.0.1:8797/v1", tmp_path)

    assert 'sandbox_mode="danger-full-access"' in words
    assert 'approval_policy="never"' in words
    assert words[-3:] == ("-m", "gpt-5", "-")
    assert "-m" not in TONGUES["codex"].words("", "http://127.0.0.1:8797/v1", tmp_path)
