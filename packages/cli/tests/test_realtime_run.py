"""`run --realtime`: lines in, lines out, and what became of them at the end."""

from __future__ import annotations

import errno
import json
import os
import signal
from functools import partial
from threading import Thread
from types import SimpleNamespace

import anyio
import pytest
from sashizu_cli import realtime, render
from sashizu_cli.session import Session
from sashizu_cli.stdin_lines import MOST_LINE_BYTES, lines_of

LONG = ("--target-ms", "60000")


def write(pipe, data):
    """Beside the test: a pipe of Windows may hold 4,096 bytes only."""
    with os.fdopen(pipe, "wb") as file:
        file.write(data)


@pytest.fixture
def answered(world, cli, monkeypatch, tmp_path):
    """Runs the command on these bytes, from a pipe that is closed after them, or from a file."""

    def run(data, *words, says=("Yes.",), file=False):
        monkeypatch.setattr(Session, "registry", world.session(*says).registry)
        if file:
            (tmp_path / "requests").write_bytes(data)
            stdin = os.open(tmp_path / "requests", os.O_RDONLY)
        else:
            stdin, other = os.pipe()
            Thread(target=write, args=(other, data), daemon=True).start()
        monkeypatch.setattr(realtime, "answer_stream", partial(realtime.answer_stream, fd=stdin))
        settings = ("-c", "run.model=fake/scripted")
        try:
            code, out, err = cli("run", "--realtime", "-", "--no-audit", *settings, *words)
        finally:
            os.close(stdin)
        return code, [json.loads(line) for line in out.splitlines()], err

    return run


def test_a_request_is_answered_and_the_end_says_how_many_were_in_time(answered, world):
    code, (ready, first, last), err = answered(b'{"id": "a", "prompt": "hello"}\n', *LONG)

    assert (code, ready["status"]) == (0, "ready")
    assert (first["id"], first["status"], first["answer"]) == ("a", "ok", "Yes.")
    assert ready["target_ms"] == 60000
    assert {name: last[name] for name in ("status", "requests", "ok", "missed", "invalid")} == {
        "status": "ended",
        "requests": 1,
        "ok": 1,
        "missed": 0,
        "invalid": 0,
    }
    assert 0 < last["p50_ms"] <= last["p99_ms"]
    assert "1 of 1 requests were answered in time, p50" in err
    assert ready["run_id"] == last["run_id"]


@pytest.mark.parametrize("file", [False, True])
def test_a_line_that_is_no_request_is_told_and_the_stream_goes_on(answered, file):
    lines = [
        b"{not json",
        b'{"id": 1}',
        b'{"id": 1, "prompt": " "}',
        b'{"id": 1.5, "prompt": "x"}',
        b'{"id": 1, "prompt": "x", "more": 1}',
        b"\xff",
        b"[" * 5000,
        b"",
        b'{"id": 7, "prompt": "hello"}',
    ]

    code, found, err = answered(b"\n".join(lines), *LONG, file=file)

    ready, *told, last = found
    assert code == 1
    invalid = [each for each in told if each["status"] == "invalid"]
    assert [each["line"] for each in invalid] == [1, 2, 3, 4, 5, 6, 7]
    assert [each["id"] for each in invalid] == [None, 1, 1, None, 1, None, None]
    assert all(each["reason"] for each in invalid)
    assert [each["id"] for each in told if each["status"] == "ok"] == [7]
    assert (last["invalid"], last["ok"]) == (7, 1)
    assert "7 not understood" in err
    assert ready["status"] == "ready"


def test_a_stream_without_requests_ends_well(answered):
    code, (_, last), err = answered(b"", *LONG)
    assert (code, last["requests"], last["p50_ms"]) == (0, 0, None)
    assert "0 of 0 requests" in err


