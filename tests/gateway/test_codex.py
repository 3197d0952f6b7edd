"""The real Codex behind the gateway: what it and the agents that it starts can spend."""

import json
import os
import re
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
SERVICE = Path(__file__).resolve().parents[2] / "benchmarks" / "codex_service.py"


class Lab:
    """A home for Codex, a workspace, and a service that says what it billed."""

    def __init__(self, home: Path, codex: Path, url: str) -> None:
        self.home = home
        self.codex = codex
        self.url = url

    @property
    def bill(self) -> Any:
        with urllib.request.urlopen(f"{self.url}/bill") as answer:
            return json.load(answer)

    def sashizu(self, *words: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [str(SCRIPT), *words],
            cwd=self.home / "work",
            env={
                "PATH": os.environ["PATH"],
                "HOME": str(self.home),
                "CODEX_HOME": str(self.home / "codex"),
                "SASHIZU_HOME": str(self.home / "state"),
            },
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=240,
            check=False,
        )

    def exec_codex(self, budget: str, order: str) -> subprocess.CompletedProcess[str]:
        return self.sashizu(
            *("exec-with-budget", "--budget", budget, "--openai-url", f"{self.url}/v1", "--"),
            *(str(self.codex), "exec", "--json", "--skip-git-repo-check", "--ephemeral"),
            *("-m", "gpt-5.1-codex", "-c", 'sandbox_mode="danger-full-access"', order),
        )

    def asked(self, sql: str) -> list[Any]:
        found = self.sashizu("audit", "sql", "--format", "json", sql)
        assert found.returncode == 0, found.stderr
        return json.loads(found.stdout)


@pytest.fixture
def lab(codex: Path) -> Iterator[Lab]:
    # Codex keeps nothing below the folder for temporary files.
    with tempfile.TemporaryDirectory(dir=Path.home()) as folder:
        for name in ("work", "codex", "state"):
            Path(folder, name).mkdir()
        command = [sys.executable, str(SERVICE), "--delay", "0.05"]
        with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
            assert process.stdout is not None
            try:
                port = process.stdout.readline().strip()
                yield Lab(Path(folder), codex, f"http://127.0.0.1:{port}")
            finally:
                process.terminate()


@pytest.mark.parametrize("limit", [80_000, 105_000])
def test_codex_and_its_agents_spend_most_of_a_limit_and_never_more(lab, limit):
    found = lab.exec_codex(str(limit), "lead 6 30")

    bill = lab.bill
    # The lead itself may still be answered after its agents were refused: its exit tells nothing.
    assert re.search(r"codex: [\d,]+ tokens .*in \d+ requests, [1-9]\d* refused", found.stderr)
    assert bill["tokens"] <= limit
    assert bill["tokens"] >= 0.8 * limit
    assert bill["uncapped"] == 0
    used = re.search(rf"used ([\d,]+) tokens of {limit:,}", found.stderr)
    assert used is not None
    booked = int(used[1].replace(",", ""))  # what was cut off is booked at its hold
    assert bill["tokens"] <= booked <= limit


def test_every_agent_of_codex_has_a_node_below_the_one_that_started_it(lab):
    found = lab.exec_codex("1000000", "lead 3 2")

    assert found.returncode == 0, found.stderr
    started = lab.asked(
        "select agent_name, agent_id, parent_agent_id, depth from events "
        "where kind = 'agent.started' order by depth, ts_ns"
    )
    root, *children = started
    assert root["parent_agent_id"] is None
    assert len(children) == 3
    assert {child["parent_agent_id"] for child in children} == {root["agent_id"]}
    calls = lab.asked(
        "select agent_id, sum(tokens) as tokens from events "
        "where kind = 'model.answered' and op = 'chat' group by 1"
    )
    assert len(calls) == 4
    assert sum(call["tokens"] for call in calls) == lab.bill["tokens"]


def test_what_codex_says_of_its_usage_is_less_than_what_its_agents_used(lab):
    found = lab.exec_codex("1000000", "lead 3 2")

    events = [json.loads(line) for line in found.stdout.splitlines()]
    (told,) = [event["usage"] for event in events if event["type"] == "turn.completed"]
    declared = told["input_tokens"] + told["output_tokens"]
    assert declared < lab.bill["tokens"]
    assert f"used {lab.bill['tokens']:,} tokens" in found.stderr


def test_codex_shows_the_numbers_of_a_request_that_is_larger_than_the_limit(lab):
    found = lab.exec_codex("5000", "work 1")

    assert found.returncode == 1
    assert "5000 left" in found.stdout
    assert lab.bill["calls"] == []
    assert lab.bill["counts"] == 1


