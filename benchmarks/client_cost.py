"""What one model call costs this process, by length of the conversation.

    uv run --with openai python benchmarks/client_cost.py [--calls 20] [--rounds 5]

Prints CPU microseconds per call of `sashizu-openai` (streaming, as in a run) and of the typed calls
of OpenAI's library (not streaming, which is their cheaper form), and the ratio of the two. Both
talk to the same local server, which is another process. A call of ours has two new messages, as the
next call of a conversation has; the library gets its whole list of dictionaries, as it always does.
Every cell is visited in shuffled order in every round; a cell is the median over the rounds of
medians.
"""

from __future__ import annotations

import argparse
import asyncio
import random
import re
import statistics
import subprocess
import sys
import time
from collections.abc import Awaitable, Callable
from contextlib import AsyncExitStack

import anyio
from openai import AsyncOpenAI
from sashizu_core.settings import Settings
from sashizu_core.types import Message, ModelRequest, ToolCall, ToolSchema
from sashizu_openai.offers import model_specs

ADD = {
    "type": "object",
    "properties": {"a": {"type": "integer"}, "b": {"type": "integer"}},
    "required": ["a", "b"],
}
ARGUMENTS = '{"a":1,"b":2}'
CHAT_USAGE = b'{"prompt_tokens":100,"completion_tokens":20,"total_tokens":120}'
RESPONSES_USAGE = (
    b'{"input_tokens":100,"input_tokens_details":{"cached_tokens":0,"cache_write_tokens":0},'
    b'"output_tokens":20,"output_tokens_details":{"reasoning_tokens":0},"total_tokens":120}'
)
MESSAGE = (
    b'{"type":"message","id":"m","role":"assistant","status":"completed",'
    b'"content":[{"type":"output_text","text":"The sum is 3.","annotations":[]}]}'
)
RESPONSE = (
    b'{"id":"r","object":"response","created_at":1,"model":"m","status":"completed","output":['
    + MESSAGE
    + b'],"parallel_tool_calls":true,"tool_choice":"auto","tools":[],"usage":'
    + RESPONSES_USAGE
    + b"}"
)
CHAT_WHOLE = (
    b'{"id":"c","object":"chat.completion","created":1,"model":"m","choices":[{"index":0,'
    b'"message":{"role":"assistant","content":"The sum is 3."},"finish_reason":"stop"}],"usage":'
    + CHAT_USAGE
    + b"}"
)


def _chat_stream() -> bytes:
    deltas = [b'{"role":"assistant","content":""}']
    deltas += [b'{"content":"%s"}' % word for word in (b"The ", b"sum ", b"is ", b"3.")]
    head = b'data: {"id":"c","object":"chat.completion.chunk","created":1,"model":"m","choices":['
    chunk = head + b'{"index":0,"delta":%s,"finish_reason":null}]}\n\n'
    end = head + b'{"index":0,"delta":{},"finish_reason":"stop"}]}\n\n'
    usage = head + b'],"usage":' + CHAT_USAGE + b"}\n\n"
    return b"".join(chunk % delta for delta in deltas) + end + usage + b"data: [DONE]\n\n"


def _responses_stream() -> bytes:
    delta = (
        b"event: response.output_text.delta\n"
        b'data: {"type":"response.output_text.delta","output_index":0,"delta":"%s"}\n\n'
    )
    words = b"".join(delta % word for word in (b"The ", b"sum ", b"is ", b"3."))
    created = b'data: {"type":"response.created","response":{"id":"r","status":"in_progress"}}\n\n'
    return created + words + b'data: {"type":"response.completed","response":' + RESPONSE + b"}\n\n"


# --- the server -----------------------------------------------------------------------------------


class FakeService(asyncio.Protocol):
    """Answers every request at once, with what its path and its `stream` ask for."""

    def __init__(self) -> None:
        self._received = b""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = transport

    def data_received(self, data: bytes) -> None:
        self._received += data
        head, end, body = self._received.partition(b"\r\n\r\n")
        length = re.search(rb"content-length: *(\d+)", head, re.IGNORECASE)
        if not end or length is None or len(body) < int(length[1]):
            return
        self._received = b""
        chat = b"/chat/" in head[:200]
        if re.search(rb'"stream": *true', body):
            kind, answer = b"text/event-stream", _chat_stream() if chat else _responses_stream()
        else:
            kind, answer = b"application/json", CHAT_WHOLE if chat else RESPONSE
        headers = b"HTTP/1.1 200 OK\r\ncontent-type: %s\r\ncontent-length: %d\r\n\r\n"
        self._transport.write(headers % (kind, len(answer)) + answer)  # type: ignore[attr-defined]


async def serve() -> None:
    server = await asyncio.get_running_loop().create_server(FakeService, "127.0.0.1", 0)
    print(server.sockets[0].getsockname()[1], flush=True)
    await server.serve_forever()


# --- the calls ------------------------------------------------------------------------------------

Call = Callable[[], Awaitable[object]]


