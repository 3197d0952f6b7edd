"""Questions of agents: at a terminal, over the control socket, from a file, or nobody's."""

from __future__ import annotations

import io
import os
import threading
from contextlib import asynccontextmanager, contextmanager

import anyio
import pytest
from rich.console import Console
from sashizu_cli import keyboard
from sashizu_cli.approving import TerminalApprover, approver_for, show_question
from sashizu_cli.execution import RunRequest, execute
from sashizu_cli.live import Display, LiveDisplay, PlainLines
from sashizu_cli.plain import visible
from sashizu_cli.view import RunView
from sashizu_core.approval_file import WrittenApprovals
from sashizu_core.approvals import AnsweredElsewhere, described
from sashizu_core.builtin.tools import file_tools
from sashizu_core.control import list_runs
from sashizu_core.errors import ConfigError
from sashizu_core.events import Event
from sashizu_core.grants import ExecRequest, PathRequest, ToolRequest
from sashizu_core.protocols import Question
from sashizu_core.specs import PolicySpec
from sashizu_core.testing.fakes import call
from sashizu_core.types import Decision, Task

READER = "name: reader\ngoal: Read.\ntools: {mcp: [read_file], fs: {read: true}}\n"


def question(*requests, number="1"):
    found = requests or (PathRequest("a.txt", "read"),)
    return Question(number, "id", "reader", "read_file", found, found, "a rule says ask")


class Paused(Display):
    """A display that knows how often it was paused, and whether it is."""

    def __init__(self):
        super().__init__(RunView(lambda: 0.0, expected=1))
        self.times, self.now = 0, False

    @contextmanager
    def paused(self):
        assert not self.now
        self.times, self.now = self.times + 1, True
        try:
            yield
        finally:
            self.now = False


class Person:
    """Types lines; each waits until `may` is set."""

    def __init__(self, *lines):
        self.lines = list(lines)
        self.forgot = 0
        self.may = None

    async def wait_for_line(self):
        if self.may is not None:
            await self.may.wait()
        return self.lines.pop(0)

    def forget_typed(self):
        self.forgot += 1


@pytest.fixture
def person(monkeypatch):
    def sit_down(*lines):
        found = Person(*lines)
        monkeypatch.setattr(keyboard, "somebody_there", lambda: True)
        monkeypatch.setattr(keyboard, "forget_typed", found.forget_typed)
        monkeypatch.setattr(keyboard, "wait_for_line", found.wait_for_line)
        return found

    return sit_down


# --- the prompt -----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("typed", "answer"),
    [("y", "once"), ("YES", "once"), ("r", "run"), ("n", "deny"), ("", "deny"), ("No", "deny")],
)
async def test_a_key_answers_and_the_display_waits_meanwhile(person, capsys, typed, answer):
    somebody, display = person(typed), Paused()
    approval = await TerminalApprover(display).ask(question())
    assert (approval.answer, approval.by) == (answer, "terminal")
    assert (display.times, display.now, somebody.forgot) == (1, False, 1)
    err = capsys.readouterr().err
    assert "read     a.txt" in err
    assert "why      a rule says ask" in err
    assert "[y/r/N]" in err


async def test_what_is_no_answer_is_asked_again(person, capsys):
    person("always", "for ever", "r")
    assert (await TerminalApprover(Paused()).ask(question())).answer == "run"
    assert capsys.readouterr().err.count("[y/r/N]") == 3


async def test_where_nobody_sits_nothing_is_read(monkeypatch):
    monkeypatch.setattr(keyboard, "somebody_there", lambda: False)
    approval = await TerminalApprover(Paused()).ask(question())
    assert (approval.answer, approval.reason, approval.by) == ("deny", "nobody to ask", "")


async def test_two_questions_come_one_after_the_other(person, capsys):
    person("y", "n")
    approver = TerminalApprover(Paused())
    async with anyio.create_task_group() as group:
        tasks = [group.create_task(approver.ask(question(number=n))) for n in ("1", "2")]
    assert sorted(task.return_value.answer for task in tasks) == ["deny", "once"]
    first, second = capsys.readouterr().err.split("[y/r/N]")[:2]
    assert (first.count("question"), second.count("question")) == (1, 1)


async def test_a_question_that_is_answered_elsewhere_gives_the_terminal_back(person, capsys):
    somebody, display = person(), Paused()
    somebody.may = anyio.Event()
    async with anyio.create_task_group() as group:
        group.start_soon(TerminalApprover(display).ask, question())
        while not display.now:
            await anyio.lowlevel.checkpoint()
        group.cancel_scope.cancel()
    assert not display.now
    assert "not needed any more" in capsys.readouterr().err


