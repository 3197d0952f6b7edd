"""Programs that work for agents, in a real sandbox and behind a real gateway."""

import json
import os
import subprocess
import sys
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

pytestmark = pytest.mark.sandbox

SCRIPT = Path(sys.executable).with_name("sashizu")
AGENT = """\
name: worker
goal: Do it.
engine: command
command: [/usr/bin/python3, -I, tools/worker.py]
tools:
  fs: {read: true, write: [out]}
"""
WORKER = """
import json, os, socket, sys, urllib.error, urllib.request

asked = json.loads(sys.stdin.readline())
def say(**told): print(json.dumps(told), flush=True)
def call(agent=""):
    body = {"model": "gpt-5", "input": "x" * 400, "max_output_tokens": 300}
    headers = {"authorization": "Bearer " + os.environ["OPENAI_API_KEY"]}
    if agent:
        headers |= {"x-sashizu-agent": agent, "x-sashizu-parent": "me"}
    request = urllib.request.Request(
        asked["base_url"] + "/responses", json.dumps(body).encode(), headers)
    try:
        return urllib.request.urlopen(request, timeout=20).status
    except urllib.error.HTTPError as error:
        return error.code
def tries(work):
    try:
        work()
        return "done"
    except OSError as error:
        return type(error).__name__
print("not json")
todo = asked["task"]
if "SPEND" in todo:
    statuses = [call() for _ in range(6)]
elif "AGENTS" in todo:
    statuses = [call(), call("one"), call("two")]
elif "FAIL" in todo:
    say(type="error", message="I give up")
    sys.exit(3)
elif "SILENT" in todo:
    sys.exit(0)
else:
    statuses = [call()]
def outside():
    socket.create_connection(("192.0.2.1", 80), 2)
def loopback():
    socket.create_connection(("127.0.0.1", int(os.environ.get("UP", "9"))), 2)
found = {
    "statuses": statuses,
    "outside": tries(outside),
    "loopback": tries(loopback),
    "own": tries(lambda: open("out/made.txt", "w").write("made")),
    "other": tries(lambda: open("other.txt", "w").write("made")),
    "home": tries(lambda: open(os.path.expanduser("~/note"), "w").write("x")),
    "secrets": [name for name in os.environ if "THE_KEY" in name],
}
token = os.environ["OPENAI_API_KEY"]
say(type="tool.started", id="1", name="write", about={"path": "out/made.txt", "note": "T" + token})
say(type="tool.ended", id="1", name="write", ok=True)
say(type="message", text="the token is " + token)
found["token"] = token
say(type="result", text=json.dumps(found), usage={"input_tokens": 1, "output_tokens": 1})
sys.exit(0 if statuses[-1] == 200 else 1)
"""


