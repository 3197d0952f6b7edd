"""Agents in processes of their own, under the budget, the grants and the record of one run."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path
from typing import Any, Literal

import anyio
import pytest
from sashizu_core.control import RunHandle
from sashizu_core.grants import SpawnRequest
from sashizu_core.protocols import Approval, Question
from sashizu_core.runtime import delegate_parallel
from sashizu_core.settings import Settings
from sashizu_core.types import Limits, Outcome, RunReport, Task
from warm_programs import OFF

SPAWNS: dict[str, Any] = {"tools": {"mcp": ["delegate"]}, "spawn": {"agents": ["*"]}}


@pytest.fixture
def anyio_backend() -> str:
    return "asyncio"  # what is tested runs in other processes, with a loop of their own


async def ran(place: Any, *names: str, **options: Any) -> RunReport:
    with anyio.fail_after(90):
        return await delegate_parallel(
            [Task(name) for name in names], workspace=place.work, **options
        )


def repository(work: Path) -> None:
    """Make a folder a git repository with one commit."""
    git = ["git", "-c", "user.name=a", "-c", "user.email=a"]
    for words in (["init", "-q"], ["add", "a.txt"], ["commit", "-q", "-m", "first"]):
        subprocess.run([*git, *words], cwd=work, check=True)


def processes(parent: int) -> set[int]:
    """The children of a process, and theirs."""
    found: set[int] = set()
    for folder in Path("/proc").iterdir():
        try:
            fields = (folder / "stat").read_text().rpartition(") ")[2].split()
        except (OSError, ValueError):
            continue
        if folder.name.isdigit() and int(fields[1]) == parent and fields[0] != "Z":
            found |= {int(folder.name)} | processes(int(folder.name))
    return found


async def test_an_agent_with_a_process_of_its_own_reports_as_any_other(place: Any) -> None:
    place.agent("solo", "tree/leaf", isolation="process")
    before = processes(os.getpid())

    report = await ran(place, "solo", budget=Limits(tokens=50_000))

    (agent,) = report.results
    assert (agent.status, agent.answer) == ("ok", "a leaf")
    assert agent.usage.requests == 1
    assert report.budget is not None
    assert report.budget.spent.tokens == agent.usage.tokens > 0
    assert report.budget.overrun.requests == 0
    assert processes(os.getpid()) == before
    ((writers, pids),) = place.asked(
        "select count(distinct writer_id), count(distinct attrs.pid::varchar) "
        "from events where kind = 'writer.opened'"
    )
    assert (writers, pids) == (2, 2)


async def test_a_tree_of_processes_is_one_tree_in_the_record(place: Any) -> None:
    place.agent("lead", "tree/all", **SPAWNS)
    place.agent("kid-a", "tree/all", isolation="process", **SPAWNS)
    place.agent("kid-b", "tree/leaf", isolation="process")

    report = await ran(place, "lead", budget=Limits(tokens=900_000, depth=2))

    tree = list(report.results[0].tree())
    assert sorted(each.agent for each in tree) == ["kid-a", "kid-a", "kid-b", "kid-b", "lead"]
    assert all(each.ok for each in tree)
    started = place.asked(
        "select agent_id::varchar, parent_agent_id::varchar, depth, run_id::varchar "
        "from events where kind = 'agent.started'"
    )
    assert {row[0] for row in started} == {str(each.agent_id) for each in tree}
    assert len({row[3] for row in started}) == 1
    above = {row[0]: row[1] for row in started}
    depths = {row[0]: row[2] for row in started}
    for agent_id, parent in above.items():
        assert depths[agent_id] == (0 if parent is None else depths[parent] + 1)
    assert "5 writers: 5 intact" in place.verified()
    assert report.budget is not None
    assert report.budget.spent.agents == 5
    assert report.budget.spent.tokens == sum(each.usage.tokens for each in tree)


async def test_no_process_is_deeper_than_what_was_lent(place: Any) -> None:
    place.agent("lead", "tree/all", isolation="process", **SPAWNS)
    place.agent("kid-a", "tree/all", isolation="process", **SPAWNS)

    report = await ran(place, "lead", budget=Limits(tokens=900_000, depth=1))

    tree = list(report.results[0].tree())
    assert [each.agent for each in tree] == ["lead", "kid-a"]
    assert tree[1].answer == "nobody to ask"


async def test_the_settings_of_the_run_hold_in_its_processes(place: Any) -> None:
    place.agent("lead", "tree/all", isolation="process", **SPAWNS)
    place.agent("kid-a", "tree/leaf")

    report = await ran(place, "lead", settings=Settings({"run": {"max_turns": 1}}))

    assert report.results[0].outcome is Outcome.TURN_LIMIT


@pytest.mark.parametrize("tokens", [1_500, 3_000, 5_000])
async def test_agents_in_processes_never_exceed_the_budget_of_the_run(
    place: Any, tokens: int
) -> None:
    place.agent("lead", "tree/all", **SPAWNS)
    for name in ("kid-a", "kid-b", "kid-c"):
        place.agent(name, "tree/leaf", isolation="process")

    report = await ran(place, "lead", budget=Limits(tokens=tokens))

    assert report.budget is not None
    assert report.budget.spent.tokens <= tokens
    assert report.budget.held.tokens == 0
    outcomes = {each.outcome for each in report.results[0].tree()}
    assert outcomes <= {Outcome.ANSWERED, Outcome.BUDGET}
    if tokens == 1_500:
        assert Outcome.BUDGET in outcomes


async def test_a_process_that_dies_is_told_and_charged_and_harms_nobody(place: Any) -> None:
    place.agent("bad", "tree/dies", isolation="process")
    place.agent("good", "tree/leaf", isolation="process")

    report = await ran(place, "bad", "good", budget=Limits(tokens=200_000))

    bad, good = report.results
    assert good.ok
    assert "the process of the agent ended with status 9" in bad.error
    assert report.budget is not None
    # The call that was under way may have been billed: its whole hold is charged.
    assert report.budget.spent.tokens > good.usage.tokens
    assert report.budget.held.tokens == 0
    ended = place.asked("select agent_name, status from events where kind = 'agent.ended'")
    assert sorted(ended) == [("bad", "error"), ("good", "ok")]


async def test_an_agent_that_is_cancelled_leaves_no_process(place: Any) -> None:
    place.agent("slow", "tree/slow", isolation="process")
    before = processes(os.getpid())
    handles: list[RunHandle] = []

    async def cancel() -> None:
        while not (handles and place.asked("select 1 from events where kind = 'model.requested'")):
            await anyio.sleep(0.05)
        handles[0].cancel("enough")

    async with anyio.create_task_group() as group:
        group.start_soon(cancel)
        report = await ran(place, "slow", on_start=handles.append)

    (agent,) = report.results
    assert (agent.status, agent.error) == ("cancelled", "enough")
    assert processes(os.getpid()) == before


async def test_a_deadline_reaches_the_process(place: Any) -> None:
    place.agent("slow", "tree/slow", isolation="process", budget={"seconds": 4})

    report = await ran(place, "slow")

    assert report.results[0].status == "timeout"


async def test_a_process_may_do_no_more_than_who_started_it(place: Any) -> None:
    place.agent("lead", "tree/all", **SPAWNS)
    writes = {"mcp": ["apply_patch", "read_file"], "fs": {"read": True, "write": True}}
    place.agent("kid-a", "tree/writes", isolation="process", tools=writes)
    repository(place.work)

    report = await ran(place, "lead")

    kid = list(report.results[0].tree())[1]
    assert "apply_patch" in kid.answer
    assert kid.changes is None
    assert not list(place.work.rglob("made.txt"))


@pytest.mark.sandbox
async def test_what_a_process_changes_lies_in_a_worktree_of_its_agent(place: Any) -> None:
    repository(place.work)
    writes = {"mcp": ["apply_patch"], "fs": {"read": True, "write": True}}
    place.agent("maker", "tree/writes", isolation="process", tools=writes)

    report = await ran(place, "maker")

    (agent,) = report.results
    assert agent.ok, agent.error
    assert agent.changes is not None
    assert [file.path for file in agent.changes.files] == ["made.txt"]
    assert not (place.work / "made.txt").exists()


class Person:
    """Answers every question the same way, and remembers who asked what."""

    def __init__(self, answer: Literal["deny", "once", "run"]) -> None:
        self.answer = answer
        self.heard: list[Question] = []

    async def ask(self, question: Question) -> Approval:
        self.heard.append(question)
        return Approval(self.answer, by="person")


@pytest.mark.parametrize("answer", ["once", "deny"])
async def test_questions_of_an_agent_in_a_process_are_put_here(
    place: Any, answer: Literal["once", "deny"]
) -> None:
    place.agent("lead", "tree/all", isolation="process", **SPAWNS)
    place.agent("kid-a", "tree/leaf")
    rule = {"verdict": "ask", "touches": "spawn", "pattern": "kid-a"}
    person = Person(answer)

    settings = Settings({"policy": {"rule": [rule]}})
    report = await ran(place, "lead", settings=settings, approver=person)

    (question,) = person.heard
    assert (question.agent_name, question.tool) == ("lead", "delegate")
    assert question.needing == (SpawnRequest("kid-a"),)
    agents = [each.agent for each in report.results[0].tree()]
    assert agents == (["lead", "kid-a"] if answer == "once" else ["lead"])


# --- processes that go wrong before an agent has them ---------------------------------------------

AT_START = """
import os, pathlib, sys, time
flag = pathlib.Path(__file__).with_name("flag")
if "--leased" in sys.orig_argv:
    try:
        flag.rename(flag.with_name("taken"))
    except OSError:
        pass
    else:
        {does}
