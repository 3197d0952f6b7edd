"""What the gateway adds to a call, and how many calls it takes, beside the proxy of LiteLLM.

    uv run python benchmarks/gateway.py [--rounds 5] [--seconds 5] [--no-litellm]

The service answers at once, streaming, over HTTP on this machine. Ours is `sashizu gateway` with
its record on the disk, a limit in tokens, and an agent below a client below the run. LiteLLM's
proxy runs with one worker and no database: it bounds nothing and records nothing. Requests have the
shape of Codex's; they are sent over one connection, one after the other, and then over 16 at once.
"""

from __future__ import annotations

import asyncio
import json
import os
import signal
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

from _bench import Lab, interleaved, keep, median, parser, table

PORT = 8791
CONFIG = """\
model_list:
  - model_name: m
    litellm_params: {model: openai/m, api_base: "URL/ms0-steps0-none/v1", api_key: x}
general_settings: {master_key: sk-bench}
litellm_settings: {telemetry: false, drop_params: false}
"""


@dataclass(frozen=True)
class Target:
    """Where requests go, as a line, a host and a port."""

    host: str
    port: int
    path: str
    token: str


@dataclass(frozen=True)
class Figures:
    """Of one round: milliseconds of a call alone, calls a second of many, CPU milliseconds each."""

    alone_ms: float
    p99_ms: float
    per_second: float
    cpu_ms: float