def test_the_deadline_of_the_run_has_an_exit_code_of_its_own(world, cli, monkeypatch):
    stdin, other = os.pipe()
    monkeypatch.setattr(Session, "registry", world.session().registry)
    monkeypatch.setattr(realtime, "answer_stream", partial(realtime.answer_stream, fd=stdin))
    words = ("-c", "run.model=fake/scripted", "--no-audit", "--deadline", "0.05s")
    try:
        code, out, _ = cli("run", "--realtime", "-", *words)
    finally:
        os.close(other)  # first: where a thread reads, it has to hear of an end
        os.close(stdin)

    assert code == 124
    assert "deadline" in json.loads(out.splitlines()[-1])["stopped"]


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["hello", "--realtime"], "say '-'"),
        (["-", "--realtime", "--json"], "takes no --json"),
        (["-", "--realtime", "--continue", "last", "-o", "x"], "takes no --continue, --out"),
        (["-", "--target-ms", "5"], "--realtime"),
        (["-", "--realtime", "--confirm-above", "1usd"], "no worst case"),
    ],
)
def test_what_means_nothing_for_a_stream_is_refused(world, cli, monkeypatch, words, said):
    monkeypatch.setattr(Session, "registry", world.session().registry)
    code, out, err = cli("run", *words)
    assert (code, out) == (2, "")
    assert said in err


def test_an_interrupt_ends_the_stream_with_its_summary(world, monkeypatch, cli):
    stdin, other = os.pipe()
    monkeypatch.setattr(Session, "registry", world.session("Yes.").registry)
    monkeypatch.setattr(realtime, "answer_stream", partial(realtime.answer_stream, fd=stdin))
    told = realtime._Stream._write

    def interrupted(self, values):
        told(self, values)
        if values["status"] == "ready":
            signal.raise_signal(signal.SIGINT)

    monkeypatch.setattr(realtime._Stream, "_write", interrupted)
    words = ("-c", "run.model=fake/scripted", "--no-audit")
    try:
        code, out, err = cli("run", "--realtime", "-", *words)
    finally:
        os.close(other)  # first: where a thread reads, it has to hear of an end
        os.close(stdin)

    assert code == 130
    assert json.loads(out.splitlines()[-1])["stopped"] == "interrupted"
    assert "stopped: interrupted" in err


@pytest.mark.parametrize("code", [errno.EPIPE, errno.EINVAL])
def test_a_reader_that_goes_away_ends_the_stream_and_not_the_program(world, cli, monkeypatch, code):
    stdin, other = os.pipe()
    monkeypatch.setattr(Session, "registry", world.session("Yes.").registry)
    monkeypatch.setattr(realtime, "answer_stream", partial(realtime.answer_stream, fd=stdin))
    monkeypatch.setattr(render, "reader_is_gone", partial(render.reader_is_gone, platform="win32"))
    monkeypatch.setattr(realtime.os, "dup2", lambda *_: None)
    monkeypatch.setattr(realtime, "sys", SimpleNamespace(stdout=SimpleNamespace(fileno=int)))

    def unread(text):
        raise OSError(code, os.strerror(code))

    monkeypatch.setattr(render, "raw", unread)
    try:
        found, _, err = cli("run", "--realtime", "-", "--no-audit", "-c", "run.model=fake/scripted")
    finally:
        os.close(other)
        os.close(stdin)

    assert found == 1
    assert "nobody reads the answers any more" in err


def test_only_a_closed_pipe_is_a_reader_that_is_gone():
    invalid = OSError(errno.EINVAL, "Invalid argument")
    assert render.reader_is_gone(BrokenPipeError())
    assert render.reader_is_gone(invalid, "win32")
    assert not render.reader_is_gone(invalid, "linux")
    assert not render.reader_is_gone(OSError(errno.EINVAL, "no", "name:x"), "win32")
    assert not render.reader_is_gone(OSError(errno.ENOSPC, "full"), "win32")


async def read(*parts):
    stdin, other = os.pipe()
    found = []

    async def write():
        for part in parts:
            await anyio.to_thread.run_sync(os.write, other, part)
        os.close(other)

    with anyio.fail_after(30):
        async with anyio.create_task_group() as group:
            group.start_soon(write)
            found = [line async for line, _ in lines_of(stdin)]
    os.close(stdin)
    return found


@pytest.mark.parametrize(
    ("parts", "lines"),
    [
        ([b"one\ntwo\n"], [b"one", b"two"]),
        ([b"on", b"e\ntw", b"o"], [b"one", b"two"]),
        ([b"\n\n"], [b"", b""]),
        ([], []),
    ],
)
async def test_lines_come_whole_however_they_were_written(parts, lines):
    assert await read(*parts) == lines


async def test_of_a_line_that_is_too_long_only_its_beginning_comes():
    long = b"x" * 30_000
    found = await read(*[long] * 80, b"\nnext\n")

    assert [len(line) for line in found] == [MOST_LINE_BYTES + 1, 4]
