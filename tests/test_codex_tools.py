"""The real Codex with `sashizu mcp-server` among its tools, as optional as it is by default."""

import json
import os
import subprocess
import sys
import tempfile
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

pytestmark = pytest.mark.codex

SCRIPT = Path(sys.executable).with_name("sashizu")
SERVICE = Path(__file__).resolve().parents[1] / "benchmarks" / "codex_service.py"
CONFIG = """
model = "gpt-5.1-codex"
model_provider = "local"
[model_providers.local]
name = "local"
base_url = "{url}/v1"
wire_api = "responses"
[mcp_servers.sashizu]
command = "{script}"
args = ["mcp-server", "--model=offline"]
env = {{SASHIZU_HOME = "{home}/state"}}
"""
OURS = {
    f"mcp__sashizu/{name}"
    for name in ("delegate", "delegate_parallel", "supervise", "run_result", "read_file", "grep")
}


class Codex:
    """Codex with a home of its own, and a service that tells what its model was offered."""

    def __init__(self, home: Path, program: Path, url: str) -> None:
        self.home = home
        self.program = program
        self.url = url

    def run(self, order: str, folder: str = "work") -> list[Any]:
        """What Codex told while its model did as it was ordered."""
        work = self.home / folder
        work.mkdir(exist_ok=True)
        (work / "a.py").write_text("import os\n\nprint(eval(input()))\n")
        words = [str(self.program), "exec", "--json", "--skip-git-repo-check", "--ephemeral"]
        ran = subprocess.run(
            [*words, order],
            cwd=work,
            env={
                "PATH": os.environ["PATH"],
                "HOME": str(self.home),
                "CODEX_HOME": str(self.home / "codex"),
            },
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=120,
            check=False,
        )
        assert ran.returncode == 0, ran.stderr
        return [json.loads(line) for line in ran.stdout.splitlines()]

    @property
    def requests(self) -> list[Any]:
        """What the model was asked, one entry a request."""
        with urllib.request.urlopen(f"{self.url}/bill") as answer:
            return json.load(answer)["calls"]

    def called(self, tool: str, **arguments: Any) -> Any:
        """What Codex says of one call of a tool of ours."""
        told = self.run(f"use mcp__sashizu {tool} <<{json.dumps(arguments)}>>")
        items = [event["item"] for event in told if event["type"] == "item.completed"]
        (call,) = [item for item in items if item["type"] == "mcp_tool_call"]
        assert (call["server"], call["tool"]) == ("sashizu", tool)
        return call


@pytest.fixture
def lab(codex: Path) -> Iterator[Codex]:
    # Codex keeps nothing below the folder for temporary files.
    with tempfile.TemporaryDirectory(dir=Path.home()) as folder:
        Path(folder, "codex").mkdir()
        command = [sys.executable, str(SERVICE), "--delay", "0.05"]
        with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
            assert process.stdout is not None
            try:
                url = f"http://127.0.0.1:{process.stdout.readline().strip()}"
                config = CONFIG.format(url=url, script=SCRIPT, home=folder)
                Path(folder, "codex", "config.toml").write_text(config)
                yield Codex(Path(folder), codex, url)
            finally:
                process.terminate()


def test_codex_offers_our_tools_in_its_first_turn_wherever_it_starts(lab):
    lab.run("hello")  # the first start of all makes the answers; a busy machine may be too late
    for folder in ("work", "another", "a third"):
        lab.run("hello", folder)

    offered = [set(request["tools"]) for request in lab.requests]
    assert len(offered) == 4
    assert all(tools >= OURS for tools in offered[1:])


def test_a_call_of_codexs_model_reads_a_file_through_our_server(lab):
    lab.run("hello")

    call = lab.called("read_file", path="a.py")

    assert call["status"] == "completed", call
    assert "print(eval(input()))" in call["result"]["structured_content"]["text"]
    (told,) = lab.requests[-1]["results"]
    assert "print(eval(input()))" in told


def test_a_call_of_codexs_model_has_our_agents_work(lab):
    lab.run("hello")

    call = lab.called("delegate", agent="sec-audit", goal="Look for danger", scope=["a.py"])

    assert call["status"] == "completed", call
    (result,) = call["result"]["structured_content"]["results"]
    assert result["status"] == "ok"
    assert "a.py:3" in result["answer"]
    (told,) = lab.requests[-1]["results"]
    assert "a.py:3" in told


def test_what_codexs_model_must_not_have_comes_back_as_an_error(lab):
    lab.run("hello")

    call = lab.called("read_file", path="../codex/config.toml")

    assert call["status"] == "failed", call
    told = json.dumps(lab.requests[-1]["results"])
    assert "lies outside the workspace" in told
    assert "base_url" not in told
