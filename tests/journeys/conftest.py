"""The installed `sashizu`, in an empty home and a small project; and a model service beside it."""

from __future__ import annotations

import json
import os
import pty
import select
import socket
import subprocess
import sys
import termios
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from hashlib import sha256
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import IO

import pytest
from sashizu_core.trust import TrustStore
from warm_programs import Warm

SCRIPT = Path(sys.executable).with_name("sashizu")
ENOUGH_S = 90

PROJECT = {
    "README.md": "# pay\n\nAdds amounts in cents: `add(1, 2)` is 3.\n",
    "src/pay/__init__.py": '"""Payments."""\n',
    "src/pay/amounts.py": '''\
"""Amounts of money."""

import os


def add(a: int, b: int) -> int:
    """Add two amounts in cents.

    >>> add(1, 2)
    3
    """
    return a + b


def run(command, seen=[]):
    seen.append(command)
    try:
        return eval(command)
    except:
        pass
''',
    ".sashizu/agents/plain.yaml": "name: plain\ngoal: Answer the question.\n",
    ".sashizu/agents/other.yaml": "name: other\ngoal: Answer the question too.\n",
}


@dataclass
class Place:
    """A home and a project of one test, and the command line in it."""

    home: Path
    project: Path
    env: dict[str, str]
    warm: Warm

    def sashizu(self, *words: str, stdin: str = "", **env: str) -> subprocess.CompletedProcess[str]:
        return self.warm.run(
            [SCRIPT, *words],
            cwd=self.project,
            env={**self.env, **env},
            input=stdin,
            capture_output=True,
            text=True,
            timeout=ENOUGH_S,
            check=False,
        )

    def on_terminal(self, columns: int, *words: str, **env: str) -> tuple[int, str]:
        """Run the command on a terminal; its exit code, and all that it writes there."""
        leader, follower = pty.openpty()
        termios.tcsetwinsize(follower, (24, columns))
        process = self.warm.start(
            [SCRIPT, *words],
            cwd=self.project,
            env={**self.env, "TERM": "xterm-256color", **env},
            stdin=follower,
            stdout=follower,
            stderr=follower,
        )
        os.close(follower)
        with os.fdopen(leader, "rb", buffering=0) as terminal:
            seen = b"".join(_until_closed(terminal))
        return process.wait(ENOUGH_S), seen.decode()

    def trust(self) -> None:
        """Trust the agents of the project as they are now."""
        files = self.project.glob(".sashizu/agents/*")
        hashes = {
            file.relative_to(self.project).as_posix(): sha256(file.read_bytes()).hexdigest()
            for file in files
        }
        TrustStore(Path(self.env["SASHIZU_HOME"])).trust(self.project, hashes)

    def start(self, *words: str, **env: str) -> subprocess.Popen[str]:
        return self.warm.start(
            [SCRIPT, *words],
            cwd=self.project,
            env={**self.env, **env},
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )


def _until_closed(terminal: IO[bytes]) -> Iterator[bytes]:
    """What a terminal shows, until nobody writes to it any more."""
    while select.select([terminal], [], [], ENOUGH_S)[0]:
        try:
            data = terminal.read(65536)
        except OSError:  # Linux says so
            return
        if not data:  # other systems say so
            return
        yield data


@pytest.fixture
def place(tmp_path: Path, warm: Warm) -> Place:
    home, project = tmp_path / "home", tmp_path / "project"
    home.mkdir()
    for name, text in PROJECT.items():
        file = project / name
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(text)
    found = Place(
        home,
        project,
        {
            "HOME": str(home),
            "SASHIZU_HOME": str(home / "state"),
            "PATH": os.environ["PATH"],
            "LANG": "C.UTF-8",
        },
        warm,
    )
    found.trust()
    return found


# --- a model service ------------------------------------------------------------------------------


