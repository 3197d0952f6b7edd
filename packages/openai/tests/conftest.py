"""A local server that behaves as badly as a test wants, and models that talk to it."""

import json
import os
import ssl
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import AsyncExitStack
from dataclasses import dataclass, field
from typing import Any

import anyio
import pytest
import trustme
from anyio.abc import AnyByteStream, SocketAttribute
from anyio.streams.buffered import BufferedByteReceiveStream
from anyio.streams.tls import TLSListener
from sashizu_core.protocols import Model
from sashizu_core.settings import Settings
from sashizu_core.types import Message, ModelRequest, ToolSchema
from sashizu_openai.offers import model_specs

KEY = "sk-test-0123456789abcdef"


@pytest.fixture(autouse=True)
def _clean_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in list(os.environ):
        if name.lower().endswith("_proxy") or name.startswith(("OPENAI_", "SSL_CERT_")):
            monkeypatch.delenv(name)


@dataclass
class Request:
    """What a client sent."""

    method: str
    target: str
    headers: dict[str, str]
    body: bytes
    head: str = ""

    @property
    def json(self) -> Any:
        return json.loads(self.body)


class Wire:
    """One connection, seen from the server."""

    def __init__(self, stream: AnyByteStream) -> None:
        self.stream = stream
        self.reader = BufferedByteReceiveStream(stream)
        self.chunked = False

    async def request(self) -> Request:
        head = (await self.reader.receive_until(b"\r\n\r\n", 65536)).decode("latin-1")
        first, *lines = head.split("\r\n")
        method, target, _ = first.split(" ")
        headers = {
            name.lower(): value.strip()
            for name, _, value in (line.partition(":") for line in lines)
        }
        body = await self.reader.receive_exactly(int(headers.get("content-length", 0)))
        return Request(method, target, headers, body, head)

    async def send(self, data: bytes) -> None:
        await self.stream.send(data)

    async def head(self, status: int = 200, /, **headers: str) -> None:
        """Status line and headers; without a content-length the body is chunked."""
        told = {name.replace("_", "-"): value for name, value in headers.items()}
        if "content-length" not in told:
            told["transfer-encoding"] = "chunked"
            self.chunked = True
        lines = [f"HTTP/1.1 {status} Said", *(f"{name}: {value}" for name, value in told.items())]
        await self.send("\r\n".join([*lines, "", ""]).encode())

    async def events(self, *pieces: bytes) -> None:
        """The beginning of an event stream, or more of it."""
        if not self.chunked:
            await self.head(content_type="text/event-stream")
        for piece in pieces:
            await self.send(b"%x\r\n%s\r\n" % (len(piece), piece))

    async def end(self) -> None:
        await self.send(b"0\r\n\r\n")
        self.chunked = False

    async def answer(self, status: int, body: bytes | dict[str, Any], /, **headers: str) -> None:
        """A whole answer."""
        data = body if isinstance(body, bytes) else json.dumps(body).encode()
        headers.setdefault("content_type", "application/json")
        await self.head(status, content_length=str(len(data)), **headers)
        await self.send(data)

    async def gone(self) -> None:
        """Return when the client has closed the connection."""
        try:
            while await self.stream.receive():
                pass
        except (anyio.EndOfStream, anyio.BrokenResourceError):
            return


Handler = Callable[[Wire, Request], Awaitable[None]]


@dataclass
class Server:
    """Serves each request with the next handler; the last one serves all further ones."""

    url: str = ""
    handlers: list[Handler] = field(default_factory=list)
    requests: list[Request] = field(default_factory=list)
    connections: int = 0
    clients_gone: anyio.Event = field(default_factory=anyio.Event)

    def serves(self, *handlers: Handler) -> None:
        self.handlers[:] = handlers

    @property
    def last(self) -> Request:
        return self.requests[-1]

    async def handle(self, stream: AnyByteStream) -> None:
        self.connections += 1
        wire = Wire(stream)
        async with stream:
            try:
                while True:
                    request = await wire.request()
                    self.requests.append(request)
                    handler = self.handlers.pop(0) if len(self.handlers) > 1 else self.handlers[0]
                    await handler(wire, request)
                    if wire.chunked:
                        return  # the handler cut its answer off
            except (
                anyio.IncompleteRead,
                anyio.EndOfStream,
                anyio.BrokenResourceError,
                anyio.ClosedResourceError,
            ):
                self.clients_gone.set()


async def _serve(context: ssl.SSLContext | None = None) -> AsyncIterator[Server]:
    tcp = await anyio.create_tcp_listener(local_host="127.0.0.1")
    port = tcp.extra(SocketAttribute.local_port)
    server = Server(f"{'https' if context else 'http'}://127.0.0.1:{port}/v1")
    async with (
        TLSListener(tcp, context, standard_compatible=False) if context else tcp as listener,
        anyio.create_task_group() as tasks,
    ):
        tasks.start_soon(listener.serve, server.handle)
        yield server
        tasks.cancel_scope.cancel()


@pytest.fixture
async def server() -> AsyncIterator[Server]:
    async for made in _serve():
        yield made


@pytest.fixture
def authority() -> trustme.CA:
    return trustme.CA()


@pytest.fixture
async def secure(authority: trustme.CA) -> AsyncIterator[Server]:
    """The server, over TLS; whoever trusts `authority` trusts it."""
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    authority.issue_cert("127.0.0.1").configure_cert(context)
    async for made in _serve(context):
        yield made


