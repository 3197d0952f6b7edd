"""Programs of sashizu that start beneath a lease: whatever they do is part of the run above."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from time import time
from typing import Any

import pytest
from sashizu_budget.ledger import Ledger
from sashizu_core.grants import Grants
from sashizu_core.handoff import Handoff, Lease, hand_off
from sashizu_core.ids import AgentId, RunId, new_agent_id, new_run_id
from sashizu_core.types import Amount, Limits

EVERYTHING = Grants(tools=None, fs_read=(".",), fs_write=(".",), spawn=frozenset({"*"}))
TRACE = "00-" + "1" * 32 + "-" + "2" * 16 + "-01"


class Giver:
    """An agent of another process, as far as its children can tell."""

    def __init__(self, **limits: Any) -> None:
        self.ledger = Ledger()
        self.node = self.ledger.root("run", Limits(tokens=100_000))
        self.limits = Limits(**{"tokens": 50_000, **limits})
        self.run_id, self.agent_id = RunId(new_run_id()), AgentId(new_agent_id())

    def gives(self, **more: Any) -> tuple[Mapping[str, str], Lease]:
        fields: dict[str, Any] = {
            "run_id": self.run_id,
            "agent_id": self.agent_id,
            "parent_agent_id": None,
            "depth": 0,
            "ceiling": (EVERYTHING,),
            "deadline": None,
            "traceparent": TRACE,
            "depth_left": 2,
            "folder": ".sashizu/runs/above",
            **more,
        }
        found = hand_off(Handoff(**fields), self.ledger, self.node, "child", self.limits)
        assert isinstance(found, tuple)
        handoff, lease = found
        return handoff.to_env(), lease


def test_a_command_beneath_a_lease_spends_from_it_and_is_part_of_its_run(place: Any) -> None:
    place.agent("solo", "tree/leaf")
    giver = Giver()
    env, lease = giver.gives()

    found = place.sashizu("delegate", "solo", "--out", "report.json", **env)

    assert found.returncode == 0, found.stderr
    report = json.loads((place.work / "report.json").read_text("utf-8"))
    spent = lease.settle()
    assert (
        spent.tokens
        == report["results"][0]["usage"]["input_tokens"]
        + (report["results"][0]["usage"]["output_tokens"])
    )
    assert (spent.agents, spent.requests) == (1, 1)
    assert giver.node.state().spent == spent
    rows = place.asked(
        "select run_id::varchar, parent_agent_id::varchar, depth, trace_id::varchar, kind "
        "from events where kind in ('agent.started', 'run.started', 'run.ended')"
    )
    assert rows == [(giver.run_id, giver.agent_id, 1, "1" * 32, "agent.started")]


def test_agents_beneath_a_lease_may_do_no_more_than_who_gave_it(place: Any) -> None:
    writes = {"mcp": ["apply_patch", "read_file"], "fs": {"read": True, "write": True}}
    place.agent("kid", "tree/writes", tools=writes)
    narrow = Grants(tools=None, fs_read=(".",), spawn=frozenset({"kid"}))
    env, _ = Giver().gives(ceiling=(narrow,))

    place.sashizu("delegate", "kid", **env)

    assert not (place.work / "made.txt").exists()
    ((absent,),) = place.asked(
        "select attrs.absent.apply_patch::varchar from events where kind = 'agent.started'"
    )
    assert "may not" in absent


def test_a_lease_that_is_spent_refuses_and_is_never_exceeded(place: Any) -> None:
    place.agent("solo", "tree/leaf")
    giver = Giver(tokens=200)
    env, lease = giver.gives()

    found = place.sashizu("delegate", "solo", **env)

    assert found.returncode == 3
    assert "200 left" in found.stderr
    assert lease.settle().tokens == 0


@pytest.mark.parametrize(
    ("more", "code", "told"),
    [
        ({"depth_left": 0}, 1, "as deep as agents may go"),
        ({"deadline": time() - 1}, 2, "lease"),
    ],
)
def test_a_lease_without_depth_or_time_starts_nothing(
    place: Any, more: dict[str, Any], code: int, told: str
) -> None:
    place.agent("solo", "tree/leaf")
    env, lease = Giver().gives(**more)

    found = place.sashizu("delegate", "solo", **env)

    assert (found.returncode, told in found.stderr) == (code, True), found.stderr
    assert lease.settle() == Amount()


@pytest.mark.parametrize("lease", ["nonsense", "0" * 32])
def test_a_lease_that_is_none_ends_the_start(place: Any, lease: str) -> None:
    place.agent("solo", "tree/leaf")
    for words in (("delegate", "solo"), ("mcp-server", "--late")):
        found = place.sashizu(*words, SASHIZU_LEASE=lease)
        assert found.returncode == 2
        assert "lease" in found.stderr


def test_a_lease_that_was_settled_starts_nothing_again(place: Any) -> None:
    place.agent("solo", "tree/leaf")
    env, lease = Giver().gives()
    assert place.sashizu("delegate", "solo", **env).returncode == 0
    spent = lease.settle()
    assert spent.tokens > 0

    again = place.sashizu("delegate", "solo", **env)

    assert again.returncode == 2
    assert "the lease has ended: ask who started this process for a new one" in again.stderr
    assert lease.settle() == spent


def tool(name: str, meta: Mapping[str, Any] | None = None, **arguments: Any) -> dict[str, Any]:
    params = {"name": name, "arguments": arguments, "_meta": dict(meta or {})}
    return {"method": "tools/call", "params": params}


def test_what_a_server_beneath_a_lease_does_is_part_of_the_run_above(place: Any) -> None:
    place.agent("solo", "tree/leaf")
    giver = Giver()
    env, lease = giver.gives()

    delegated, read = place.talk(
        (), env, tool("delegate", agent="solo"), tool("read_file", path="a.txt")
    )

    assert delegated["result"]["structuredContent"]["status"] == "ok"
    assert "alpha" in read["result"]["content"][0]["text"]
    assert lease.settle().tokens == delegated["result"]["structuredContent"]["tokens"] > 0
    rows = place.asked(
        "select agent_name, run_id::varchar, parent_agent_id::varchar, depth from events "
        "where kind = 'agent.started' order by agent_name"
    )
    assert rows == [
        ("mcp-client", giver.run_id, giver.agent_id, 1),
        ("solo", giver.run_id, giver.agent_id, 1),
    ]
    assert place.asked("select count(*) from events where kind = 'run.started'") == [(0,)]


def test_a_client_of_a_server_beneath_a_lease_may_do_no_more_than_who_gave_it(place: Any) -> None:
    env, _ = Giver().gives(ceiling=(Grants(tools=None, fs_read=("docs",)),))

    (read,) = place.talk((), env, tool("read_file", path="a.txt"))

    assert read["result"]["isError"] is True


def test_a_server_for_one_agent_serves_nobody_else(place: Any) -> None:
    place.agent("solo", "tree/leaf")
    work = {"agent": "solo", "definition": {"name": "solo", "goal": "x"}, "model": "tree/leaf"}
    work |= {"workspace": str(place.work)}
    bogus = {"sashizu/lease": "0" * 32, "traceparent": TRACE}

    listed, without, wrong, other = place.talk(
        ("--leased",),
        {},
        {"method": "tools/list", "params": {}},
        tool("work", **work),
        tool("work", bogus, **work),
        tool("delegate", agent="solo"),
    )

    assert [each["name"] for each in listed["result"]["tools"]] == ["work", "stop"]
    for answer in (without, wrong):
        assert answer["result"]["isError"] is True
    assert "delegate" in other["error"]["message"]
    assert "lease" in without["result"]["content"][0]["text"]
    assert place.asked("select count(*) from events where kind = 'agent.started'") == [(0,)]


# --- a program that is given a share --------------------------------------------------------------


def held(place: Any, *options: str, command: Sequence[str]) -> subprocess.CompletedProcess[str]:
    """`exec-with-budget` with a service that nobody needs."""
    words = ("--openai-url", "http://127.0.0.1:9/v1", *options, "--", *command)
    found: subprocess.CompletedProcess[str] = place.sashizu("exec-with-budget", *words)
    return found


DELEGATES = (str(Path(sys.executable).with_name("sashizu")), "delegate", "solo")


def test_what_a_program_has_sashizu_do_is_part_of_its_run_and_budget(place: Any) -> None:
    place.agent("solo", "tree/leaf")

    found = held(place, "--budget", "50000", "--share", "30000", command=DELEGATES)

    assert found.returncode == 0, found.stderr
    ((agent_run, parent, depth, program_run),) = place.asked(
        "select a.run_id::varchar, a.parent_agent_id::varchar, a.depth, r.run_id::varchar "
        "from events a, events r where a.kind = 'agent.started' and r.kind = 'run.started'"
    )
    assert (agent_run, parent, depth) == (program_run, None, 0)
    ((tokens,),) = place.asked("select sum(tokens) from events where kind = 'model.answered'")
    assert f"used {tokens:,} tokens of 50,000" in found.stderr


def test_a_program_without_a_share_has_no_lease(place: Any) -> None:
    command = (sys.executable, "-c", "import os; print(os.environ.get('SASHIZU_LEASE'))")
    assert held(place, "--budget", "50000", command=command).stdout == "None\n"


@pytest.mark.parametrize(("share", "told"), [("200", "200 left"), ("60000", "50000 left")])
def test_a_share_that_is_too_small_or_too_large_is_refused(
    place: Any, share: str, told: str
) -> None:
    place.agent("solo", "tree/leaf")

    found = held(place, "--budget", "50000", "--share", share, command=DELEGATES)

    assert found.returncode == 3
    assert told in found.stderr
    assert "used 0 tokens" in found.stderr or share == "60000"


# --- what an environment cannot talk its way around -----------------------------------------------


def test_what_is_below_a_recorded_run_is_recorded(place: Any) -> None:
    place.agent("solo", "tree/leaf")
    env, lease = Giver().gives(recorded=True)
    for words in (("delegate", "solo", "--no-audit"), ("mcp-server", "--no-audit", "--late")):
        found = place.sashizu(*words, **env)
        assert (found.returncode, "no --no-audit" in found.stderr) == (2, True), found.stderr
    assert lease.settle() == Amount()


def test_a_server_beneath_a_lease_without_depth_starts_no_agent(place: Any) -> None:
    place.agent("solo", "tree/leaf")
    env, lease = Giver().gives(depth_left=0)
    (answer,) = place.talk((), env, tool("delegate", agent="solo"))
    assert answer["result"]["isError"] is True
    assert "as deep as agents may go" in answer["result"]["content"][0]["text"]
    assert lease.settle() == Amount()


def test_no_agent_is_started_beneath_a_lease_that_its_giver_may_not_start(place: Any) -> None:
    place.agent("solo", "tree/leaf")
    narrow = Grants(tools=None, fs_read=(".",), spawn=frozenset({"kid"}))
    env, _ = Giver().gives(ceiling=(narrow,))
    found = place.sashizu("delegate", "solo", **env)
    assert found.returncode == 2
    assert "'solo' may not be started beneath this lease" in found.stderr


def test_an_agent_of_a_repository_works_in_a_process_once_it_is_trusted(place: Any) -> None:
    folder = place.work / ".sashizu/agents"
    folder.mkdir(parents=True)
    (folder / "local.yaml").write_text("name: local\ngoal: Say something.\nmodel: tree/leaf\n")
    assert place.sashizu("trust", "--yes").returncode == 0
    found = place.sashizu("delegate", "repo:local", "--isolation", "process")
    assert found.returncode == 0, found.stderr
    assert "a leaf" in found.stdout