def body(size: int) -> bytes:
    """A request in the shape of Codex's: instructions, tools, and a question."""
    tool = {"type": "function", "name": "exec_command", "parameters": {"type": "object"}}
    filler = "Read the files before you change them. " * (size // 40)
    items = [{"type": "message", "role": "developer", "content": filler}]
    items.append({"type": "message", "role": "user", "content": "hello"})
    told = {"model": "m", "stream": True, "input": items, "tools": [tool] * 8}
    return json.dumps({**told, "max_output_tokens": 500}).encode()


def request(target: Target, data: bytes) -> bytes:
    head = (
        f"POST {target.path} HTTP/1.1\r\nhost: {target.host}\r\n"
        f"authorization: Bearer {target.token}\r\nthread-id: bench\r\n"
        f"content-type: application/json\r\ncontent-length: {len(data)}\r\n\r\n"
    )
    return head.encode() + data


class Connection(asyncio.Protocol):
    """Sends one request after the other, and looks for the last event of each answer."""

    def __init__(self) -> None:
        self.ended: asyncio.Future[None] | None = None
        self.tail = b""
        self.transport: asyncio.Transport | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = transport  # type: ignore[assignment]

    def data_received(self, data: bytes) -> None:
        self.tail = (self.tail + data)[-4096:]
        whole = b"response.completed" in self.tail and self.tail.endswith(b"\n\n")
        if (whole or self.tail.endswith(b"0\r\n\r\n")) and self.ended is not None:
            if b'"usage"' not in self.tail:
                self.ended.set_exception(RuntimeError(self.tail.decode("latin-1")))
            elif not self.ended.done():
                self.ended.set_result(None)

    def connection_lost(self, exc: Exception | None) -> None:
        if self.ended is not None and not self.ended.done():
            self.ended.set_exception(ConnectionError(self.tail.decode("latin-1")))

    async def call(self, data: bytes) -> float:
        """Milliseconds from the first byte out to the last one in."""
        assert self.transport is not None
        self.ended, self.tail = asyncio.get_running_loop().create_future(), b""
        begun = time.perf_counter()
        self.transport.write(data)
        await self.ended
        return 1000 * (time.perf_counter() - begun)


async def connected(target: Target) -> Connection:
    loop = asyncio.get_running_loop()
    _, protocol = await loop.create_connection(Connection, target.host, target.port)
    return protocol


async def load(
    target: Target, data: bytes, seconds: float, connections: int
) -> tuple[float, float, float]:
    """Median and 99th percentile of one at a time; calls a second of many."""
    sent = request(target, data)
    one = await connected(target)
    for _ in range(20):
        await one.call(sent)
    times = sorted([await one.call(sent) for _ in range(200)])
    end = time.perf_counter() + seconds
    count = 0

    async def worker() -> None:
        nonlocal count
        mine = await connected(target)
        while time.perf_counter() < end:
            await mine.call(sent)
            count += 1

    if connections:
        await asyncio.gather(*[worker() for _ in range(connections)])
    rate = count / seconds if connections else 0.0
    return times[len(times) // 2], times[int(len(times) * 0.99)], rate


def cpu_s(pid: int) -> float:
    """Seconds of CPU that a process and its threads used."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def measure(target: Target, pid: int, data: bytes, seconds: float) -> Figures:
    alone, p99, _ = asyncio.run(load(target, data, 0, 0))
    before = cpu_s(pid)
    _, _, rate = asyncio.run(load(target, data, seconds, 16))
    used = cpu_s(pid) - before
    return Figures(alone, p99, rate, 1000 * used / max(1, rate * seconds + 220))


@contextmanager
def ours(server: str) -> Iterator[tuple[Target, int]]:
    """`sashizu gateway` in a folder of its own."""
    with tempfile.TemporaryDirectory(dir=Path.home()) as folder:
        tokens = Path(folder, "tokens.json")
        words = ["gateway", "--listen", "127.0.0.1:0", "--budget", "1000000000"]
        words += ["--openai-url", f"{server}/ms0-steps0-none/v1", "--token-file", str(tokens)]
        home = {"SASHIZU_HOME": f"{folder}/state", "XDG_CONFIG_HOME": f"{folder}/config"}
        command = [str(Path(sys.executable).with_name("sashizu")), *words]
        work = Path(folder, "work")
        work.mkdir()
        process = subprocess.Popen(command, cwd=work, env={**os.environ, **home}, stderr=sys.stderr)
        try:
            while not tokens.exists() or not tokens.read_text():
                if process.poll() is not None:
                    raise RuntimeError("the gateway did not start")
                time.sleep(0.05)
            told = json.loads(tokens.read_text())
            port = int(told["base_url"].split(":")[2].split("/")[0])
            token = told["tokens"]["client"]
            yield Target("127.0.0.1", port, "/v1/responses", token), process.pid
        finally:
            process.send_signal(signal.SIGTERM)
            process.wait(timeout=30)


@contextmanager
def litellm(lab: Lab, server: str) -> Iterator[tuple[Target, int]]:
    """LiteLLM's proxy, with one worker."""
    python = lab.python("litellm")
    config = lab.folder / "litellm.yaml"
    config.write_text(CONFIG.replace("URL", server))
    command = [str(python.parent / "litellm"), "--config", str(config), "--port", str(PORT)]
    environment = {**os.environ, "LITELLM_LOCAL_MODEL_COST_MAP": "True"}
    process = subprocess.Popen(
        command, env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    )
    try:
        for _ in range(600):
            try:
                with urllib.request.urlopen(f"http://127.0.0.1:{PORT}/health/liveliness"):
                    break
            except OSError:
                if process.poll() is not None:
                    raise RuntimeError("LiteLLM's proxy did not start") from None
                time.sleep(0.2)
        yield Target("127.0.0.1", PORT, "/v1/responses", "sk-bench"), process.pid
    finally:
        process.terminate()
        process.wait(timeout=30)


def main() -> None:
    flags = parser(__doc__, rounds=5)
    flags.add_argument("--seconds", type=float, default=5.0)
    flags.add_argument("--no-litellm", action="store_true")
    asked = flags.parse_args()
    lab = Lab(asked.lab)
    found: dict[str, list[Figures]] = {}
    with ExitStack() as stack:
        server = stack.enter_context(lab.server())
        port = int(server.rpartition(":")[2])
        direct = Target("127.0.0.1", port, "/ms0-steps0-none/v1/responses", "x")
        targets = {"the service itself": (direct, os.getpid())}
        targets["sashizu gateway"] = stack.enter_context(ours(server))
        if not asked.no_litellm:
            targets["LiteLLM's proxy"] = stack.enter_context(litellm(lab, server))
        cases = {
            f"{name}, {size // 1000} KB": lambda target=target, size=size: measure(
                *target, body(size), asked.seconds
            )
            for size in (2_000, 38_000)
            for name, target in targets.items()
        }
        found = interleaved(cases, asked.rounds, warmup=0)
    rows = []
    for name, samples in found.items():
        base = found[f"the service itself, {name.rpartition(', ')[2]}"]
        added = median(samples, "alone_ms") - median(base, "alone_ms")
        figures = [median(samples, key) for key in ("alone_ms", "p99_ms", "per_second", "cpu_ms")]
        rows.append((name, figures[0], added, *figures[1:]))
    head = ("through", "ms a call", "ms added", "p99 ms", "calls/s", "CPU ms a call")
    table(f"One call alone, and 16 at once; medians of {asked.rounds} rounds", head, rows)
    keep(asked.json, found)


if __name__ == "__main__":
    main()
