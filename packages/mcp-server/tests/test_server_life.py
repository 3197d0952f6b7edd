"""When a server ends: with its client, its parent, its time; and that nothing stays behind."""

import json
import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

pytestmark = pytest.mark.skipif(os.name != "posix", reason="signals and parents are of POSIX")

HANDSHAKE = {
    "jsonrpc": "2.0",
    "id": 0,
    "method": "initialize",
    "params": {
        "protocolVersion": "2025-06-18",
        "capabilities": {},
        "clientInfo": {"name": "t", "version": "1"},
    },
}
CALL = {
    "jsonrpc": "2.0",
    "id": 1,
    "method": "tools/call",
    "params": {"name": "delegate", "arguments": {"agent": "alpha", "wait": False}},
}


PARENT = """
import subprocess, sys, time
child = subprocess.Popen(sys.argv[1:])
print(child.pid, file=sys.stderr, flush=True)
time.sleep(600)
"""


@pytest.fixture(scope="module")
def starting():
    """Servers of these tests are new programs: how they start and end is what is looked at."""
    return subprocess.Popen


def is_there(pid):
    """Whether a process runs, and is no zombie."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0] != "Z"
    except FileNotFoundError:
        return False


def gone_within(pid, seconds):
    end = time.monotonic() + seconds
    while is_there(pid):
        if time.monotonic() > end:
            return False
        time.sleep(0.02)
    return True


@pytest.mark.parametrize("awake", [False, True])
def test_a_server_ends_when_its_client_closes(quiet_place, awake):
    server = quiet_place.server()
    server.initialize()
    if awake:
        server.result("budget_status")
    started = time.monotonic()
    assert server.close() == 0
    assert time.monotonic() - started < 3


@pytest.mark.parametrize("awake", [False, True])
@pytest.mark.skipif(sys.platform != "linux", reason="looks into /proc")
def test_a_server_ends_when_its_parent_is_killed_though_its_input_stays_open(quiet_place, awake):
    frames = [HANDSHAKE, {"jsonrpc": "2.0", "method": "notifications/initialized"}]
    if awake:
        call = {"name": "budget_status", "arguments": {}}
        frames.append({"jsonrpc": "2.0", "id": 1, "method": "tools/call", "params": call})
    reading, writing = os.pipe()
    out_reading, out_writing = os.pipe()
    parent = subprocess.Popen(
        [
            sys.executable,
            "-c",
            PARENT,
            *quiet_place.words(),
        ],
        stdin=reading,
        stdout=out_writing,
        stderr=subprocess.PIPE,
        env=quiet_place.env,
        cwd=quiet_place.work,
        text=True,
    )
    try:
        child = int(parent.stderr.readline())
        os.write(writing, "".join(json.dumps(frame) + "\n" for frame in frames).encode())
        heard = b""
        while heard.count(b"\n") < len(frames) - 1:
            heard += os.read(out_reading, 65536)
        parent.kill()
        parent.wait()
        assert gone_within(child, 15)
    finally:
        parent.kill()
        parent.wait()
        parent.stderr.close()
        for fd in (reading, writing, out_reading, out_writing):
            os.close(fd)


def test_a_server_ends_when_nobody_says_anything_for_long(quiet_place):
    server = quiet_place.server("--idle=1s")
    server.initialize()
    assert server.process.wait(30) == 0


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT, signal.SIGHUP])
def test_a_signal_ends_the_server_and_its_runs_in_good_order(place, number):
    server = place.server("--model=fake/slow")
    server.initialize()
    server.call(1, "delegate", agent="alpha", wait=False)
    server.answer_to(1)
    assert place.appears("asked", 60)
    server.process.send_signal(number)
    assert server.process.wait(30) == 0
    assert (place.traces / "cancelled").exists()


def test_a_client_that_does_not_read_stops_nobody(quiet_place):
    """More answers than a pipe holds; then they are read, whole and in order of their ids."""
    server = quiet_place.server()
    server.initialize()
    asked = 300
    for number in range(1, asked + 1):
        server.send({"jsonrpc": "2.0", "id": number, "method": "tools/list"})
    assert [server.receive()["id"] for _ in range(asked)] == list(range(1, asked + 1))


@pytest.mark.parametrize(
    "line",
    [
        b"no json",
        b"[]",
        b'"text"',
        b"{}",
        b'{"jsonrpc":"2.0"}',
        b"\xff\xfe",
        b'{"jsonrpc":"2.0","id":{},"method":"ping"}',
        b"[" * 100_000,
        b'{"jsonrpc":"2.0","id":99,"result":{}}',
        b"",
        b"   ",
    ],
)
def test_what_is_no_message_harms_nothing(quiet_place, line):
    server = quiet_place.server()
    server.initialize()
    server.send(line)
    server.send({"jsonrpc": "2.0", "id": 5, "method": "ping"})
    assert server.answer_to(5)["result"] == {}
    assert server.close() == 0


@pytest.mark.crash
@pytest.mark.skipif(sys.platform != "linux", reason="looks into /proc")
def test_two_hundred_starts_and_kills_leave_no_process(place):
    place.prepared()
    marker = f"SASHIZU_TEST_MARK={place.folder}"
    env = {**place.env, "SASHIZU_TEST_MARK": str(place.folder)}
    chance = random.Random(4)
    for _ in range(200):
        server = subprocess.Popen(
            place.words("--model=fake/slow"),
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            env=env,
            cwd=place.work,
        )
        frames = [HANDSHAKE, CALL][: chance.randrange(3)]
        server.stdin.write("".join(json.dumps(frame) + "\n" for frame in frames).encode())
        server.stdin.flush()
        if frames:
            server.stdout.readline()
        time.sleep(chance.choice([0, 0.01, 0.1, 0.4]))
        if chance.random() < 0.5:
            server.kill()
        server.stdin.close()
        server.stdout.close()
        server.wait(30)
    left = []
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            if marker.encode() in (folder / "environ").read_bytes() and is_there(folder.name):
                left.append(folder.name)
        except OSError:
            continue
    assert left == []
