"""What somebody answers to `ask`: once, for this run, or not at all."""

from __future__ import annotations

import json
import logging
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Literal, cast

import anyio
import pytest
from hypothesis import given
from hypothesis import strategies as st
from sashizu_core.approvals import (
    MOST_REFUSALS,
    AnsweredElsewhere,
    Approvals,
    described,
    enforcement,
    plain_question,
)
from sashizu_core.grants import (
    DeviceRequest,
    ExecRequest,
    McpRequest,
    NetRequest,
    PathRequest,
    PermissionRequest,
    SpawnRequest,
    Subject,
    ToolRequest,
)
from sashizu_core.protocols import Approval, Question
from sashizu_core.types import Decision

Answer = Literal["deny", "once", "run"]
ASK = Decision("ask", "agent asks to write 'a': 'ask write: a'", "ask write: a", "rule")
WRITE = PathRequest("a", "write")
CALL: tuple[PermissionRequest, ...] = (ToolRequest("write_file"), WRITE)


@dataclass
class Person:
    """Answers with what the test says; `may` holds answers back until it is set."""

    answers: list[Answer] = field(default_factory=list)
    heard: list[Question] = field(default_factory=list)
    may: anyio.Event | None = None

    async def ask(self, question: Question) -> Approval:
        self.heard.append(question)
        if self.may is not None:
            await self.may.wait()
        return Approval(self.answers.pop(0), by="terminal")


def subject(name: str = "agent", agent_id: str = "id") -> Subject:
    return Subject(agent_id, name, ())


async def decide(
    approvals: Approvals,
    call: tuple[PermissionRequest, ...] = CALL,
    who: Subject | None = None,
) -> Decision:
    return await approvals.decide("write_file", call, call[1:], who or subject(), ASK)


async def until(true: Callable[[], object]) -> None:
    with anyio.fail_after(5):
        while not true():
            await anyio.lowlevel.checkpoint()


async def test_once_is_for_one_call() -> None:
    person = Person(["once", "deny"])
    approvals = Approvals(person)
    first = await decide(approvals)
    second = await decide(approvals)
    assert (first.verdict, first.decided_by, first.source) == (
        "allow",
        "user",
        "approver: terminal",
    )
    assert first.rule == "ask write: a"
    assert (second.verdict, len(person.heard)) == ("deny", 2)


@pytest.mark.parametrize(("answer", "verdict"), [("run", "allow"), ("deny", "deny")])
async def test_an_answer_for_the_run_and_a_denial_hold_for_the_same_call(
    answer: Answer, verdict: str
) -> None:
    person = Person([answer])
    approvals = Approvals(person)
    decisions = [await decide(approvals, call) for call in (CALL, CALL)]
    assert [decision.verdict for decision in decisions] == [verdict, verdict]
    assert [decision.source for decision in decisions] == ["approver: terminal", "run: terminal"]
    assert len(person.heard) == 1


async def test_an_answer_for_the_run_is_for_that_agent_and_that_call_alone() -> None:
    person = Person(["run", "deny", "deny", "deny", "deny"])
    approvals = Approvals(person)
    assert (await decide(approvals)).allowed
    assert (await decide(approvals)).allowed
    assert not (await decide(approvals, CALL[::-1])).allowed  # order may mean something
    assert not (await decide(approvals, (CALL[0], PathRequest("b", "write")))).allowed
    assert not (await decide(approvals, who=subject(agent_id="another instance"))).allowed
    other = await approvals.decide("write_file", CALL, CALL[1:], subject(), ASK, arguments="{}")
    assert not other.allowed


async def test_nothing_is_remembered_beyond_the_run() -> None:
    person = Person(["run", "deny"])
    assert (await decide(Approvals(person))).allowed
    assert not (await decide(Approvals(person))).allowed


@pytest.mark.parametrize("answer", ["run", "deny"])
async def test_the_same_question_of_two_is_asked_once_and_answers_both(answer: Answer) -> None:
    person = Person([answer], may=anyio.Event())
    approvals = Approvals(person)
    async with anyio.create_task_group() as group:
        tasks = [group.create_task(decide(approvals)) for _ in range(3)]
        await until(lambda: person.heard)
        assert len(approvals.pending) == 1
        assert person.may is not None
        person.may.set()
    assert {task.return_value.verdict for task in tasks} == {"allow" if answer == "run" else "deny"}
    assert len(person.heard) == 1


async def test_once_allows_one_of_two_that_ask_the_same() -> None:
    person = Person(["once", "deny"])
    approvals = Approvals(person)
    async with anyio.create_task_group() as group:
        tasks = [group.create_task(decide(approvals)) for _ in range(2)]
    assert sorted(task.return_value.verdict for task in tasks) == ["allow", "deny"]
    assert len(person.heard) == 2


async def test_who_waits_for_another_asks_itself_when_that_one_is_cancelled() -> None:
    person = Person(["once"], may=anyio.Event())
    approvals = Approvals(person)
    assert person.may is not None
    found = []
    scope = anyio.CancelScope()

    async def first() -> None:
        with scope:
            found.append(await decide(approvals))

    async with anyio.create_task_group() as group:
        group.start_soon(first)
        await until(lambda: person.heard)
        task = group.create_task(decide(approvals))
        await anyio.lowlevel.checkpoint()
        scope.cancel()
        await until(lambda: len(person.heard) == 2)
        person.may.set()
    assert found == []
    assert task.return_value.allowed
    assert approvals.pending == ()