def test_agents_of_codex_are_limited_in_number(lab):
    lab.sashizu(
        *("exec-with-budget", "--budget", "3agents", "--openai-url", f"{lab.url}/v1", "--"),
        *(str(lab.codex), "exec", "--json", "--skip-git-repo-check", "--ephemeral"),
        *("-m", "gpt-5.1-codex", "-c", 'sandbox_mode="danger-full-access"', "lead 5 2"),
    )

    threads = {call["thread"] for call in lab.bill["calls"]}
    assert len(threads) == 3
    refused = lab.asked("select budget_unit from events where kind = 'budget.refused'")
    assert {row["budget_unit"] for row in refused} == {"agents"}


# --- as an agent ----------------------------------------------------------------------------------


@pytest.fixture
def agent(lab: Lab, codex: Path) -> Lab:
    """An agent that Codex works for, in a git repository."""
    config = lab.home / ".config" / "sashizu"
    (config / "agents").mkdir(parents=True)
    (config / "agents" / "fixer.yaml").write_text(
        "name: fixer\ngoal: Do it.\nengine: codex\nmodel: gpt-5.1-codex\n"
        "tools:\n  fs: {read: true, write: true}\n"
    )
    (config / "sashizu.toml").write_text(
        f"[gateway.openai]\nbase_url = '{lab.url}/v1'\n[gateway.programs]\ncodex = '{codex}'\n"
    )
    work = lab.home / "work"
    (work / "a.txt").write_text("a\n")
    for words in (["init", "-q"], ["add", "-A"], ["commit", "-q", "-m", "begin"]):
        person = ["-c", "user.name=x", "-c", "user.email=x@example.org"]
        subprocess.run(["git", *person, *words], cwd=work, check=True, env={**os.environ})
    return lab


@pytest.mark.sandbox
def test_codex_works_for_an_agent_and_its_agents_are_seen(agent):
    found = agent.sashizu("delegate", "fixer", "--goal", "please lead 2 2", "--budget", "1000000")

    assert found.returncode == 0, found.stderr
    assert "all done" in found.stdout
    names = agent.asked("select agent_name from events where kind = 'agent.started' order by ts_ns")
    assert [row["agent_name"].count("/") for row in names] == [0, 2, 2]
    (ended,) = agent.asked(
        "select attrs from events where tool_type = 'engine' and kind = 'tool.ended'"
    )
    attrs = json.loads(ended["attrs"])
    billed = agent.bill["tokens"]
    assert attrs["seen"]["input_tokens"] + attrs["seen"]["output_tokens"] == billed
    assert attrs["undeclared_tokens"] > 0.3 * billed
    said = agent.asked(
        "select tool from events where tool_type = 'foreign' and kind = 'tool.ended'"
    )
    assert {row["tool"] for row in said} == {"codex/collab_tool_call"}


@pytest.mark.sandbox
def test_codex_as_an_agent_spends_most_of_its_limit_and_never_more(agent):
    found = agent.sashizu("delegate", "fixer", "--goal", "please lead 6 30", "--budget", "105000")

    assert found.returncode == 3, found.stderr
    assert 0.8 * 105_000 <= agent.bill["tokens"] <= 105_000


@pytest.mark.sandbox
def test_what_codex_runs_is_held_by_our_sandbox(agent):
    secret = agent.home / "secret.txt"
    secret.write_text("do not read")
    order = "please run <<" + "; ".join(
        [
            f"cat {secret} > leaked.txt",
            "echo made > made.txt",
            f"echo x > {agent.home}/outside.txt",
            "echo hook > .git/hooks/pre-commit",
        ]
    )

    found = agent.sashizu("delegate", "fixer", "--goal", f"{order}>>", "--budget", "1000000")

    work = agent.home / "work"
    assert found.returncode == 0, found.stderr
    assert (work / "made.txt").read_text() == "made\n"
    assert (work / "leaked.txt").read_text() == ""
    assert not (agent.home / "outside.txt").exists()
    assert not (work / ".git/hooks/pre-commit").exists()


@pytest.mark.sandbox
def test_codex_beside_others_works_in_a_worktree(agent):
    words = ["delegate-parallel", "fixer,fixer", "--budget", "1000000"]

    found = agent.sashizu(*words, "--goal", "please run <<echo mine >> own.txt>>")

    assert found.returncode == 0, found.stderr
    assert not (agent.home / "work" / "own.txt").exists()
    assert "own.txt" in found.stdout
