"""The real Codex between a budget of ours and agents of ours: one run, one budget, one record."""

from __future__ import annotations

import json
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
TOLD = ("SASHIZU_LEASE", "TRACEPARENT", "SASHIZU_HOME", "XDG_CONFIG_HOME", "PYTHONPATH")
SPAWNS: dict[str, Any] = {"tools": {"mcp": ["delegate"]}, "spawn": {"agents": ["*"]}}
LIMIT = 400_000


def ran(
    place: Any, codex: Path, home: str, order: str
) -> tuple[subprocess.CompletedProcess[str], int]:
    """A run of Codex under a budget, of which sashizu may use half; and what its service billed."""
    config = {
        "command": json.dumps(str(SCRIPT)),
        "args": '["mcp-server"]',
        "env_vars": json.dumps(TOLD),
    }
    server = "{" + ",".join(f"{name}={value}" for name, value in config.items()) + "}"
    command = [sys.executable, str(SERVICE), "--delay", "0.05"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as service:
        assert service.stdout is not None
        url = f"http://127.0.0.1:{service.stdout.readline().strip()}"
        try:
            found = place.sashizu(
                *("exec-with-budget", "--budget", str(LIMIT), "--share", str(LIMIT // 2)),
                *("--openai-url", f"{url}/v1", "--", str(codex), "exec", "--json"),
                *("--skip-git-repo-check", "--ephemeral", "-m", "gpt-5.1-codex"),
                *("-c", f"mcp_servers.sashizu={server}", order),
                HOME=home,
                CODEX_HOME=home,
            )
            with urllib.request.urlopen(f"{url}/bill") as answer:
                return found, json.load(answer)["tokens"]
        finally:
            service.terminate()


@pytest.fixture
def home() -> Iterator[str]:
    with tempfile.TemporaryDirectory(dir=Path.home()) as folder:  # Codex keeps nothing below /tmp
        yield folder


def test_agents_that_codex_has_work_are_in_the_run_that_codex_is_in(
    place: Any, codex: Path, home: str
) -> None:
    place.agent("lead", "tree/all", **SPAWNS)
    for name in ("kid-a", "kid-b"):
        place.agent(name, "tree/leaf", isolation="process")
    # The first start of all makes the answers to what Codex asks first, and waits for in vain.
    place.talk((), {"HOME": home}, {"method": "tools/list", "params": {}})
    order = f"use mcp__sashizu delegate <<{json.dumps({'agent': 'lead'})}>>"

    found, billed = ran(place, codex, home, order)

    assert found.returncode == 0, found.stdout + found.stderr
    last = "run_id = (select max(run_id) from events where kind = 'run.started')"
    rows = place.asked(
        "select agent_name, depth, parent_agent_id is null from events "
        f"where kind = 'agent.started' and {last} order by agent_name"
    )
    assert rows == [
        ("codex/root", 0, True),
        ("kid-a", 1, False),
        ("kid-b", 1, False),
        ("lead", 0, True),
    ]
    ((ours, theirs),) = place.asked(
        "select sum(tokens) filter (agent_name not like 'codex%'),"
        " sum(tokens) filter (agent_name like 'codex%')"
        f" from events where kind = 'model.answered' and {last}"
    )
    assert theirs == billed
    assert f"used {billed + ours:,} tokens of {LIMIT:,}" in found.stderr
    assert "damaged" not in place.verified()


def test_four_levels_of_three_agents_beneath_codex_are_one_tree_under_one_budget(
    place: Any, codex: Path, home: str
) -> None:
    place.agent("lead", "tree/all", **SPAWNS)
    for name in ("kid-a", "kid-b", "kid-c"):
        place.agent(name, "tree/all", **SPAWNS)
    place.settings("[spawn]\nagents = 200\nalive = 200\nrate = 1000\n")
    place.talk((), {"HOME": home}, {"method": "tools/list", "params": {}})
    order = f"use mcp__sashizu delegate <<{json.dumps({'agent': 'lead'})}>>"

    found, billed = ran(place, codex, home, order)

    assert found.returncode == 0, found.stdout + found.stderr
    rows = place.asked(
        "select depth, count(*) from events where kind = 'agent.ended' and status = 'ok'"
        " and agent_name not like 'codex%' group by depth order by depth"
    )
    assert rows == [(0, 1), (1, 3), (2, 9), (3, 27), (4, 81)]
    ((ours,),) = place.asked(
        "select sum(tokens) from events where kind = 'model.answered'"
        " and agent_name not like 'codex%'"
    )
    assert f"used {billed + ours:,} tokens of {LIMIT:,}" in found.stderr
    assert ours <= LIMIT // 2
    assert place.asked("select count(distinct run_id) from events where depth > 0") == [(1,)]
