"""A Responses service whose model leads agents of Codex, and keeps them busy.

    python benchmarks/codex_service.py [--delay 0.2]

Prints its port. A user's text `lead 6 30` has the model start six agents, each with the text
`work 30`, and wait for them; `work 30` has it run a command thirty times before it answers, and
`run <<COMMAND>>` that command once; `use NAMESPACE NAME <<JSON>>` has it call that tool once. An
answer comes after the delay. Tokens of the input are a quarter of the bytes of what is told to the
model, so that `POST /v1/responses/input_tokens` and the bill agree; the output is 50 tokens, or the
cap where that is smaller. `GET /bill` says what was asked and billed so far, with the names of the
tools that the model was offered.
"""

from __future__ import annotations

import argparse
import json
import re
import threading
import time
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

ORDER = re.compile(r"\b(lead \d+ \d+|work \d+|run <<.*>>|use \w+ \w+ <<.*>>)")
OUTPUT = 50
TOLD = ("instructions", "input", "tools", "text")


class Service(ThreadingHTTPServer):
    """Counts what it bills."""

    daemon_threads = True

    def __init__(self, delay_s: float) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.delay_s = delay_s
        self.lock = threading.Lock()
        self.calls: list[dict[str, Any]] = []
        self.counts = 0
        self.uncapped = 0

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Clients hang up in the middle: that is what limits make them do."""


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: Service

    def do_GET(self) -> None:
        with self.server.lock:
            told = {
                "calls": self.server.calls,
                "tokens": sum(call["tokens"] for call in self.server.calls),
                "counts": self.server.counts,
                "uncapped": self.server.uncapped,
            }
        self.send(200, told if self.path == "/bill" else {"data": [], "models": []})

    def do_POST(self) -> None:
        asked = json.loads(self.rfile.read(int(self.headers["content-length"])))
        inputs = -(-len(json.dumps({k: asked[k] for k in TOLD if k in asked})) // 4)
        if self.path.endswith("/input_tokens"):
            with self.server.lock:
                self.server.counts += 1
            self.send(200, {"object": "response.input_tokens", "input_tokens": inputs})
            return
        time.sleep(self.server.delay_s)
        cap = asked.get("max_output_tokens")
        outputs = OUTPUT if cap is None else min(OUTPUT, cap)
        call = {
            "tokens": inputs + outputs,
            "thread": self.headers.get("thread-id", ""),
            "bytes": int(self.headers["content-length"]),
            "tools": [*named(asked.get("tools", []))],
            "results": [item["output"] for item in asked["input"] if "output" in item],
        }
        with self.server.lock:
            self.server.calls.append(call)
            self.server.uncapped += cap is None
        self.stream(answer(asked["input"]), inputs, outputs)

    def send(self, status: int, told: object) -> None:
        data = json.dumps(told).encode()
        self.send_response(status)
        self.send_header("content-type", "application/json")
        self.send_header("content-length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)

    def stream(self, items: list[dict[str, Any]], inputs: int, outputs: int) -> None:
        usage = {
            "input_tokens": inputs,
            "input_tokens_details": {"cached_tokens": 0},
            "output_tokens": outputs,
            "output_tokens_details": {"reasoning_tokens": 0},
            "total_tokens": inputs + outputs,
        }
        whole = {"id": "resp", "status": "completed", "output": items, "usage": usage}
        events: list[dict[str, Any]] = [{"type": "response.created", "response": {"id": "resp"}}]
        for index, item in enumerate(items):
            place = {"output_index": index, "item": item}
            events.append({"type": "response.output_item.added", **place})
            events.append({"type": "response.output_item.done", **place})
        events.append({"type": "response.completed", "response": whole})
        text = "".join(f"event: {e['type']}\ndata: {json.dumps(e)}\n\n" for e in events).encode()
        self.send_response(200)
        self.send_header("content-type", "text/event-stream")
        self.send_header("content-length", str(len(text)))
        self.end_headers()
        self.wfile.write(text)

    def log_message(self, *args: object) -> None:
        pass


def answer(items: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """What the model does next: it counts the results since it was told what to do."""
    order, results = "", []
    for item in items:
        if item.get("role") == "user" and (found := ORDER.search(text_of(item))):
            order, results = found[1], []
        elif item.get("type") == "function_call_output":
            results.append(item)
    words = order.split()
    if words[:1] == ["run"] and not results:
        script = order.removeprefix("run <<").removesuffix(">>")
        return [call("r0", "exec_command", {"cmd": script, "login": False})]
    if words[:1] == ["use"] and not results:
        told = order.split("<<", 1)[1].removesuffix(">>")
        return [call("u0", words[2], json.loads(told), words[1])]
    if words[:1] == ["lead"]:
        return leads(int(words[1]), words[2], results)
    if words[:1] == ["work"] and len(results) < int(words[1]):
        return [call(f"w{len(results)}", "exec_command", {"cmd": "true", "login": False})]
    return [message("done")]


def named(tools: list[dict[str, Any]], group: str = "") -> Iterator[str]:
    """The names of tools as they were told, those of a group after its name and a slash."""
    for tool in tools:
        name = f"{group}{tool.get('name', tool['type'])}"
        if tool["type"] == "namespace":
            yield from named(tool["tools"], f"{name}/")
        else:
            yield name


def text_of(item: dict[str, Any]) -> str:
    content = item.get("content")
    if isinstance(content, str):
        return content
    return " ".join(str(part.get("text")) for part in content or () if isinstance(part, dict))


def leads(agents: int, steps: str, results: list[dict[str, Any]]) -> list[dict[str, Any]]:
    if not results:
        told = {"message": f"work {steps}"}
        return [
            call(f"s{number}", "spawn_agent", told, "multi_agent_v1") for number in range(agents)
        ]
    started = [found for item in results if (found := agent_id(item))]
    waited = sum("timed_out" in json.dumps(item.get("output")) for item in results)
    if started and waited < 20 and (not waited or timed_out(results[-1])):
        told = {"targets": started, "timeout_ms": 60_000}
        return [call(f"t{len(results)}", "wait_agent", told, "multi_agent_v1")]
    return [message("all done")]


def agent_id(item: dict[str, Any]) -> str:
    found = re.search(r'agent_id\\*":\s*\\*"([0-9a-f-]+)', json.dumps(item.get("output")))
    return found[1] if found else ""


def timed_out(item: dict[str, Any]) -> bool:
    return re.search(r'timed_out\\*":\s*true', json.dumps(item.get("output"))) is not None


def call(number: str, name: str, arguments: dict[str, Any], namespace: str = "") -> dict[str, Any]:
    made = {
        "type": "function_call",
        "id": f"fc_{number}",
        "call_id": f"call_{number}",
        "name": name,
        "arguments": json.dumps(arguments),
    }
    return {**made, "namespace": namespace} if namespace else made


def message(text: str) -> dict[str, Any]:
    content = [{"type": "output_text", "text": text}]
    return {"type": "message", "id": "msg", "role": "assistant", "content": content}


def main() -> None:
    flags = argparse.ArgumentParser()
    flags.add_argument("--delay", type=float, default=0.2)
    server = Service(flags.parse_args().delay)
    print(server.server_port, flush=True)
    server.serve_forever()


if __name__ == "__main__":
    main()