def ours(model: object, length: int) -> Call:
    tool = ToolSchema("add", "Add two numbers.", ADD)
    known: list[Message] = [Message("system", "Use the tool."), Message("user", "What is 1+2?")]
    while len(known) < length:
        call_id = f"c{len(known)}"
        known.append(Message("assistant", "", (ToolCall(call_id, "add", ARGUMENTS),)))
        known.append(Message("tool", "3", tool_call_id=call_id))
    kept = tuple(known[: length - 2])

    async def call() -> object:
        new = (
            Message("assistant", "", (ToolCall("new", "add", ARGUMENTS),)),
            Message("tool", "3", tool_call_id="new"),
        )
        request = ModelRequest((*kept, *new), tools=(tool,), max_output_tokens=256)
        return await model.complete(request)  # type: ignore[attr-defined]

    return call


def typed_chat(client: AsyncOpenAI, length: int) -> Call:
    messages: list[dict[str, object]] = [
        {"role": "system", "content": "Use the tool."},
        {"role": "user", "content": "What is 1+2?"},
    ]
    while len(messages) < length:
        call_id = f"c{len(messages)}"
        function = {"name": "add", "arguments": ARGUMENTS}
        calls = [{"id": call_id, "type": "function", "function": function}]
        messages.append({"role": "assistant", "content": "", "tool_calls": calls})
        messages.append({"role": "tool", "tool_call_id": call_id, "content": "3"})
    described = {"name": "add", "description": "Add two numbers.", "parameters": ADD}
    tools = [{"type": "function", "function": described}]

    async def call() -> object:
        return await client.chat.completions.create(
            model="m",
            messages=messages[:length],  # type: ignore[arg-type]
            tools=tools,  # type: ignore[arg-type]
            max_tokens=256,
        )

    return call


def typed_responses(client: AsyncOpenAI, length: int) -> Call:
    items: list[dict[str, object]] = [
        {"type": "message", "role": "system", "content": "Use the tool."},
        {"type": "message", "role": "user", "content": "What is 1+2?"},
    ]
    while len(items) < length:
        call_id = f"c{len(items)}"
        call = {"type": "function_call", "call_id": call_id, "name": "add", "arguments": ARGUMENTS}
        items.append(call)
        items.append({"type": "function_call_output", "call_id": call_id, "output": "3"})
    tool = {"type": "function", "name": "add", "description": "Add.", "parameters": ADD}

    async def call_once() -> object:
        return await client.responses.create(
            model="m",
            input=items[:length],  # type: ignore[arg-type]
            tools=[{**tool, "strict": False}],  # type: ignore[list-item]
            max_output_tokens=256,
            store=False,
        )

    return call_once


async def cpu_us(call: Call, calls: int) -> float:
    """The median CPU time of a call, in microseconds."""
    for _ in range(3):
        await call()
    costs = []
    for _ in range(calls):
        started = time.process_time_ns()
        await call()
        costs.append((time.process_time_ns() - started) / 1000)
    return statistics.median(costs)


Cells = dict[tuple[str, int], list[float]]


async def measure(url: str, lengths: list[int], calls: int, rounds: int) -> Cells:
    tables = {
        api: {"base_url": url, "api": api, "model": "m", "local": True}
        for api in ("chat", "responses")
    }
    specs = {spec.name: spec for spec in model_specs(Settings(tables={"models": tables}), {})}
    cells: Cells = {}
    async with AsyncExitStack() as stack:
        client = await stack.enter_async_context(AsyncOpenAI(base_url=url, api_key="x"))
        made: dict[tuple[str, int], Call] = {}
        for length in lengths:
            for api, typed in (("chat", typed_chat), ("responses", typed_responses)):
                model = await stack.enter_async_context(specs[api].open(api))
                made[f"ours {api}", length] = ours(model, length)
                made[f"typed {api}", length] = typed(client, length)
        for _ in range(rounds):
            for cell in random.sample(list(made), len(made)):
                cells.setdefault(cell, []).append(await cpu_us(made[cell], calls))
    return cells


def report(cells: Cells, lengths: list[int]) -> None:
    cost = {cell: statistics.median(costs) for cell, costs in cells.items()}
    rows = []
    for api in ("chat", "responses"):
        for who in ("typed", "ours"):
            name = f"{who} {api}"
            rows.append([name, *(f"{cost[name, length]:,.0f}" for length in lengths)])
        ratios = [cost[f"ours {api}", n] / cost[f"typed {api}", n] for n in lengths]
        rows.append([f"ours / typed, {api}", *(f"{ratio:.3f}" for ratio in ratios)])
    print("CPU microseconds per call, by number of messages\n")
    print("| client |" + "".join(f" {length} |" for length in lengths))
    print("| --- |" + " ---: |" * len(lengths))
    for row in rows:
        print("| " + " | ".join(row) + " |")
    first, last = lengths[0], lengths[-1]
    for api in ("chat", "responses"):
        grown = cost[f"ours {api}", last] - cost[f"ours {api}", first]
        print(f"\nours {api}: {grown / max(1, last - first):.2f} us more per message")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--lengths", type=int, nargs="+", default=[2, 10, 20, 50, 100, 200])
    parser.add_argument("--calls", type=int, default=20)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--serve", action="store_true", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.serve:
        asyncio.run(serve())
        return
    with subprocess.Popen([sys.executable, __file__, "--serve"], stdout=subprocess.PIPE) as server:
        try:
            assert server.stdout is not None
            url = f"http://127.0.0.1:{int(server.stdout.readline())}/v1"
            arguments = url, options.lengths, options.calls, options.rounds
            report(anyio.run(measure, *arguments), options.lengths)
        finally:
            server.terminate()


if __name__ == "__main__":
    main()