"""


def first_process(place: Any, does: str) -> None:
    """Have the first process that is started for an agent do something else."""
    folder = place.work.parent / "plugin"
    (folder / "sitecustomize.py").write_text(AT_START.format(does=does), "utf-8")
    (folder / "flag").touch()


async def test_a_process_that_dies_while_it_starts_harms_nobody_else(place: Any) -> None:
    place.agent("solo", "tree/leaf", isolation="process")
    first_process(place, "os._exit(3)")

    report = await ran(place, "solo", "solo", budget=Limits(tokens=100_000))

    assert (place.work.parent / "plugin/taken").exists()
    good = [each for each in report.results if each.ok]
    bad = [each.error for each in report.results if not each.ok]
    assert good  # both, where the dead one was seen in time and replaced
    assert all("ended with status 3" in error for error in bad)


async def test_a_process_that_never_gets_ready_ends_with_the_time_of_its_agent(place: Any) -> None:
    place.agent("solo", "tree/leaf", isolation="process", budget={"seconds": 2})
    first_process(place, "time.sleep(60)")

    with anyio.fail_after(30):
        report = await ran(place, "solo")

    assert (place.work.parent / "plugin/taken").exists()
    assert report.results[0].status == "timeout"


async def test_no_module_of_the_workspace_runs_in_a_process(
    place: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(OFF, "0")  # how the interpreter starts is what this is about
    place.agent("solo", "tree/leaf", isolation="process")
    for name in ("pydantic_core", "sashizu_mcp_server", "typing"):
        (place.work / f"{name}.py").write_text("open('ran', 'w').close()\n", "utf-8")

    report = await ran(place, "solo")

    assert report.results[0].ok, report.results[0].error
    assert not (place.work / "ran").exists()
