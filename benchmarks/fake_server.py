"""A model service on this machine that answers at once, or after a fixed time, and keeps no state.

    python benchmarks/fake_server.py

Prints its port. What it does is said by the first part of the path of the base URL:
`http://127.0.0.1:PORT/ms200-steps5-add/v1` waits 200 ms before each answer and asks for the tool
`add` five times before it gives its final answer. How far a conversation is, it counts in the
request.
Chat Completions and Responses, streaming or not; requests are not parsed and answers are rendered
once, so that it never is what is measured.
"""

from __future__ import annotations

import asyncio
import json
import re
from functools import lru_cache
from typing import Any

PATH = re.compile(rb"^\w+ /ms(\d+)-steps(\d+)-(\w+)/")
LENGTH = re.compile(rb"\r\ncontent-length: *(\d+)", re.IGNORECASE)
STREAM = re.compile(rb'"stream": *true')
CHAT_RESULT = re.compile(rb'"role": *"tool"')
RESPONSES_RESULT = re.compile(rb'"type": *"(?:custom_tool|function)_call_output"')
ANSWER = "The sum is 3."
ARGUMENTS = {"exec_command": {"cmd": "true", "login": False}, "list_files": {}}


@lru_cache(maxsize=4096)
def answer(responses: bool, stream: bool, done: int, steps: int, name: str) -> bytes:
    """The whole HTTP answer to a request that carries the results of `done` tool calls."""
    arguments = ARGUMENTS.get(name, {"a": done, "b": 2})
    call = (f"call_{done}", name, json.dumps(arguments)) if done < steps else None
    render = (responses_events if responses else chat_events) if stream else None
    if render is None:
        whole = responses_whole(done, call) if responses else chat_whole(done, call)
        return http("application/json", json.dumps(whole).encode())
    return http("text/event-stream", "".join(render(done, call)).encode())


def http(kind: str, body: bytes) -> bytes:
    head = f"HTTP/1.1 200 OK\r\ncontent-type: {kind}\r\ncontent-length: {len(body)}\r\n\r\n"
    return head.encode() + body


Call = tuple[str, str, str] | None


def chat_whole(done: int, call: Call) -> dict[str, Any]:
    message: dict[str, Any] = {"role": "assistant", "content": None if call else ANSWER}
    if call:
        function = {"name": call[1], "arguments": call[2]}
        message["tool_calls"] = [{"id": call[0], "type": "function", "function": function}]
    finish = "tool_calls" if call else "stop"
    return {
        "id": f"chat_{done}",
        "object": "chat.completion",
        "created": 1,
        "model": "fake",
        "choices": [{"index": 0, "message": message, "finish_reason": finish}],
        "usage": {"prompt_tokens": 100, "completion_tokens": 20, "total_tokens": 120},
    }


def chat_events(done: int, call: Call) -> list[str]:
    whole = chat_whole(done, call)
    base = {"id": whole["id"], "object": "chat.completion.chunk", "created": 1, "model": "fake"}
    choice = whole["choices"][0]
    delta = choice["message"]
    if call:
        delta["tool_calls"][0]["index"] = 0
    chunks = [
        {**base, "choices": [{"index": 0, "delta": delta, "finish_reason": None}]},
        {
            **base,
            "choices": [{"index": 0, "delta": {}, "finish_reason": choice["finish_reason"]}],
        },
        {**base, "choices": [], "usage": whole["usage"]},
    ]
    return [f"data: {json.dumps(chunk)}\n\n" for chunk in chunks] + ["data: [DONE]\n\n"]


def responses_item(done: int, call: Call) -> dict[str, Any]:
    if call:
        return {
            "id": f"fc_{done}",
            "type": "function_call",
            "status": "completed",
            "call_id": call[0],
            "name": call[1],
            "arguments": call[2],
        }
    text = {"type": "output_text", "text": ANSWER, "annotations": []}
    return {
        "id": f"msg_{done}",
        "type": "message",
        "status": "completed",
        "role": "assistant",
        "content": [text],
    }


def responses_whole(done: int, call: Call) -> dict[str, Any]:
    return {
        "id": f"resp_{done}",
        "object": "response",
        "created_at": 1,
        "status": "completed",
        "model": "fake",
        "output": [responses_item(done, call)],
        "parallel_tool_calls": True,
        "tool_choice": "auto",
        "tools": [],
        "usage": {
            "input_tokens": 100,
            "input_tokens_details": {"cached_tokens": 0, "cache_write_tokens": 0},
            "output_tokens": 20,
            "output_tokens_details": {"reasoning_tokens": 0},
            "total_tokens": 120,
        },
    }


def responses_events(done: int, call: Call) -> list[str]:
    whole = responses_whole(done, call)
    item = whole["output"][0]
    begun = {**whole, "status": "in_progress", "output": [], "usage": None}
    place = {"output_index": 0, "item_id": item["id"]}
    events: list[dict[str, Any]] = [
        {"type": "response.created", "response": begun},
        {"type": "response.output_item.added", "output_index": 0, "item": item},
    ]
    if call is None:
        delta = {"content_index": 0, "delta": ANSWER, "logprobs": []}
        events.append({"type": "response.output_text.delta", **place, **delta})
    events += [
        {"type": "response.output_item.done", "output_index": 0, "item": item},
        {"type": "response.completed", "response": whole},
    ]
    return [
        f"event: {event['type']}\ndata: {json.dumps({**event, 'sequence_number': number})}\n\n"
        for number, event in enumerate(events)
    ]


class Service(asyncio.Protocol):
    """One connection."""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = transport
        self.data = bytearray()

    def data_received(self, data: bytes) -> None:
        self.data += data
        while (end := self.data.find(b"\r\n\r\n")) >= 0:
            head = bytes(self.data[:end])
            found = LENGTH.search(head)
            size = end + 4 + (int(found[1]) if found else 0)
            if len(self.data) < size:
                return
            body = bytes(self.data[end + 4 : size])
            del self.data[:size]
            self.answer(head, body)

    def answer(self, head: bytes, body: bytes) -> None:
        path = PATH.match(head)
        if path is None or b"/models" in head.split(b"\r\n", 1)[0]:
            self.send(http("application/json", b'{"object":"list","data":[],"models":[]}'))
            return
        responses = b"/responses" in head.split(b"\r\n", 1)[0]
        done = len((RESPONSES_RESULT if responses else CHAT_RESULT).findall(body))
        stream = STREAM.search(body) is not None
        text = answer(responses, stream, done, int(path[2]), path[3].decode())
        if wait_ms := int(path[1]):
            asyncio.get_running_loop().call_later(wait_ms / 1000, self.send, text)
        else:
            self.send(text)

    def send(self, text: bytes) -> None:
        if not self.transport.is_closing():
            self.transport.write(text)  # type: ignore[attr-defined]


async def main() -> None:
    loop = asyncio.get_running_loop()
    server = await loop.create_server(Service, "127.0.0.1", 0, backlog=4096)
    print(server.sockets[0].getsockname()[1], flush=True)
    await server.serve_forever()


if __name__ == "__main__":
    try:
        import uvloop
    except ImportError:
        uvloop = None
    (uvloop or asyncio).run(main())