def test_everything_that_could_hide_something_is_shown(capsys):
    evil = ExecRequest(("rm", "-rf\x1b[2K\r", "x\n  held by  the sandbox", "\u202e"), "/bin/rm")
    show_question("1", described(question(evil)))
    err = capsys.readouterr().err
    lines = err.splitlines()
    assert not {"\x1b", "\r", "\u202e"} & set(err)
    assert sum(line.strip().startswith("held by") for line in lines) == 1
    assert r"\x1b[2K\x0d" in err
    assert r"x\n  held by" in err


@pytest.mark.parametrize(
    ("text", "shown"),
    [("a\tb\nc", r"a\tb\nc"), ("a  b", "a  b"), ("\r\n", r"\x0d\n"), ("\x1b", r"\x1b")],
)
def test_nothing_is_lost_of_a_text_that_is_made_visible(text, shown):
    assert visible(text) == shown


# --- the keyboard ---------------------------------------------------------------------------------


@pytest.fixture
def terminal(monkeypatch):
    """A pseudo terminal as stdin: what is written to its leader is typed."""
    pty = pytest.importorskip("pty")
    leader, follower = pty.openpty()
    with os.fdopen(follower, "r") as stdin:
        monkeypatch.setattr("sys.stdin", stdin)
        yield leader
    os.close(leader)


async def test_a_line_is_read_when_it_is_typed(terminal):
    async with anyio.create_task_group() as group:
        line = group.create_task(keyboard.wait_for_line())
        await anyio.lowlevel.checkpoint()
        os.write(terminal, b"run\nnext\n")
    assert line.return_value == "run"
    assert await keyboard.wait_for_line() == "next"


async def test_waiting_for_a_line_ends_when_it_is_cancelled_and_reads_nothing(terminal):
    with anyio.move_on_after(0.01) as scope:
        await keyboard.wait_for_line()
    assert scope.cancelled_caught
    os.write(terminal, b"later\n")
    assert await keyboard.wait_for_line() == "later"


async def test_what_was_typed_before_the_question_answers_nothing(terminal):
    os.write(terminal, b"y\n")
    await anyio.wait_readable(terminal)  # the echo: the line has arrived
    keyboard.forget_typed()
    with anyio.move_on_after(0.01) as scope:
        await keyboard.wait_for_line()
    assert scope.cancelled_caught


def test_nobody_is_there_without_a_terminal(monkeypatch):
    monkeypatch.setattr("sys.stdin", io.StringIO())
    assert not keyboard.somebody_there()
    monkeypatch.setattr("sys.stdin", None)
    assert not keyboard.somebody_there()


def test_nobody_is_there_at_a_terminal_that_is_not_ours(terminal, monkeypatch):
    monkeypatch.setattr("sys.stderr", os.sys.stdin)
    assert not keyboard.somebody_there()


# --- the live display -----------------------------------------------------------------------------


async def test_a_live_display_leaves_the_terminal_and_comes_back():
    stream = io.StringIO()
    console = Console(file=stream, force_terminal=True, width=60, height=5)
    display = LiveDisplay(RunView(lambda: 0.0, expected=1), console)
    with display.shown():
        with display.paused():
            before = stream.getvalue()
            assert "\x1b[?25h" in before  # the cursor is there again
            async with anyio.create_task_group() as group:
                group.start_soon(display.keep_fresh)
                await anyio.lowlevel.checkpoint()
                assert stream.getvalue() == before
                group.cancel_scope.cancel()
        assert "\x1b[?25l" in stream.getvalue()[len(before) :]
    shown = stream.getvalue()
    with display.paused():  # a run that is over does not begin to draw again
        pass
    assert stream.getvalue() == shown


async def test_plain_lines_wait_until_the_terminal_is_free(capsys):
    display = PlainLines(RunView(lambda: 0.0, expected=1))
    with display.paused():
        display.write([Event("agent.started", {"agent_id": "id", "agent_name": "reader"})])
        assert capsys.readouterr().err == ""
    assert "reader: started" in capsys.readouterr().err


# --- who is asked ---------------------------------------------------------------------------------


def test_on_a_terminal_a_person_is_asked_elsewhere_nobody(person, monkeypatch):
    monkeypatch.setattr(keyboard, "somebody_there", lambda: False)
    assert approver_for(None, Paused(), "run") is None
    assert isinstance(approver_for("ask", Paused(), "run"), AnsweredElsewhere)
    person()
    assert isinstance(approver_for(None, Paused(), "run"), TerminalApprover)
    assert approver_for("never", Paused(), "run") is None


