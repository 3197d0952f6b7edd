"""Four levels of three agents each under one budget: in one process, and a process for each.

    uv run python benchmarks/process_tree.py [--levels 4] [--children 3]

Every agent but the deepest asks three others, which are bounded by one lease each where they have
a process of their own. Prints one row for each way: agents that ran, how long it took, what was
spent of the limit, whether the record is one intact tree, processes that were left, and how long an
agent that another one starts waits until its model is asked.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from statistics import median

import anyio

ROOT = Path(__file__).resolve().parent.parent
PLUGIN = ROOT / "tests/hosted"
SASHIZU = Path(sys.executable).with_name("sashizu")
LIMIT = 5_000_000
ROUNDS = 7

AGENT = """\
name: {name}
goal: Ask those below.
model: tree/all
tools: {{mcp: [delegate]}}
spawn: {{agents: [{kids}]}}
"""


def prepared(place: Path, children: int) -> dict[str, str]:
    """The environment of a run in a folder of its own, with agents and models."""
    info = place / "plugin/tree_models-1.dist-info"
    agents = place / "config/sashizu/agents"
    for folder in (info, agents, place / "work"):
        folder.mkdir(parents=True)
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: tree-models\nVersion: 1\n")
    (info / "entry_points.txt").write_text("[sashizu]\ntree-models = tree_models\n")
    kids = [f"kid-{at}" for at in range(children)]
    for name in ("lead", *kids):
        text = AGENT.format(name=name, kids=", ".join(kids))
        (agents / f"{name}.yaml").write_text(text, "utf-8")
    return {
        **os.environ,
        "PYTHONPATH": os.pathsep.join((str(place / "plugin"), str(PLUGIN))),
        "SASHIZU_HOME": str(place / "home"),
        "XDG_CONFIG_HOME": str(place / "config"),
    }


def asked(env: dict[str, str], place: Path, sql: str) -> list[dict[str, object]]:
    command = [str(SASHIZU), "audit", "sql", "--format", "json", sql]
    found = subprocess.run(command, env=env, cwd=place, capture_output=True, check=True)
    rows: list[dict[str, object]] = json.loads(found.stdout)
    return rows


def left(place: Path) -> int:
    """Processes that still have the state folder of a run in their environment."""
    mark = f"SASHIZU_HOME={place / 'home'}".encode()
    count = 0
    for folder in Path("/proc").iterdir():
        if folder.name.isdigit():
            try:
                count += mark in (folder / "environ").read_bytes().split(b"\0")
            except OSError:
                continue
    return count


def measured(isolation: str, levels: int, children: int) -> None:
    with tempfile.TemporaryDirectory() as folder:
        place = Path(folder)
        env = prepared(place, children)
        agents = sum(children**level for level in range(levels + 1))
        command = [str(SASHIZU), "delegate", "lead", "--budget", str(LIMIT)]
        command += ["--isolation", isolation, "-c", f"spawn.depth={levels}"]
        command += ["-c", f"spawn.agents={8 * agents}", "-c", f"spawn.alive={8 * agents}"]
        command += ["-c", f"spawn.rate={32 * agents}"]
        before = time.perf_counter()
        done = subprocess.run(
            command, env=env, cwd=place / "work", capture_output=True, text=True, check=False
        )
        took = time.perf_counter() - before
        remained = left(place)
        (tree,) = asked(
            env,
            place / "work",
            "select count(*) filter (kind = 'agent.started') as started,"
            " count(distinct run_id) as runs, max(depth) as depth,"
            " count(*) filter (kind = 'agent.ended' and status = 'ok') as ok,"
            " sum(tokens) filter (kind = 'model.answered') as tokens from events",
        )
        (waited,) = asked(
            env,
            place / "work",
            "select median(gap) / 1e6 as ms from (select min(ts_ns) filter (kind ="
            " 'model.requested') - min(ts_ns) filter (kind = 'agent.started') as gap"
            " from events where agent_id is not null and depth > 0 group by agent_id)",
        )
        command = [str(SASHIZU), "audit", "verify"]
        verify = subprocess.run(command, env=env, capture_output=True, text=True, check=False)
        intact = verify.stdout.splitlines()[-1:]
        print(
            f"{isolation:8} exit {done.returncode}, {tree['started']} agents of {agents},"
            f" {tree['ok']} ok, depth {tree['depth']}, {tree['runs']} run(s), {took:.1f} s,"
            f" {tree['tokens']} of {LIMIT} tokens, record {intact}, {remained} processes left,"
            f" first call after {waited['ms']:.0f} ms (median)"
        )


async def ready() -> None:
    """How long a process takes until it can work, which agents wait for where none is ready."""
    from sashizu_core.settings import Settings
    from sashizu_mcp_server.hosting.process import agent_process

    async def cold(root: Path) -> None:
        async with agent_process(root) as process:
            await process.greet(Settings())
            times["ready"].append(time.perf_counter() - before)

    times: dict[str, list[float]] = {"bare": [], "ready": []}
    with tempfile.TemporaryDirectory() as folder:
        for _ in range(ROUNDS):
            before = time.perf_counter()
            subprocess.run([sys.executable, "-c", "pass"], check=True)
            times["bare"].append(time.perf_counter() - before)
            before = time.perf_counter()
            await cold(Path(folder))
    bare, whole = (median(times[name]) * 1000 for name in ("bare", "ready"))
    print(f"a process is ready after {whole:.0f} ms, {whole / bare:.1f} x `python -c pass`")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--levels", type=int, default=4)
    parser.add_argument("--children", type=int, default=3)
    options = parser.parse_args()
    for isolation in ("none", "process"):
        measured(isolation, options.levels, options.children)
    anyio.run(ready)


if __name__ == "__main__":
    main()