@dataclass
class Service:
    """A Chat Completions service on this machine: `answer` is what every call gets.

    `calls_of` says how often one conversation asks for `list_files` before that; each call is
    billed `billed` tokens of input. `wait` holds calls back until it is set; `asked` is set with
    the first call; calls of the model `unknown` get a 404.
    """

    url: str
    answer: str = "All is well."
    calls_of: Callable[[dict[str, object]], int] = lambda _: 0
    billed: int = 30
    unknown: str = "nosuch"
    calls: list[dict[str, object]] = field(default_factory=list)
    wait: threading.Event = field(default_factory=threading.Event)
    asked: threading.Event = field(default_factory=threading.Event)

    @property
    def env(self) -> dict[str, str]:
        return {"OPENAI_BASE_URL": self.url, "OPENAI_API_KEY": "sk-test-4711"}


@pytest.fixture
def service() -> Iterator[Service]:
    def handle(request: BaseHTTPRequestHandler) -> None:
        body = json.loads(request.rfile.read(int(request.headers["Content-Length"])))
        found.calls.append(body)
        found.asked.set()
        found.wait.wait(ENOUGH_S)
        refused = body["model"] == found.unknown
        data = _unknown(found.unknown) if refused else _chat(*_said(found, body))
        request.send_response(404 if refused else 200)
        request.send_header("Content-Type", "application/json" if refused else "text/event-stream")
        request.send_header("Content-Length", str(len(data)))
        request.end_headers()
        request.wfile.write(data)

    class Handler(BaseHTTPRequestHandler):
        do_POST = handle  # noqa: N815 - the name is the library's

        def log_message(self, *_: object) -> None:
            """Nothing: the test says what matters."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    found = Service(f"http://127.0.0.1:{server.server_port}/v1")
    found.wait.set()
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    yield found
    found.wait.set()
    server.shutdown()
    thread.join()
    server.server_close()


def _said(service: Service, body: dict[str, object]) -> tuple[str, bool, int]:
    """What a call gets: a text, whether it asks for a tool, and its tokens of input."""
    messages = json.loads(json.dumps(body["messages"]))
    turn = sum(message["role"] == "assistant" for message in messages)
    more = turn < service.calls_of(body)
    return f"Looking, {turn}." if more else service.answer, more, service.billed


def _chat(text: str, more: bool = False, billed: int = 30) -> bytes:
    """The stream of a Chat Completions call that answers with a text, and may ask for a tool."""
    head = {"id": "c1", "object": "chat.completion.chunk", "created": 1, "model": "test"}
    usage = {"prompt_tokens": billed, "completion_tokens": 5, "total_tokens": billed + 5}
    delta: dict[str, object] = {"role": "assistant", "content": text}
    if more:
        wish = {"name": "list_files", "arguments": "{}"}
        delta["tool_calls"] = [{"index": 0, "id": "call_1", "type": "function", "function": wish}]
    finish = "tool_calls" if more else "stop"
    chunks = [
        {**head, "choices": [{"index": 0, "delta": delta, "finish_reason": None}]},
        {**head, "choices": [{"index": 0, "delta": {}, "finish_reason": finish}]},
        {**head, "choices": [], "usage": usage},
    ]
    lines = [f"data: {json.dumps(chunk)}\n\n" for chunk in chunks]
    return "".join([*lines, "data: [DONE]\n\n"]).encode()


def _unknown(model: str) -> bytes:
    """The body of a 404 for a model."""
    message = f"The model {model!r} does not exist"
    error = {"message": message, "type": "invalid_request_error", "code": "model_not_found"}
    return json.dumps({"error": error}).encode()


@pytest.fixture
def dead_url() -> str:
    """An address at which nothing listens."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return f"http://127.0.0.1:{probe.getsockname()[1]}/v1"


@pytest.fixture
def waited() -> Callable[[subprocess.Popen[str]], tuple[int, str, str]]:
    """Waits for a started command: exit code, stdout, stderr."""

    def wait(process: subprocess.Popen[str]) -> tuple[int, str, str]:
        out, err = process.communicate(timeout=ENOUGH_S)
        return process.returncode, out, err

    return wait
