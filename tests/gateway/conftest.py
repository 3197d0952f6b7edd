"""A gateway without a network in front of it, and a service behind it that does as it is told."""

import json
import os
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import AsyncExitStack
from dataclasses import dataclass, field
from typing import Any

import anyio
import pytest
from anyio.abc import SocketAttribute, SocketStream
from anyio.streams.buffered import BufferedByteReceiveStream
from sashizu_budget.ledger import Ledger
from sashizu_core.ids import new_run_id
from sashizu_core.testing.fakes import MemorySink
from sashizu_core.turn.record import Recorder
from sashizu_core.types import BudgetState, Limits
from sashizu_gateway.clients import Client
from sashizu_gateway.gateway import Gateway
from sashizu_gateway.settings import GatewaySettings, targets
from sashizu_gateway.upstream import open_upstream

LIMITS = Limits(tokens=100_000)
KEY = "sk-real-0123456789abcdef"


@pytest.fixture(autouse=True)
def _clean_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in list(os.environ):
        if name.lower().endswith("_proxy") or name.startswith(("OPENAI_", "ANTHROPIC_")):
            monkeypatch.delenv(name)


# --- the service ----------------------------------------------------------------------------------


@dataclass
class Asked:
    """What the service was asked."""

    method: str
    path: str
    headers: dict[str, str]
    body: bytes

    @property
    def json(self) -> Any:
        return json.loads(self.body)


class Wire:
    """One connection, seen from the service."""

    def __init__(self, stream: SocketStream) -> None:
        self.stream = stream
        self.reader = BufferedByteReceiveStream(stream)

    async def asked(self) -> Asked:
        head = (await self.reader.receive_until(b"\r\n\r\n", 1 << 20)).decode("latin-1")
        first, *lines = head.split("\r\n")
        method, path, _ = first.split(" ")
        headers = {n.lower(): v.strip() for n, _, v in (line.partition(":") for line in lines)}
        body = await self.reader.receive_exactly(int(headers.get("content-length", 0)))
        return Asked(method, path, headers, body)

    async def answer(self, status: int, body: object, **headers: str) -> None:
        data = body if isinstance(body, bytes) else json.dumps(body).encode()
        told = {"content-type": "application/json", "content-length": str(len(data)), **headers}
        lines = [f"HTTP/1.1 {status} Said", *(f"{n}: {v}" for n, v in told.items()), "", ""]
        await self.stream.send("\r\n".join(lines).encode() + data)

    async def begin(self) -> None:
        await self.stream.send(
            b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\n"
            b"transfer-encoding: chunked\r\n\r\n"
        )

    async def piece(self, data: bytes) -> None:
        await self.stream.send(b"%x\r\n%b\r\n" % (len(data), data))

    async def event(self, told: Mapping[str, Any]) -> None:
        await self.piece(f"event: {told.get('type', '')}\ndata: {json.dumps(told)}\n\n".encode())

    async def end(self) -> None:
        await self.stream.send(b"0\r\n\r\n")

    async def gone(self) -> None:
        """Return when the gateway has closed the connection."""
        try:
            while await self.stream.receive():
                pass
        except (anyio.EndOfStream, anyio.BrokenResourceError):
            return


Handler = Callable[[Wire, Asked], Awaitable[None]]


@dataclass
class Service:
    """Serves each request with the next handler; the last one serves all further ones."""

    url: str = ""
    handlers: list[Handler] = field(default_factory=list)
    asked: list[Asked] = field(default_factory=list)
    left: anyio.Event = field(default_factory=anyio.Event)

    key: str = KEY

    def does(self, *handlers: Handler) -> None:
        self.handlers[:] = handlers

    def says(self, text: str = "hello", *, inputs: int = 100, outputs: int = 10) -> None:
        """Answer every request, in its dialect, with this text and usage."""
        self.does(says(text, inputs=inputs, outputs=outputs))

    @property
    def calls(self) -> list[Asked]:
        """What was asked of a model."""
        paths = ("/responses", "/chat/completions", "/messages")
        return [asked for asked in self.asked if asked.path.endswith(paths)]

    async def _serve(self, stream: SocketStream) -> None:
        wire = Wire(stream)
        async with stream:
            try:
                while True:
                    asked = await wire.asked()
                    self.asked.append(asked)
                    handler = self.handlers.pop(0) if len(self.handlers) > 1 else self.handlers[0]
                    await handler(wire, asked)
            except (anyio.IncompleteRead, anyio.BrokenResourceError, anyio.ClosedResourceError):
                self.left.set()