class Handler(BaseHTTPRequestHandler):
    def do_POST(self) -> None:
        self.rfile.read(int(self.headers["content-length"]))
        used = {"input_tokens": 400, "output_tokens": 100}
        told = {"input_tokens": 400} if "input_tokens" in self.path else {"usage": used}
        body = json.dumps({"status": "completed", **told}).encode()
        self.send_response(200)
        self.send_header("content-type", "application/json")
        self.send_header("content-length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *args: object) -> None:
        pass


class Lab:
    def __init__(self, place: Path, port: int) -> None:
        self.work = place / "work"
        config = place / "config" / "sashizu"
        (config / "agents").mkdir(parents=True)
        (config / "agents" / "worker.yaml").write_text(AGENT)
        (config / "sashizu.toml").write_text(
            f"[gateway.openai]\nbase_url = 'http://127.0.0.1:{port}/v1'\nkey_env = 'THE_KEY'\n"
        )
        self.config = config
        (self.work / "tools").mkdir(parents=True)
        (self.work / "out").mkdir()
        (self.work / "tools" / "worker.py").write_text(WORKER)
        self.state = place / "state"

    def run(self, *words: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [str(SCRIPT), *words],
            cwd=self.work,
            env={
                "PATH": os.environ["PATH"],
                "HOME": str(self.work.parent),
                "XDG_CONFIG_HOME": str(self.config.parent),
                "SASHIZU_HOME": str(self.state),
                "THE_KEY": "sk-real-0123456789",
            },
            capture_output=True,
            text=True,
            timeout=120,
            check=False,
        )

    def delegate(self, goal: str, *words: str, code: int = 0) -> Any:
        report = self.work.parent / "report.json"
        found = self.run("delegate", "worker", "--goal", goal, "-o", str(report), *words)
        assert found.returncode == code, found.stderr
        return json.loads(report.read_text())["results"][0]

    def events(self, where: str) -> list[Any]:
        sql = (
            f"select kind, agent_name, tool, status, attrs from events where {where} order by ts_ns"
        )
        found = self.run("audit", "sql", "--format", "json", sql)
        assert found.returncode == 0, found.stderr
        return json.loads(found.stdout)


@pytest.fixture
def lab(tmp_path: Path) -> Iterator[Lab]:
    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield Lab(tmp_path, server.server_port)
    server.shutdown()
    server.server_close()


def test_a_program_does_the_work_and_reaches_nothing_but_its_gateway(lab):
    report = lab.delegate("plain", "--budget", "100000")

    found = json.loads(report["answer"])
    assert found["statuses"] == [200]
    assert (found["outside"], found["loopback"]) == ("OSError", "ConnectionRefusedError")
    assert (found["own"], found["home"]) == ("done", "done")
    assert found["other"] in ("PermissionError", "OSError")
    assert found["secrets"] == []
    assert (lab.work / "out/made.txt").read_text() == "made"
    assert not (lab.work / "other.txt").exists()
    assert list((lab.state / "engines").iterdir()) == []


def test_what_a_program_declares_stands_beside_what_was_seen(lab):
    report = lab.delegate("AGENTS", "--budget", "100000")

    assert report["usage"]["input_tokens"] == 1200
    (ended,) = lab.events("kind = 'tool.ended' and tool_type = 'engine'")
    attrs = json.loads(ended["attrs"])
    assert attrs["seen"]["input_tokens"] + attrs["seen"]["output_tokens"] == 1500
    assert attrs["declared"]["input_tokens"] == 1
    assert attrs["undeclared_tokens"] == 1498
    assert attrs["agents"] == 3
    names = [event["agent_name"] for event in lab.events("kind = 'agent.started'")]
    assert names == ["worker", "worker/one", "worker/two"]
    (said,) = lab.events("kind = 'tool.ended' and tool = 'command/write'")
    assert json.loads(said["attrs"])["declared_by"] == "command"


def test_what_a_program_did_is_replayed_without_it(lab):
    lab.delegate("AGENTS", "--budget", "100000")
    (lab.work / "tools" / "worker.py").unlink()

    found = lab.run("replay", "last")

    assert found.returncode == 0, found.stderr
    assert "all the same" in found.stdout + found.stderr
    again = lab.events("kind = 'agent.started' and replay_of is not null")
    assert [event["agent_name"] for event in again] == ["worker", "worker/one", "worker/two"]


def test_a_program_whose_budget_is_spent_ends_with_that_reason(lab):
    report = lab.delegate("SPEND", "--budget", "2400", code=3)

    assert report["outcome"] == "budget"
    assert "left" in report["error"]
    assert json.loads(report["answer"])["statuses"] == [200, 200, 200, 200, 400, 400]
    assert report["budget"]["spent"]["tokens"] == 2000


@pytest.mark.parametrize(
    ("goal", "why"), [("FAIL", "I give up"), ("SILENT", "no answer")], ids=["fails", "silent"]
)
def test_a_program_that_does_not_answer_fails_with_its_reason(lab, goal, why):
    report = lab.delegate(goal, "--budget", "100000", code=1)

    assert report["status"] == "error"
    assert why in report["error"]


def test_the_token_of_a_program_is_on_no_record(lab):
    report = lab.delegate("plain", "--budget", "100000")

    record = b"".join(path.read_bytes() for path in lab.state.rglob("*") if path.is_file())
    assert b"out/made.txt" in record
    assert b"sk-sashizu-" not in record
    assert b"sk-real" not in record
    assert "sk-sashizu-" not in report["answer"]


def test_the_operators_policy_can_forbid_an_engine(lab):
    with (lab.config / "sashizu.toml").open("a") as file:
        file.write(
            "[[policy.rule]]\nverdict = 'deny'\ntouches = 'exec'\npattern = 'python3'\n"
            "reason = 'no programs here'\n"
        )

    report = lab.delegate("plain", code=1)

    assert "no programs here" in report["error"]
    assert lab.events("kind = 'security.denied'")
    assert not lab.events("kind = 'model.requested'")


def test_where_nothing_enforces_no_program_works(lab):
    with (lab.config / "sashizu.toml").open("a") as file:
        file.write("[run]\nsandbox = 'none'\n")

    report = lab.delegate("plain", code=1)

    assert "enforcing sandbox" in report["error"]


def test_an_engine_that_nobody_offers_is_told(lab):
    (lab.config / "agents" / "worker.yaml").write_text(
        AGENT.replace("engine: command", "engine: x")
    )

    found = lab.run("delegate", "worker", "--goal", "plain")

    assert found.returncode == 2
    assert "unknown engine 'x'" in found.stderr
