"""The prompt on a real terminal, the controlling one of a process of its own."""

from __future__ import annotations

import os
import select
import subprocess
import sys

import pytest

termios = pytest.importorskip("termios")

PROGRAM = """
import fcntl, os, sys, termios
from contextlib import asynccontextmanager
from pathlib import Path
from sashizu_cli.execution import RunRequest, execute
from sashizu_cli.session import Session
from sashizu_core.builtin.tools import file_tools
from sashizu_core.grants import ToolRequest
from sashizu_core.plugins import Registry
from sashizu_core.settings import load_settings
from sashizu_core.specs import AgentSource, PolicySpec
from sashizu_core.testing.fakes import MemorySink, ScriptedModel, call, memory_sink, scripted_model
from sashizu_core.types import Decision, Task

fcntl.ioctl(0, termios.TIOCSCTTY, 0)

class Asks:
    def check(self, request, subject):
        return None if isinstance(request, ToolRequest) else Decision("ask", "a rule says ask")

@asynccontextmanager
async def asking():
    yield Asks()

here = Path.cwd()
session = Session()
session.settings = load_settings(
    here, overrides=["run.model=fake/scripted"], env={}, config=here / "config", plugin_names=()
)
model = ScriptedModel([[call("read_file", path="a.txt")]] * 2 + ["Done."])
session.registry = Registry(
    models={model.info.name: scripted_model(model)},
    sinks={"memory": memory_sink(MemorySink())},
    agents={"brought": AgentSource(".sashizu", "", here / ".sashizu/agents", "repository")},
    tools={spec.name: spec for spec in file_tools()},
    policies={"asks": PolicySpec("asks", "", asking)},
)
code = execute(RunRequest([Task("reader")]), session)
print("ended with", code)
sys.exit(code)
"""
AGENT = "name: reader\ngoal: Read.\ntools: {mcp: [read_file], fs: {read: true}}\n"
TRUST, ALLOW = "[y/N]", "[y/r/N]"
ENOUGH_S = 30


class Terminal:
    """Plays the person: waits for words to be shown, and types."""

    def __init__(self, folder) -> None:
        self._leader, follower = os.openpty()
        env = {**os.environ, "SASHIZU_HOME": str(folder / "home"), "TERM": "xterm-256color"}
        self._process = subprocess.Popen(
            [sys.executable, "-c", PROGRAM],
            cwd=folder,
            env=env,
            stdin=follower,
            stdout=follower,
            stderr=follower,
            start_new_session=True,
        )
        os.close(follower)
        self.seen = ""

    def until(self, words: str) -> None:
        start = len(self.seen)
        while words not in self.seen[start:]:
            assert self._read(), f"{words!r} was not shown:\n{self.seen}"

    def type(self, text: str) -> None:
        os.write(self._leader, text.encode())

    def ended(self) -> int:
        while self._read():
            pass
        os.close(self._leader)
        return self._process.wait(ENOUGH_S)

    def _read(self) -> bool:
        if not select.select([self._leader], [], [], ENOUGH_S)[0]:
            self._process.kill()
            return False
        try:
            data = os.read(self._leader, 65536)
        except OSError:  # Linux says so when nobody has the terminal any more
            return False
        self.seen += data.decode("utf-8", "replace")
        return bool(data)


@pytest.fixture
def terminal(tmp_path):
    file = tmp_path / ".sashizu/agents/reader.yaml"
    file.parent.mkdir(parents=True)
    file.write_text(AGENT)
    (tmp_path / "a.txt").write_text("hello")
    return Terminal(tmp_path)


def test_a_person_trusts_allows_once_and_for_the_run(terminal):
    terminal.until(TRUST)
    terminal.type("y\n")
    terminal.until(ALLOW)
    assert "read       a.txt" in terminal.seen
    terminal.type("y\n")
    terminal.until(ALLOW)
    terminal.type("r\n")
    assert terminal.ended() == 0
    assert "1 of 1 agents succeeded" in terminal.seen


def test_ctrl_c_at_the_question_cancels_the_run_with_its_report(terminal):
    terminal.until(TRUST)
    terminal.type("y\n")
    terminal.until(ALLOW)
    terminal.type("\x03")
    assert terminal.ended() == 130
    assert "reader: cancelled" in terminal.seen
    assert "not needed any more" in terminal.seen
    assert "ended with 130" in terminal.seen


def test_ctrl_c_at_the_question_of_trust_trusts_nothing(terminal, tmp_path):
    terminal.until(TRUST)
    terminal.type("\x03")
    assert terminal.ended() != 0
    assert "KeyboardInterrupt" in terminal.seen
    assert not (tmp_path / "home/trust").exists()
