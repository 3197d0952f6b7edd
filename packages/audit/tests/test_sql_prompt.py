"""The prompt of `audit sql`, on a real terminal, the controlling one of a process of its own."""

from __future__ import annotations

import os
import re
import select
import struct
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
from sashizu_audit import AuditStore, AuditWriter
from sashizu_audit.spool import WriterOptions
from sashizu_core.events import Event
from sashizu_core.ids import uuid7

fcntl = pytest.importorskip("fcntl")
termios = pytest.importorskip("termios")

PROGRAM = """
import fcntl, sys, termios
from typer.testing import CliRunner
fcntl.ioctl(0, termios.TIOCSCTTY, 0)
from sashizu_audit.cli import app
app(sys.argv[1:], standalone_mode=False)
print("left in good order")
"""
ENOUGH_S = 60
CODES = re.compile(r"\x1b\[[0-9;?]*[a-zA-Z]|\x1b[=>]|\r")
CTRL_C, CTRL_D, UP, TAB = "\x03", "\x04", "\x1b[A", "\t"
PROMPT = "sql>"
RUN = uuid7()


Start = Callable[..., "subprocess.Popen[bytes]"]


class Terminal:
    """Plays the person: waits for words to be shown, and types."""

    def __init__(self, start: Start, folder: Path, columns: int, *words: str) -> None:
        self._leader, follower = os.openpty()
        fcntl.ioctl(follower, termios.TIOCSWINSZ, struct.pack("HHHH", 40, columns, 0, 0))
        env = {**os.environ, "SASHIZU_HOME": str(folder / "home"), "TERM": "xterm-256color"}
        self._process = start(
            [sys.executable, "-c", PROGRAM, "sql", "--store", str(folder / "audit"), *words],
            env={name: value for name, value in env.items() if name not in ("COLUMNS", "LINES")},
            stdin=follower,
            stdout=follower,
            stderr=follower,
            start_new_session=True,
        )
        os.close(follower)
        self.seen = ""
        self._raw = ""
        self._shown = 0

    def until(self, words: str) -> str:
        """Wait until these are shown behind what was waited for before; returns what came."""
        while (place := self.seen.find(words, self._shown)) < 0:
            assert self._read(), f"{words!r} was not shown:\n{self.seen[self._shown :]}"
        came = self.seen[self._shown : place]
        self._shown = place + len(words)
        return came

    def until_signals_count(self) -> None:
        """Wait until the prompt has given the terminal back: from then on Ctrl-C is a signal."""
        while not termios.tcgetattr(self._leader)[3] & termios.ISIG:
            if select.select([self._leader], [], [], 0.02)[0]:
                self._read()

    def type(self, text: str) -> None:
        os.write(self._leader, text.encode())

    def ended(self) -> int:
        while self._read():
            pass
        return self._process.wait(ENOUGH_S)

    def close(self) -> None:
        self._process.kill()
        self._process.wait(ENOUGH_S)
        os.close(self._leader)

    def _read(self) -> bool:
        if not select.select([self._leader], [], [], ENOUGH_S)[0]:
            return False
        try:
            data = os.read(self._leader, 65536)
        except OSError:  # Linux says so when nobody has the terminal any more
            return False
        text = data.decode("utf-8", "replace")
        for _ in range(text.count("\x1b[6n")):  # it asks where its cursor is, as terminals tell
            self.type("\x1b[1;1R")
        self._raw += text
        self.seen = CODES.sub("", self._raw)
        return bool(data)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    with AuditWriter(tmp_path / "audit", options=WriterOptions(ballast_bytes=0)) as writer:
        writer.write([Event("run.started", {"run_id": RUN, "attrs": {"agents": ["a"]}})])
        answered = {"run_id": RUN, "agent_name": "reviewer", "tokens": 4711, "status": "ok"}
        writer.write([Event("model.answered", answered)])
    return tmp_path


@pytest.fixture
def terminal(folder: Path, warm: Any) -> Iterator[Terminal]:
    with closing(Terminal(warm.start, folder, 200)) as shown:
        shown.until(PROMPT)
        yield shown


def test_a_statement_over_several_lines_is_answered_at_its_semicolon(terminal: Terminal) -> None:
    terminal.type("select tokens\r")
    terminal.until("...>")
    terminal.type("from token_usage -- no ; yet\r")
    terminal.until("...>")
    terminal.type(";\r")
    terminal.until("4711")
    terminal.until("(1 row)")
    terminal.until(PROMPT)
    terminal.type(CTRL_D)
    assert terminal.ended() == 0
    assert "left in good order" in terminal.seen