def test_a_file_answers_if_it_lies_outside_the_repository(world, tmp_path):
    text = '[[rules]]\nverdict = "allow"\ntouches = "read"\npattern = "src"\n'
    for file in (tmp_path / "own.toml", world.folder / "theirs.toml"):
        file.write_text(text)
        file.chmod(0o600)
    assert isinstance(approver_for(str(tmp_path / "own.toml"), Paused(), "run"), WrittenApprovals)
    with pytest.raises(ConfigError, match="lies in the repository"):
        approver_for("theirs.toml", Paused(), "run")


# --- whole runs -----------------------------------------------------------------------------------


class Asks:
    def check(self, request, subject):
        return None if isinstance(request, ToolRequest) else Decision("ask", "a rule says ask")


@asynccontextmanager
async def asking():
    yield Asks()


@pytest.fixture
def session(world):
    """A run whose agent reads the same file twice, and has to ask."""
    (world.folder / "agents/reader.yaml").write_text(READER)
    (world.folder / "a.txt").write_text("hello")
    reads = [[call("read_file", path="a.txt")] for _ in range(2)]
    found = world.session(*reads, "Done.")
    found.registry.tools.update({spec.name: spec for spec in file_tools()})
    found.registry.policies["asks"] = PolicySpec("asks", "", asking)
    return found


def decisions(world):
    return [
        (event["decision"], event["decided_by"], event.get("attrs", {}).get("source"))
        for event in world.sink.of("tool.decided")
    ]


def test_a_run_where_nobody_can_be_asked_denies(world, session):
    execute(RunRequest([Task("reader")]), session)
    assert decisions(world) == [("deny", "default", None)] * 2


def test_an_answer_for_the_run_is_asked_for_once(world, session, person):
    somebody = person("r")
    assert execute(RunRequest([Task("reader")]), session) == 0
    assert decisions(world) == [
        ("allow", "user", "approver: terminal"),
        ("allow", "user", "run: terminal"),
    ]
    assert somebody.lines == []


def test_never_asks_not_even_a_person(world, session, person):
    somebody = person("y", "y")
    execute(RunRequest([Task("reader")], approve="never"), session)
    assert [decision for decision, *_ in decisions(world)] == ["deny", "deny"]
    assert len(somebody.lines) == 2


def test_a_file_answers_for_a_run(world, session, tmp_path):
    file = tmp_path / "own.toml"
    file.write_text('[[rules]]\nverdict = "allow"\ntouches = "read"\npattern = "a.txt"\n')
    file.chmod(0o600)
    execute(RunRequest([Task("reader")], approve=str(file)), session)
    assert [source for *_, source in decisions(world)] == ["approver: own.toml", "run: own.toml"]


def test_a_file_that_may_not_answer_ends_with_2_before_anything_runs(world, session):
    (world.folder / "mine.toml").write_text("")
    with pytest.raises(ConfigError) as caught:
        execute(RunRequest([Task("reader")], approve="mine.toml"), session)
    assert caught.value.exit_code == 2
    assert world.sink.events == []


@pytest.mark.skipif(os.name == "nt", reason="runs are reached over Unix sockets")
def test_another_terminal_sees_the_question_and_answers_it(world, session, cli, monkeypatch):
    monkeypatch.setattr(keyboard, "somebody_there", lambda: False)
    answered = []
    asked = threading.Event()
    keep = world.sink.write

    def answer():
        asked.wait(20)
        lists = (cli("runs", "approve", "last", "--list")[1] for _ in range(1000))
        answered.append(next(shown for shown in lists if shown))
        answered.append(cli("runs", "approve", "last", "1", "--run")[0])

    def keep_and_tell(events):
        keep(events)
        if any(event.kind == "model.answered" for event in events):
            asked.set()

    world.sink.write = keep_and_tell
    other = threading.Thread(target=answer)
    other.start()
    code = execute(RunRequest([Task("reader")], approve="ask"), session)
    other.join()
    assert code == 0
    assert "question 1" in answered[0]
    assert "read       a.txt" in answered[0]
    assert answered[1] == 0
    assert decisions(world)[0] == ("allow", "user", "approver: control socket")


@pytest.mark.parametrize(
    "words",
    [
        ("last", "--list", "--once"),
        ("last", "1"),
        ("last", "--once"),
        ("last", "1", "--once", "--deny"),
        ("last", "1", "--list"),
    ],
)
def test_an_answer_has_to_be_one(cli, words):
    assert cli("runs", "approve", *words)[0] == 2


def test_a_question_that_does_not_wait_is_told(world, session, cli):
    execute(RunRequest([Task("reader")]), session)
    assert list_runs()[0].status in ("ok", "error")
    code, _, err = cli("runs", "approve", "last", "1", "--once")
    assert (code, "does not wait" in err) == (1, True)
    assert "nothing waits" in cli("runs", "approve", "last", "--list")[2]
