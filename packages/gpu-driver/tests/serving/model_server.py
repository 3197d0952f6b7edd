"""A server as llama.cpp's is, without a model: a process that takes its time, answers, and ends.

Usage: model_server.py PORT LOG [--oom-until N]. Every start is a line in LOG: which devices it may
see. With `--oom-until N`, the first N starts end as one ends that has no memory.
"""

import argparse
import json
import os
import subprocess
import sys
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def do_GET(self) -> None:
        if self.server.needs_key and "authorization" not in self.headers:
            self.send_error(401)
            return
        self.answer({"object": "list", "data": [{"id": "tiny"}]})

    def do_POST(self) -> None:
        self.rfile.read(int(self.headers["content-length"]))
        message = {"role": "assistant", "content": "I have looked at it."}
        self.answer(
            {
                "id": "c1",
                "model": "tiny",
                "choices": [{"index": 0, "message": message, "finish_reason": "stop"}],
                "usage": {"prompt_tokens": 9, "completion_tokens": 5, "total_tokens": 14},
            }
        )

    def answer(self, value: object) -> None:
        body = json.dumps(value).encode()
        self.send_response(200)
        self.send_header("content-type", "application/json")
        self.send_header("content-length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *args: object) -> None:
        pass


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("port", type=int)
    parser.add_argument("log", type=Path)
    parser.add_argument("--oom-until", type=int, default=0)
    parser.add_argument("--needs-key", action="store_true")
    parser.add_argument("--worker", action="store_true")
    given = parser.parse_args()
    with given.log.open("a") as log:
        seen = {"pid": os.getpid(), "cuda": os.environ.get("CUDA_VISIBLE_DEVICES")}
        if given.worker:
            worker = subprocess.Popen(
                [sys.executable, "-c", "import threading; threading.Event().wait()"]
            )
            seen["worker"] = worker.pid
        seen["folder"] = str(Path.cwd())
        log.write(json.dumps(seen) + "\n")
    if len(given.log.read_text().splitlines()) <= given.oom_until:
        sys.exit("ggml_cuda: cudaMalloc failed: out of memory")
    server = ThreadingHTTPServer(("127.0.0.1", given.port), Handler)
    server.needs_key = given.needs_key
    server.serve_forever()


main()
