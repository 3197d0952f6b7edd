"""The MCP server: from the start of its process to its first answers, and warm calls.

    uv run python benchmarks/mcp_start.py [--rounds 20] [--calls 3000]

Beside servers of the protocol's own library, in the same environment, through one raw client. Ours
runs with its policy, ledger and record on. `start` is the time from the start of the process to the
answer to `tools/list`; ratios are medians over rounds of the ratio within a round. Warm calls are
one after the other (p50), then 32 at a time (calls a second). HTTP is one connection that is kept.
"""

from __future__ import annotations

import http.client
import json
import os
import socket
import subprocess
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from _bench import HERE, Lab, interleaved, keep, median, parser, table

MEMBERS = ("audit", "budget", "cli", "core", "mcp_server", "offline")
IN_FLIGHT = 32
VERSION = "2025-06-18"
HANDSHAKE = {
    "protocolVersion": VERSION,
    "capabilities": {},
    "clientInfo": {"name": "bench", "version": "1"},
}
ADD: tuple[str, Mapping[str, Any]] = ("add", {"a": 1, "b": 2})
FILE: tuple[str, Mapping[str, Any]] = ("read_file", {"path": "a.py"})
BUDGET: tuple[str, Mapping[str, Any]] = ("budget_status", {})


class Server:
    """A server process on stdio, and the time when it was started."""

    def __init__(self, words: Sequence[str], folder: Path) -> None:
        env = {**os.environ, "SASHIZU_HOME": str(folder / "home")}
        self.begun = time.perf_counter()
        self.process = subprocess.Popen(
            words,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            cwd=folder,
            env=env,
        )
        self._next = 0

    def send(self, method: str, params: Mapping[str, Any] | None = None) -> None:
        frame: dict[str, Any] = {"jsonrpc": "2.0", "method": method}
        if params is not None:
            frame["params"] = params
        if not method.startswith("notifications/"):
            self._next += 1
            frame["id"] = self._next
        self.process.stdin.write(json.dumps(frame).encode() + b"\n")
        self.process.stdin.flush()

    def receive(self) -> dict[str, Any]:
        while True:
            frame: dict[str, Any] = json.loads(self.process.stdout.readline())
            if "id" in frame:
                if "error" in frame or frame["result"].get("isError"):
                    raise RuntimeError(f"an error came back: {frame}")
                return frame

    def handshake(self) -> None:
        self.send("initialize", HANDSHAKE)
        self.receive()
        self.send("notifications/initialized")

    def close(self) -> None:
        self.process.stdin.close()
        self.process.wait(20)
        self.process.stdout.close()


def started(words: Sequence[str], folder: Path, method: str, call: Any) -> float:
    """Milliseconds from the start of the process to the answer."""
    server = Server(words, folder)
    server.handshake()
    server.send(method, {"name": call[0], "arguments": call[1]} if method == "tools/call" else {})
    server.receive()
    took = time.perf_counter() - server.begun
    server.close()
    return 1000 * took


def warm(words: Sequence[str], folder: Path, call: Any, count: int) -> dict[str, float]:
    """Microseconds of one call, and calls a second with many in flight."""
    server = Server(words, folder)
    server.handshake()
    asked = {"name": call[0], "arguments": call[1]}
    times = []
    for number in range(count + 100):
        begun = time.perf_counter()
        server.send("tools/call", asked)
        server.receive()
        if number >= 100:
            times.append(time.perf_counter() - begun)
    begun = time.perf_counter()
    sent = came = 0
    while came < count:
        while sent < count and sent - came < IN_FLIGHT:
            server.send("tools/call", asked)
            sent += 1
        server.receive()
        came += 1
    rate = count / (time.perf_counter() - begun)
    server.close()
    return {"p50": 1e6 * median(times), "rate": rate}