def test_tab_completes_views_columns_and_commands(terminal: Terminal) -> None:
    terminal.type("select quantile_c" + TAB)
    terminal.until("ont")  # the rest of the word may be all that is drawn
    terminal.type("(tokens, 0.5) as middle from token_u" + TAB)
    terminal.until("sage")
    terminal.type(";\r")
    terminal.until("4711")
    terminal.until(PROMPT)
    terminal.type(r"\d agent_t" + TAB)
    terminal.until("ree")
    terminal.type("\r")
    terminal.until("root_id")
    terminal.until(PROMPT)
    terminal.type("\\q\r")
    assert terminal.ended() == 0


def test_ctrl_c_drops_the_statement_and_a_wrong_one_is_only_told(terminal: Terminal) -> None:
    terminal.type("select 'half of" + CTRL_C)
    terminal.until(PROMPT)
    terminal.type("select nothing from runs;\r")
    terminal.until("sashizu: error: the query failed")
    terminal.until(PROMPT)
    terminal.type("copy runs to '/tmp/x';\r")
    terminal.until("only SELECT is allowed")
    terminal.until(PROMPT)
    terminal.type("\\nonsense\r")
    terminal.until("there is no command")
    terminal.until(PROMPT)
    terminal.type("select 40 + 2 as it;\r")
    terminal.until("42")
    terminal.until(PROMPT)
    terminal.type(CTRL_D)
    assert terminal.ended() == 0


def test_ctrl_c_stops_a_query_that_runs_and_not_the_conversation(terminal: Terminal) -> None:
    terminal.type("select count(*) from range(1000000000000) a, range(1000000) b;\r")
    terminal.until_signals_count()
    terminal.type(CTRL_C)
    terminal.until(PROMPT)
    terminal.type("select 40 + 2 as it;\r")
    terminal.until("42")
    terminal.until(PROMPT)
    terminal.type(CTRL_D)
    assert terminal.ended() == 0
    assert "was stopped after" not in terminal.seen


def test_what_was_typed_comes_back_in_the_next_session_and_is_private(
    folder: Path, warm: Any
) -> None:
    with closing(Terminal(warm.start, folder, 200)) as first:
        first.until(PROMPT)
        first.type("select 'remember' || 'ed' as it;\r")
        first.until("remembered")
        first.until(PROMPT)
        first.type(" select 'kept ' || 'nowhere' as it;\r")
        first.until("kept nowhere")
        first.until(PROMPT)
        first.type(CTRL_D)
        assert first.ended() == 0
    with closing(Terminal(warm.start, folder, 200)) as second:
        second.until(PROMPT)
        second.type(UP + "\r")
        second.until("remembered")
        second.until(PROMPT)
        second.type(CTRL_D)
        assert second.ended() == 0
    history = folder / "home/sql_history"
    assert "nowhere" not in history.read_text()
    assert history.stat().st_mode & 0o777 == 0o600
    assert history.parent.stat().st_mode & 0o777 == 0o700


def test_a_narrow_terminal_shows_each_row_as_lines_and_json_when_asked(
    folder: Path, warm: Any
) -> None:
    with closing(Terminal(warm.start, folder, 34, "--format", "table")) as terminal:
        terminal.until(PROMPT)
        terminal.type("from runs;\r")
        came = terminal.until("(1 row)")
        assert "-- 1 ---" in came
        assert all(len(line) <= 34 for line in came.splitlines()[-6:])
        terminal.until(PROMPT)
        terminal.type("\\f json\r")
        terminal.until(PROMPT)
        terminal.type("select 1 as n;\r")
        terminal.until('"n": 1')
        terminal.until(PROMPT)
        terminal.type(CTRL_D)
        assert terminal.ended() == 0


def test_each_question_of_a_conversation_is_on_record(folder: Path, terminal: Terminal) -> None:
    for number in (1, 2):
        terminal.type(f"select {number} as it;\r")
        terminal.until("(1 row)")
        terminal.until(PROMPT)
    terminal.type(CTRL_D)
    assert terminal.ended() == 0
    asked = AuditStore(folder / "audit").query("FROM events WHERE kind = 'audit.queried'")
    assert len(asked.rows) == 2