@pytest.fixture
async def service() -> AsyncIterator[Service]:
    found = Service()
    async with (
        await anyio.create_tcp_listener(local_host="127.0.0.1") as listener,
        anyio.create_task_group() as group,
    ):
        port = listener.extra(SocketAttribute.local_port)
        found.url = f"http://127.0.0.1:{port}/v1"
        group.start_soon(listener.serve, found._serve)
        yield found
        group.cancel_scope.cancel()


def usage(inputs: int, outputs: int, *, cached: int = 0, reasoning: int = 0) -> dict[str, Any]:
    return {
        "input_tokens": inputs,
        "input_tokens_details": {"cached_tokens": cached},
        "output_tokens": outputs,
        "output_tokens_details": {"reasoning_tokens": reasoning},
        "total_tokens": inputs + outputs,
    }


def says(text: str = "hello", *, inputs: int = 100, outputs: int = 10) -> Handler:
    """A handler that answers in whatever dialect it was asked in, counts included."""

    async def handler(wire: Wire, asked: Asked) -> None:
        if asked.path.endswith(("/input_tokens", "/count_tokens")):
            await wire.answer(200, {"input_tokens": inputs})
        elif asked.path.endswith("/responses"):
            await _responses(wire, asked, text, usage(inputs, outputs))
        elif asked.path.endswith("/chat/completions"):
            await _chat(wire, asked, text, inputs, outputs)
        else:
            await _messages(wire, asked, text, inputs, outputs)

    return handler


async def _responses(wire: Wire, asked: Asked, text: str, used: dict[str, Any]) -> None:
    item = {
        "type": "message",
        "role": "assistant",
        "content": [{"type": "output_text", "text": text}],
    }
    whole = {
        "id": "r1",
        "model": "gpt-5-2025",
        "status": "completed",
        "output": [item],
        "usage": used,
    }
    if not asked.json.get("stream"):
        await wire.answer(200, whole)
        return
    await wire.begin()
    await wire.event({"type": "response.created", "response": {"id": "r1", "usage": None}})
    await wire.event({"type": "response.output_text.delta", "delta": text})
    await wire.event({"type": "response.completed", "response": whole})
    await wire.end()


async def _chat(wire: Wire, asked: Asked, text: str, inputs: int, outputs: int) -> None:
    used = {"prompt_tokens": inputs, "completion_tokens": outputs, "total_tokens": inputs + outputs}
    base = {"id": "c1", "model": "gpt-5-2025"}
    if not asked.json.get("stream"):
        message = {"role": "assistant", "content": text}
        choice = {"index": 0, "message": message, "finish_reason": "stop"}
        await wire.answer(200, {**base, "choices": [choice], "usage": used})
        return
    await wire.begin()
    delta = {"index": 0, "delta": {"content": text}, "finish_reason": None}
    await wire.event({**base, "choices": [delta]})
    await wire.event({**base, "choices": [{"index": 0, "delta": {}, "finish_reason": "stop"}]})
    if asked.json.get("stream_options", {}).get("include_usage"):
        await wire.event({**base, "choices": [], "usage": used})
    await wire.piece(b"data: [DONE]\n\n")
    await wire.end()


async def _messages(wire: Wire, asked: Asked, text: str, inputs: int, outputs: int) -> None:
    content = [{"type": "text", "text": text}]
    used = {"input_tokens": inputs, "output_tokens": outputs}
    base = {"id": "m1", "type": "message", "role": "assistant", "model": "claude-x"}
    if not asked.json.get("stream"):
        whole = {**base, "content": content, "stop_reason": "end_turn", "usage": used}
        await wire.answer(200, whole)
        return
    await wire.begin()
    started = {**base, "content": [], "usage": {**used, "output_tokens": 1}}
    await wire.event({"type": "message_start", "message": started})
    delta = {"type": "text_delta", "text": text}
    await wire.event({"type": "content_block_delta", "index": 0, "delta": delta})
    end = {"stop_reason": "end_turn"}
    await wire.event({"type": "message_delta", "delta": end, "usage": {"output_tokens": outputs}})
    await wire.event({"type": "message_stop"})
    await wire.end()