async def test_silence_is_a_denial_and_is_not_remembered() -> None:
    approvals = Approvals(AnsweredElsewhere(), timeout_s=0.01)
    for _ in range(2):
        decision = await decide(approvals)
        assert (decision.verdict, decision.decided_by) == ("deny", "default")
        assert "nobody answered within 0.01 s" in decision.reason
    assert approvals.pending == ()


async def test_an_answer_from_elsewhere_ends_the_question() -> None:
    person = Person(may=anyio.Event())
    approvals = Approvals(person)
    async with anyio.create_task_group() as group:
        task = group.create_task(decide(approvals))
        await until(lambda: person.heard)
        (question,) = approvals.pending
        assert not approvals.answer("77", Approval("once"))
        assert approvals.answer(question.id, Approval("once", by="control socket"))
        assert not approvals.answer(question.id, Approval("deny", by="control socket"))
    assert task.return_value.source == "approver: control socket"
    assert not approvals.answer(question.id, Approval("once"))


async def test_a_broken_approver_denies_and_harms_nobody(caplog: pytest.LogCaptureFixture) -> None:
    class Broken:
        async def ask(self, question: Question) -> Approval:
            raise OSError("the terminal is gone")

    with caplog.at_level(logging.CRITICAL):
        decision = await decide(Approvals(Broken()))
    assert (decision.verdict, "asking failed: OSError" in decision.reason) == ("deny", True)


async def test_an_agent_that_is_refused_again_and_again_is_not_heard_any_more() -> None:
    person = Person([*cast(list[Answer], ["deny"] * MOST_REFUSALS), "once"])
    approvals = Approvals(person)
    for number in range(MOST_REFUSALS):
        await decide(approvals, (CALL[0], PathRequest(f"f{number}", "write")))
    late = (CALL[0], PathRequest("late", "write"))
    assert "is not heard again" in (await decide(approvals, late)).reason
    assert (await decide(approvals, late, subject("other", "other"))).allowed
    assert len(person.heard) == MOST_REFUSALS + 1


REQUESTS: list[PermissionRequest] = [
    PathRequest("src/a.py", "write"),
    ExecRequest(("git", "push", "a b"), "/usr/bin/git", True, "-x", "bubblewrap"),
    NetRequest("https", "2001:db8::1", 443, "/x"),
    McpRequest("server", "tool", "ab" * 32),
    SpawnRequest("helper"),
    DeviceRequest("gpu0"),
    ToolRequest("shell"),
]


@pytest.mark.parametrize("request_", REQUESTS, ids=lambda r: type(r).__name__)
def test_a_question_shows_its_requests_in_full_and_what_holds_them(
    request_: PermissionRequest,
) -> None:
    requests = (request_, PathRequest("also.txt", "read"))
    question = Question("3", "id", "agent", "tool", requests, (request_,), "because")
    told = described(question)
    assert told[:2] == [("agent", "agent (id)"), ("tool", "tool")]
    assert ("held by", enforcement(request_)) in told
    assert ("also read", "also.txt") in told
    assert told[-1] == ("why", "because")


def test_a_command_line_is_shown_so_that_its_words_can_be_told_apart() -> None:
    told = described(Question("1", "id", "a", "shell", (REQUESTS[1],), (REQUESTS[1],), ""))
    assert ("run", "git push 'a b'") in told
    assert ("program", "/usr/bin/git") in told
    assert ("held by", "the sandbox bubblewrap") in told
    assert "nothing" in enforcement(ExecRequest(("ls",), "/bin/ls"))


def test_a_question_travels_as_json() -> None:
    question = Question("1", "id", "a", "t", tuple(REQUESTS), (REQUESTS[0],), "why", "rule")
    plain = json.loads(json.dumps(plain_question(question)))
    kinds = [request["kind"] for request in plain["requests"]]
    assert kinds == ["path", "exec", "net", "mcp", "spawn", "device", "tool"]
    assert [r["needs_answer"] for r in plain["requests"]] == [True] + [False] * 6
    assert plain["requests"][1]["argv"] == ["git", "push", "a b"]


@given(st.lists(st.tuples(st.sampled_from("ab"), st.sampled_from("xy")), max_size=20), st.data())
def test_no_call_is_allowed_that_nobody_allowed(
    calls: list[tuple[str, str]], data: st.DataObject
) -> None:
    """Whatever is asked and answered: an allowed call was answered once, or for the run before."""
    choices: list[Answer] = ["deny", "once", "run"]
    answers = [data.draw(st.sampled_from(choices)) for _ in calls]

    async def play() -> None:
        person = Person([*answers])
        approvals = Approvals(person)
        for_run: set[tuple[str, str]] = set()
        for agent, path in calls:
            before = len(person.heard)
            decision = await decide(
                approvals, (CALL[0], PathRequest(path, "write")), subject(agent, agent)
            )
            asked = len(person.heard) > before
            answer = answers[before] if asked else None
            if answer == "run":
                for_run.add((agent, path))
            assert decision.allowed == (answer == "once" or (agent, path) in for_run)

    anyio.run(play)
