"""`sashizu-budget` alone, around the client of somebody else: the program of the manual."""

import json
import os
import re
import shutil
import subprocess
import sys
import threading
from collections.abc import Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).resolve().parent.parent
PAGE = ROOT / "docs/how-to/bound-your-own-client.md"
pytestmark = pytest.mark.network


def run(*words: str | Path, env: dict[str, str] | None = None) -> str:
    ran = subprocess.run(
        words, cwd=ROOT, env=env, capture_output=True, text=True, timeout=600, check=False
    )
    assert ran.returncode == 0, f"{words}:\n{ran.stdout[-3000:]}\n{ran.stderr[-3000:]}"
    return ran.stdout


@pytest.fixture(scope="module")
def python(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An environment with the ledger, what it needs, and OpenAI's library; nothing else of ours."""
    uv = os.environ.get("UV") or shutil.which("uv") or str(ROOT / ".uv" / "bin" / "uv")
    place = tmp_path_factory.mktemp("alone")
    for member in ("core", "budget"):
        run(uv, "build", "-q", "--wheel", "--package", f"sashizu-{member}", "-o", place / "dist")
    run(uv, "venv", "-q", "--python", sys.executable, place / "venv")
    wheels = sorted((place / "dist").glob("*.whl"))
    run(uv, "pip", "install", "-q", "--python", place / "venv/bin/python", "openai", *wheels)
    return place / "venv/bin/python"


@dataclass
class Service:
    """What bills `usage` for every call; `caps` are those of the calls that were made."""

    usage: dict[str, Any] | None
    caps: list[object] = field(default_factory=list)
    url: str = ""

    def answer(self, asked: dict[str, Any]) -> dict[str, Any]:
        self.caps.append(asked.get("max_output_tokens"))
        text = {"type": "output_text", "text": "a number", "annotations": []}
        said = {"type": "message", "id": "m", "role": "assistant", "status": "completed"}
        found = {
            "id": "r",
            "object": "response",
            "created_at": 1,
            "status": "completed",
            "model": asked["model"],
            "output": [{**said, "content": [text]}],
            "parallel_tool_calls": True,
            "tool_choice": "auto",
            "tools": [],
        }
        return {**found, "usage": self.usage} if self.usage is not None else found


@pytest.fixture
def served(request: pytest.FixtureRequest) -> Iterator[Service]:
    service: Service = request.param

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            asked = json.loads(self.rfile.read(int(self.headers["content-length"])))
            body = json.dumps(service.answer(asked)).encode()
            self.send_response(200)
            self.send_header("content-type", "application/json")
            self.send_header("content-length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *args: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    service.url = f"http://127.0.0.1:{server.server_port}/v1"
    yield service
    server.shutdown()
    server.server_close()


def billed(inputs: int, outputs: int) -> dict[str, Any]:
    return {
        "input_tokens": inputs,
        "input_tokens_details": {"cached_tokens": 0},
        "output_tokens": outputs,
        "output_tokens_details": {"reasoning_tokens": 0},
        "total_tokens": inputs + outputs,
    }


def fenced(language: str) -> str:
    """The one block of the page that is in a language."""
    text = PAGE.read_text("utf-8")
    [found] = re.findall(rf"^```{language}\n(.*?)^```$", text, re.DOTALL | re.MULTILINE)
    return str(found)


def printed(python: Path, served: Service, home: Path) -> str:
    env = {
        "PATH": os.environ["PATH"],
        "HOME": str(home),
        "SASHIZU_HOME": str(home / "state"),
        "OPENAI_BASE_URL": served.url,
        "OPENAI_API_KEY": "x",
    }
    return run(python, "-P", "-c", fenced("python"), env=env)


@pytest.mark.parametrize("served", [Service(billed(900, 200))], indirect=True)
def test_the_program_prints_what_the_page_says(python, served, tmp_path):
    assert printed(python, served, tmp_path) == fenced("text")
    assert served.caps == [500] * 7


@pytest.mark.parametrize("served", [Service(None)], indirect=True)
def test_answers_without_usage_are_charged_at_their_holds(python, served, tmp_path):
    told = printed(python, served, tmp_path)

    assert "5 answered, 7 refused" in told
    assert "spent 7,740 of 9,000 tokens" in told
    assert len(served.caps) == 5


@pytest.mark.parametrize("served", [Service(billed(50_000, 500))], indirect=True)
def test_after_a_bill_above_its_hold_only_what_was_in_flight_is_answered(python, served, tmp_path):
    told = printed(python, served, tmp_path)

    assert "it is closed: it ended, or a bill exceeded its hold" in told
    assert 1 <= len(served.caps) <= 5
    assert f"spent {len(served.caps) * 50_500:,} of 9,000 tokens" in told