# --- the gateway ----------------------------------------------------------------------------------


@dataclass
class Answered:
    """What the client got. `complete` is False where the answer broke off."""

    status: int = 0
    headers: dict[str, str] = field(default_factory=dict)
    pieces: list[bytes] = field(default_factory=list)
    complete: bool = False

    @property
    def body(self) -> bytes:
        return b"".join(self.pieces)

    @property
    def json(self) -> Any:
        return json.loads(self.body)

    @property
    def error(self) -> Any:
        return self.json["error"]

    @property
    def events(self) -> list[Any]:
        """The data of all events."""
        lines = [line[6:] for line in self.body.split(b"\n") if line.startswith(b"data: ")]
        return [json.loads(line) for line in lines if line != b"[DONE]"]


class Bench:
    """One gateway with one client, its ledger and its record."""

    def __init__(self, gateway: Gateway, client: Client, sink: MemorySink) -> None:
        self.gateway = gateway
        self.client = client
        self.sink = sink

    @property
    def state(self) -> BudgetState:
        assert self.client.node is not None
        return self.client.node.state()

    def of(self, kind: str) -> list[Mapping[str, Any]]:
        return self.sink.of(kind)

    async def ask(
        self,
        path: str,
        body: object,
        *,
        token: str | None = None,
        hung_up: anyio.Event | None = None,
        on_piece: Callable[[bytes], None] | None = None,
        method: str = "POST",
        **headers: str,
    ) -> Answered:
        """Make a request as a server would hand it on; `hung_up` is when the client goes."""
        data = body if isinstance(body, bytes) else json.dumps(body).encode()
        told = {
            "authorization": f"Bearer {self.client.secret if token is None else token}",
            "content-length": str(len(data)),
            **{name.replace("_", "-"): value for name, value in headers.items()},
        }
        found = Answered()
        waiting = [{"type": "http.request", "body": data, "more_body": False}]
        gone = hung_up or anyio.Event()

        async def receive() -> dict[str, Any]:
            if waiting:
                return waiting.pop(0)
            await gone.wait()
            return {"type": "http.disconnect"}

        async def send(event: dict[str, Any]) -> None:
            await anyio.lowlevel.checkpoint()
            if event["type"] == "http.response.start":
                found.status = event["status"]
                found.headers = {n.decode(): v.decode() for n, v in event["headers"]}
                return
            if event["body"]:
                found.pieces.append(event["body"])
                if on_piece is not None:
                    on_piece(event["body"])
            if not event.get("more_body"):
                found.complete = True
                gone.set()

        scope = {
            "type": "http",
            "method": method,
            "path": path,
            "headers": [(n.encode(), v.encode()) for n, v in told.items()],
        }
        await self.gateway(scope, receive, send)
        return found


Opener = Callable[..., Awaitable[Bench]]


@pytest.fixture
async def opened(service: Service, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Opener]:
    """Opens a gateway in front of the service; `limits` are those of its one client."""
    monkeypatch.setenv("THE_KEY", KEY)
    async with AsyncExitStack() as stack:

        async def open_(
            limits: Limits | None = LIMITS,
            per_agent: Limits | None = None,
            upstream: Mapping[str, Any] | None = None,
            ledger: Ledger | None = None,
            sink: MemorySink | None = None,
            **settings: Any,
        ) -> Bench:
            place = {"base_url": service.url, "key_env": "THE_KEY", **(upstream or {})}
            table = GatewaySettings(openai=place, anthropic=place, **settings)
            upstreams = {
                provider: await stack.enter_async_context(open_upstream(target, idle_s=30))
                for provider, target in targets(table).items()
            }
            gateway = Gateway(upstreams, table)
            sink = sink or MemorySink()
            ledger = ledger or Ledger()
            run_id = new_run_id()
            client = Client(
                "codex",
                run_id=run_id,
                recorder=Recorder([sink], {"run_id": run_id}),
                budget=ledger if limits is not None else None,
                node=ledger.root("run", limits) if limits is not None else None,
                per_agent=per_agent,
                most_agents=table.agents,
            )
            gateway.admit(client)
            return Bench(gateway, client, sink)

        yield open_