@pytest.fixture
async def connect() -> AsyncIterator[Callable[..., Awaitable[Model]]]:
    """Opens a model from the keys of a table `[models.test]`."""
    async with AsyncExitStack() as stack:

        async def opened(url: str, **table: Any) -> Model:
            table = {"base_url": url, "model": "m-1", "key_env": "TEST_KEY", **table}
            settings = Settings(tables={"models": {"test": table}})
            specs = {spec.name: spec for spec in model_specs(settings, {"TEST_KEY": KEY})}
            return await stack.enter_async_context(specs["test"].open("test"))

        yield opened


class ChatWire:
    """How Chat Completions looks on the wire."""

    api = "chat"
    path = "/v1/chat/completions"

    def event(self, **fields: Any) -> bytes:
        return (
            b"data: " + json.dumps({"id": "c-1", "model": "m-1-0001", **fields}).encode() + b"\n\n"
        )

    def delta(self, **delta: Any) -> bytes:
        return self.event(choices=[{"index": 0, "delta": delta, "finish_reason": None}])

    def opening(self) -> bytes:
        return self.delta(role="assistant", content="")

    def text(self, text: str) -> bytes:
        return self.delta(content=text)

    def call(self, index: int, call_id: str, name: str, *arguments: str) -> bytes:
        first = {"index": index, "id": call_id, "type": "function"}
        pieces = [self.delta(tool_calls=[{**first, "function": {"name": name, "arguments": ""}}])]
        pieces += [
            self.delta(tool_calls=[{"index": index, "function": {"arguments": part}}])
            for part in arguments
        ]
        return b"".join(pieces)

    def finish(self, reason: str) -> bytes:
        return self.event(choices=[{"index": 0, "delta": {}, "finish_reason": reason}])

    def usage(self, read: int, written: int, cached: int = 0, reasoning: int = 0) -> bytes:
        return self.event(
            choices=[],
            usage={
                "prompt_tokens": read,
                "completion_tokens": written,
                "total_tokens": read + written,
                "prompt_tokens_details": {"cached_tokens": cached},
                "completion_tokens_details": {"reasoning_tokens": reasoning},
            },
        )

    def stream(self, text: str, reason: str = "stop", *, read: int = 10, written: int = 2) -> bytes:
        return b"".join(
            [
                self.opening(),
                *(self.text(piece) for piece in _pieces(text)),
                self.finish(reason),
                self.usage(read, written),
                b"data: [DONE]\n\n",
            ]
        )

    def cap(self, request: Request) -> int:
        return int(request.json["max_tokens"])


class ResponsesWire:
    """How Responses looks on the wire."""

    api = "responses"
    path = "/v1/responses"

    def event(self, kind: str, **fields: Any) -> bytes:
        data = json.dumps({"type": f"response.{kind}", **fields}).encode()
        return b"event: response.%s\ndata: %s\n\n" % (kind.encode(), data)

    def opening(self) -> bytes:
        return self.event("created", response={"id": "r-1", "status": "in_progress"})

    def text(self, text: str) -> bytes:
        return self.event("output_text.delta", output_index=0, delta=text)

    def message(self, text: str, **fields: Any) -> dict[str, Any]:
        content = [{"type": "output_text", "text": text, "annotations": []}]
        return {"type": "message", "id": "msg-1", "role": "assistant", "content": content, **fields}

    def function_call(self, call_id: str, name: str, arguments: str) -> dict[str, Any]:
        call = {"type": "function_call", "id": f"fc-{call_id}", "status": "completed"}
        return {**call, "call_id": call_id, "name": name, "arguments": arguments}

    def end(
        self,
        *items: dict[str, Any],
        status: str = "completed",
        usage: dict[str, Any] | None = None,
        **fields: Any,
    ) -> bytes:
        response = {"id": "r-1", "model": "m-1-0001", "status": status, "output": list(items)}
        return self.event(status, response={**response, "usage": usage, **fields})

    def counts(
        self, read: int, written: int, cached: int = 0, reasoning: int = 0
    ) -> dict[str, Any]:
        return {
            "input_tokens": read,
            "output_tokens": written,
            "total_tokens": read + written,
            "input_tokens_details": {"cached_tokens": cached},
            "output_tokens_details": {"reasoning_tokens": reasoning},
        }

    def stream(self, text: str, reason: str = "stop", *, read: int = 10, written: int = 2) -> bytes:
        more: dict[str, Any] = {}
        if reason == "length":
            more = {"status": "incomplete", "incomplete_details": {"reason": "max_output_tokens"}}
        return b"".join(
            [
                self.opening(),
                *(self.text(piece) for piece in _pieces(text)),
                self.end(self.message(text), usage=self.counts(read, written), **more),
            ]
        )

    def cap(self, request: Request) -> int:
        return int(request.json["max_output_tokens"])


def _pieces(text: str) -> Iterator[str]:
    return (text[at : at + 4] for at in range(0, len(text), 4))


@pytest.fixture
def chat() -> ChatWire:
    return ChatWire()


@pytest.fixture
def responses() -> ResponsesWire:
    return ResponsesWire()


@pytest.fixture(params=[ChatWire, ResponsesWire], ids=["chat", "responses"])
def wire(request: pytest.FixtureRequest) -> ChatWire | ResponsesWire:
    """Both APIs, one after the other."""
    made: ChatWire | ResponsesWire = request.param()
    return made


@pytest.fixture
def ask() -> Callable[..., ModelRequest]:
    """Makes a small request."""

    def made(text: str = "Say hello.", **fields: Any) -> ModelRequest:
        messages = (Message("system", "You are brief."), Message("user", text))
        return ModelRequest(messages=messages, **{"max_output_tokens": 64, **fields})

    return made


@pytest.fixture
def tool() -> ToolSchema:
    parameters = {
        "type": "object",
        "properties": {"path": {"type": "string"}},
        "required": ["path"],
        "additionalProperties": False,
    }
    return ToolSchema("read_file", "Read a file.", parameters)
