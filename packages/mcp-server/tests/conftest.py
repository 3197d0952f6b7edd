"""Servers in real processes, and a client that says exactly what it is told."""

from __future__ import annotations

import json
import os
import queue
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest

SERVING = Path(__file__).with_name("serving")
ANSWER_S = 60.0

Start = Callable[..., "subprocess.Popen[bytes]"]

AGENT = """\
name: {name}
goal: Say what there is.
success_criteria: [It says something.]
tools:
  mcp: [read_file, apply_patch]
  fs: {{read: true, write: ["."]}}
"""

META = {
    "io.modelcontextprotocol/protocolVersion": "2026-07-28",
    "io.modelcontextprotocol/clientInfo": {"name": "test", "version": "1"},
    "io.modelcontextprotocol/clientCapabilities": {},
}


class Raw:
    """One server process and its three streams; `send` and `receive` are lines of JSON."""

    def __init__(self, words: list[str], env: dict[str, str], cwd: Path, start: Start) -> None:
        self.process = start(
            words,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            env=env,
            cwd=cwd,
        )
        self._lines: queue.Queue[bytes] = queue.Queue()
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()

    def _read(self) -> None:
        for line in self.process.stdout:
            self._lines.put(line)
        self._lines.put(b"")

    def send(self, frame: Any) -> None:
        data = frame if isinstance(frame, bytes) else json.dumps(frame).encode()
        self.process.stdin.write(data + b"\n")
        self.process.stdin.flush()

    def line(self, timeout: float = ANSWER_S) -> bytes:
        """The next line as it came; empty once the server has closed its side."""
        return self._lines.get(timeout=timeout)

    def receive(self, timeout: float = ANSWER_S) -> Any:
        return json.loads(self.line(timeout))

    def answer_to(self, request_id: Any) -> Any:
        """The response with that id; notifications on the way are kept in `notes`."""
        while True:
            frame = self.receive()
            if frame.get("id") == request_id and "method" not in frame:
                return frame
            self.notes.append(frame)

    @property
    def notes(self) -> list[Any]:
        return self.__dict__.setdefault("_notes", [])

    def initialize(self, version: str = "2025-06-18", **capabilities: Any) -> Any:
        params = {
            "protocolVersion": version,
            "capabilities": capabilities,
            "clientInfo": {"name": "test", "version": "1"},
        }
        self.send({"jsonrpc": "2.0", "id": 0, "method": "initialize", "params": params})
        answer = self.receive()
        self.send({"jsonrpc": "2.0", "method": "notifications/initialized"})
        return answer

    def call(self, request_id: Any, name: str, **arguments: Any) -> None:
        params = {"name": name, "arguments": arguments}
        self.send({"jsonrpc": "2.0", "id": request_id, "method": "tools/call", "params": params})

    def result(self, name: str, **arguments: Any) -> Any:
        self.call(7, name, **arguments)
        return self.answer_to(7)["result"]

    def close(self) -> int:
        """Close its stdin and wait for its end; the exit code."""
        self.process.stdin.close()
        try:
            return self.process.wait(20)
        finally:
            self.kill()

    def kill(self) -> None:
        self.process.kill()
        self.process.wait()
        self._reader.join(5)
        for stream in (self.process.stdin, self.process.stdout, self.process.stderr):
            stream.close()


class Place:
    """A workspace with an agent `alpha`, a state folder, and servers that run there."""

    def __init__(self, folder: Path, start: Start) -> None:
        self.folder = folder
        self.start = start
        self.work = folder / "work"
        self.traces = folder / "traces"
        config = folder / "config" / "sashizu" / "agents"
        for each in (self.work, self.traces, config):
            each.mkdir(parents=True)
        (self.work / "a.py").write_text("x = 1\n")
        (config / "alpha.yaml").write_text(AGENT.format(name="alpha"))
        plugin = folder / "plugins" / "fake_models-1.0.dist-info"
        plugin.mkdir(parents=True)
        (plugin / "METADATA").write_text("Metadata-Version: 2.1\nName: fake-models\nVersion: 1.0\n")
        (plugin / "entry_points.txt").write_text("[sashizu]\nfake_models = slow_model\n")
        self.env = {
            **{k: v for k, v in os.environ.items() if not k.startswith("SASHIZU_")},
            "SASHIZU_HOME": str(folder / "home"),
            "XDG_CONFIG_HOME": str(folder / "config"),
            "PYTHONPATH": os.pathsep.join([str(folder / "plugins"), str(SERVING)]),
            "PYTHONDONTWRITEBYTECODE": "1",
            "FAKE_TRACES": str(self.traces),
        }
        self.servers: list[Raw] = []

    def words(self, *options: str) -> list[str]:
        return [sys.executable, "-m", "sashizu_mcp_server.startup.front", *options]

    def server(self, *options: str) -> Raw:
        server = Raw(self.words(*options), self.env, self.work, self.start)
        self.servers.append(server)
        return server

    def prepared(self) -> Place:
        """The same place, once a server has prepared its first answers there."""
        server = self.server()
        server.initialize()
        assert server.close() == 0
        return self

    def policy(self, text: str) -> str:
        """The option that names a policy file with this text."""
        file = self.folder / "policy.toml"
        file.write_text(text)
        return f"--policy={file}"

    def appears(self, name: str, seconds: float) -> bool:
        """Whether a trace of the slow model is there in time."""
        end = time.monotonic() + seconds
        while time.monotonic() < end:
            if (self.traces / name).exists():
                return True
            time.sleep(0.01)
        return False


@pytest.fixture(scope="module")
def starting(warm: Any) -> Start:
    """How the servers of a module start: warm, where it does not say otherwise."""
    return warm.start


@pytest.fixture
def place(tmp_path: Path, starting: Start) -> Iterator[Place]:
    place = Place(tmp_path, starting)
    yield place
    for server in place.servers:
        server.kill()


@pytest.fixture(scope="module")
def quiet_place(tmp_path_factory: pytest.TempPathFactory, starting: Start) -> Iterator[Place]:
    """A prepared place for tests that leave it as it is."""
    place = Place(tmp_path_factory.mktemp("place"), starting).prepared()
    yield place
    for server in place.servers:
        server.kill()


# --- runs -----------------------------------------------------------------------------------------

_OF_RUNS = {"test_server_calls", "test_server_clients", "test_appserver"}
_NEEDED = ("sashizu_audit", "sashizu_budget", "sashizu_offline")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Servers that start runs need a record and a ledger, which other packages bring."""
    missing = [name for name in _NEEDED if find_spec(name) is None]
    if not missing:
        return
    skip = pytest.mark.skip(reason=f"runs need {', '.join(missing)}")
    for item in items:
        if item.path.stem in _OF_RUNS or "and_its_runs" in item.name:
            item.add_marker(skip)
