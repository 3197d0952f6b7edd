"""Runs of the installed program whose spans a service of OpenTelemetry receives as they end."""

import json
import os
import shutil
import socket
import subprocess
import sys
import threading
import time
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
from warm_programs import Warm

ROOT = Path(__file__).resolve().parent.parent
SASHIZU = str(Path(sys.executable).with_name("sashizu"))
ENOUGH_S = 240


def run(warm: Warm, tmp_path: Path, endpoint: str, protocol: str) -> str:
    """One run of the offline model that sends its spans there; returns what it said beside."""
    home, project = tmp_path / "home", tmp_path / "project"
    config = home / "config" / "sashizu"
    for folder in (home, project, config):
        folder.mkdir(parents=True)
    told = f'[audit.otel]\nendpoint = "{endpoint}"\nprotocol = "{protocol}"\n'
    (config / "sashizu.toml").write_text(told)
    (project / "shop.py").write_text("def pay(cents=[]):\n    cents.append(1)\n")
    env = {
        **{name: text for name, text in os.environ.items() if not name.startswith("SASHIZU_")},
        "HOME": str(home),
        "XDG_CONFIG_HOME": str(home / "config"),
        "SASHIZU_HOME": str(home / "state"),
    }
    words = [SASHIZU, "delegate", "code-reviewer", "--scope", "shop.py"]
    done = warm.run(
        words, cwd=project, env=env, capture_output=True, text=True, check=False, timeout=ENOUGH_S
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert "shop.py:" in done.stdout
    return done.stderr


@contextmanager
def receiver() -> Iterator[tuple[str, list[Any]]]:
    found: list[Any] = []

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["Content-Length"]))
            found.extend(json.loads(body)["resourceSpans"])
            self.send_response(200)
            self.end_headers()
            self.wfile.write(b"{}")

        def log_message(self, *args: object) -> None:
            """Say nothing."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}", found
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


def test_a_run_of_the_program_arrives_whole(tmp_path: Path, warm: Warm) -> None:
    with receiver() as (url, found):
        said = run(warm, tmp_path, url, "http/json")
    assert "were not sent" not in said
    spans = [s for one in found for scope in one["scopeSpans"] for s in scope["spans"]]
    names = {span["spanId"]: span["name"] for span in spans}
    assert len({span["traceId"] for span in spans}) == 1
    beneath = {(s["name"].split(" ")[0], names.get(s.get("parentSpanId", ""))) for s in spans}
    agent = "invoke_agent code-reviewer"
    assert {("invoke_workflow", None), ("invoke_agent", "invoke_workflow")} <= beneath
    assert {("chat", agent), ("execute_tool", agent)} <= beneath


def test_a_service_that_is_not_there_fails_no_run(tmp_path: Path, warm: Warm) -> None:
    said = run(warm, tmp_path, "http://127.0.0.1:1", "http/json")
    assert "spans were not sent to http://127.0.0.1:1" in said


# --- a real one -----------------------------------------------------------------------------------


def free_port() -> int:
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        return int(found.getsockname()[1])


def asked(url: str) -> Any:
    with urllib.request.urlopen(url, timeout=30) as answer:
        return json.loads(answer.read())


@contextmanager
def phoenix(folder: Path) -> Iterator[str]:
    """Arize's Phoenix in an environment of its own, on a port of its own."""
    uv = os.environ.get("UV") or shutil.which("uv") or str(ROOT / ".uv" / "bin" / "uv")
    env = {name: text for name, text in os.environ.items() if name != "VIRTUAL_ENV"}
    python = folder / "bin" / "python"
    subprocess.run([uv, "venv", "-q", "--python", sys.executable, str(folder)], env=env, check=True)
    words = [uv, "pip", "install", "-q", "--python", str(python), "arize-phoenix"]
    subprocess.run(words, env=env, check=True)
    port = free_port()
    env |= {
        "PHOENIX_PORT": str(port),
        "PHOENIX_GRPC_PORT": str(free_port()),
        "PHOENIX_HOST": "127.0.0.1",
        "PHOENIX_WORKING_DIR": str(folder),
        "PHOENIX_TELEMETRY_ENABLED": "false",
    }
    with (folder / "log").open("wb") as log:
        server = subprocess.Popen(
            [str(python), "-m", "phoenix.server.main", "serve"], env=env, stdout=log, stderr=log
        )
    url = f"http://127.0.0.1:{port}"
    try:
        wait_for(f"{url}/v1/projects", server, folder / "log")
        yield url
    finally:
        server.terminate()
        server.wait()


def wait_for(url: str, server: subprocess.Popen[bytes], log: Path) -> None:
    end = time.monotonic() + ENOUGH_S
    while time.monotonic() < end:
        assert server.poll() is None, log.read_text("utf-8", "replace")[-2000:]
        try:
            asked(url)
        except OSError:
            time.sleep(0.5)
        else:
            return
    raise AssertionError(log.read_text("utf-8", "replace")[-2000:])


@pytest.mark.network
def test_phoenix_shows_a_run_as_one_tree(tmp_path: Path, warm: Warm) -> None:
    with phoenix(tmp_path / "phoenix") as url:
        assert "were not sent" not in run(warm, tmp_path, url, "http/protobuf")
        end = time.monotonic() + ENOUGH_S
        spans: list[Any] = []
        while time.monotonic() < end and not any(s["name"] == "invoke_workflow" for s in spans):
            spans = asked(f"{url}/v1/projects/default/spans?limit=1000")["data"]
    names = {span["context"]["span_id"]: span["name"] for span in spans}
    assert len({span["context"]["trace_id"] for span in spans}) == 1
    beneath = {(s["name"].split(" ")[0], names.get(s["parent_id"])) for s in spans}
    agent = "invoke_agent code-reviewer"
    assert {("invoke_workflow", None), ("invoke_agent", "invoke_workflow")} <= beneath
    assert {("chat", agent), ("execute_tool", agent)} <= beneath
    (call, *_) = [span for span in spans if span["name"].startswith("chat")]
    assert call["attributes"]["gen_ai.operation.name"] == "chat"
    assert int(call["attributes"]["gen_ai.usage.input_tokens"]) >= 0