def over_http(words: Sequence[str], folder: Path, call: Any, count: int) -> dict[str, float]:
    """Microseconds of one call on a connection that is kept."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    env = {**os.environ, "SASHIZU_HOME": str(folder / "home")}
    command = [word.replace("PORT", str(port)) for word in words]
    process = subprocess.Popen(command, stderr=subprocess.DEVNULL, cwd=folder, env=env)
    try:
        connection = _connected(port)
        headers = {
            "Content-Type": "application/json",
            "Accept": "application/json, text/event-stream",
        }

        def post(frame: Mapping[str, Any]) -> None:
            connection.request("POST", "/mcp", json.dumps({"jsonrpc": "2.0", **frame}), headers)
            answer = connection.getresponse()
            body = answer.read()
            if answer.status >= 300 or b'"error"' in body:
                raise RuntimeError(f"{answer.status}: {body[:300]!r}")
            if session := answer.headers.get("mcp-session-id"):
                headers["Mcp-Session-Id"] = session
                headers["MCP-Protocol-Version"] = VERSION

        post({"id": 0, "method": "initialize", "params": HANDSHAKE})
        post({"method": "notifications/initialized"})
        times = []
        for number in range(count + 50):
            begun = time.perf_counter()
            params = {"name": call[0], "arguments": call[1]}
            post({"id": number + 1, "method": "tools/call", "params": params})
            if number >= 50:
                times.append(time.perf_counter() - begun)
        return {"p50": 1e6 * median(times), "rate": 1 / median(times)}
    finally:
        process.terminate()
        process.wait(20)


def _connected(port: int) -> http.client.HTTPConnection:
    end = time.monotonic() + 30
    while True:
        connection = http.client.HTTPConnection("127.0.0.1", port, timeout=30)
        try:
            connection.connect()
        except ConnectionRefusedError:
            if time.monotonic() > end:
                raise
            time.sleep(0.02)
        else:
            connection.sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            return connection


def main() -> None:
    arguments = parser(__doc__, rounds=20)
    arguments.add_argument("--calls", type=int, default=3000)
    asked = arguments.parse_args()
    lab = Lab(asked.lab)
    python = lab.ours(*MEMBERS)
    folder = lab.folder / "mcp-workspace"
    folder.mkdir(exist_ok=True)
    (folder / "a.py").write_text("def add(a, b):\n    return a + b\n")
    theirs = [str(python), str(HERE / "mcp_server.py")]
    ours = [str(python.parent / "sashizu"), "mcp-server"]

    listing: dict[str, Callable[[], float]] = {
        "library, MCPServer": lambda: started([*theirs, "high"], folder, "tools/list", ADD),
        "library, low-level": lambda: started([*theirs, "low"], folder, "tools/list", ADD),
        "sashizu mcp-server": lambda: started(ours, folder, "tools/list", FILE),
        "sashizu, first call": lambda: started(ours, folder, "tools/call", FILE),
    }
    first = interleaved(listing, asked.rounds, warmup=2)
    base = first["library, MCPServer"]
    rows = [
        (name, median(times), median([a / b for a, b in zip(times, base, strict=True)]))
        for name, times in first.items()
    ]
    table("start to the first `tools/list`", ("server", "ms", "ratio"), rows)

    calls: dict[str, Callable[[], dict[str, float]]] = {
        "library, low-level: add": lambda: warm([*theirs, "low"], folder, ADD, asked.calls),
        "library, low-level: a file": lambda: warm(
            [*theirs, "low-file"], folder, FILE, asked.calls
        ),
        "sashizu: budget_status": lambda: warm(ours, folder, BUDGET, asked.calls),
        "sashizu: read_file": lambda: warm(ours, folder, FILE, asked.calls),
    }
    found = interleaved(calls, 5, warmup=0)
    head = ("call", "p50 us", "x add", "x a file", "calls/s", "x add ", "x a file ")
    table("warm calls over stdio", head, _compared(found, list(calls)[:2]))

    http_ours = [*ours, "--http=127.0.0.1:PORT", "--no-token"]
    pages: dict[str, Callable[[], dict[str, float]]] = {
        "library, low-level: add": lambda: over_http(
            [*theirs, "low", "PORT"], folder, ADD, asked.calls // 4
        ),
        "sashizu: budget_status": lambda: over_http(http_ours, folder, BUDGET, asked.calls // 4),
        "sashizu: read_file": lambda: over_http(http_ours, folder, FILE, asked.calls // 4),
    }
    over = interleaved(pages, 7, warmup=0)
    head = ("call", "p50 us", "x add", "calls/s", "x add ")
    table("warm calls over HTTP", head, _compared(over, list(pages)[:1]))
    keep(asked.json, {"start": first, "stdio": found, "http": over})


def _compared(
    found: Mapping[str, Sequence[Mapping[str, float]]], bases: Sequence[str]
) -> list[tuple[object, ...]]:
    """Each case beside the bases: medians, and medians of the ratios within a round."""
    rows: list[tuple[object, ...]] = []
    for name, rounds in found.items():
        row: list[object] = [name]
        for key in ("p50", "rate"):
            row.append(median([each[key] for each in rounds]))
            for base in bases:
                pairs = zip(rounds, found[base], strict=True)
                row.append(median([each[key] / other[key] for each, other in pairs]))
        rows.append(tuple(row))
    return rows


if __name__ == "__main__":
    main()
