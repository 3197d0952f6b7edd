"""What the programs in this folder share: they run agents and print what it took as JSON."""

from __future__ import annotations

import argparse
import asyncio
import json
import statistics
import time
from collections.abc import Awaitable, Callable, Sequence
from itertools import pairwise
from pathlib import Path

clock = time.perf_counter
ticks: list[float] = []


def tick() -> None:
    """Every tool calls this: a step is timed from one tool call to the next."""
    ticks.append(clock())


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser()
    parser.add_argument("--url", default="", help="of the fake service; without it, in process")
    parser.add_argument("--steps", type=int, default=10)
    parser.add_argument("--runs", type=int, default=20)
    parser.add_argument("--agents", type=int, default=1)
    parser.add_argument("--ms", type=int, default=0, help="what the service waits")
    parser.add_argument("--one-by-one", action="store_true")
    parser.add_argument("--once", action="store_true", help="one run, nothing is printed")
    parser.add_argument("--workspace", type=Path)
    found = parser.parse_args()
    if found.url:
        found.url = f"{found.url}/ms{found.ms}-steps{found.steps}-add/v1"
    return found


def megabytes(field: str) -> float:
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith(field):
            return int(line.split()[1]) / 1024
    raise LookupError(field)


async def steps(asked: argparse.Namespace, run: Callable[[], Awaitable[object]]) -> None:
    """One agent after the other: microseconds per step, median and 99th percentile."""
    gaps: list[float] = []
    for number in range(-3, asked.runs):
        ticks.clear()
        await run()
        if len(ticks) != asked.steps:
            raise RuntimeError(f"{len(ticks)} tool calls in place of {asked.steps}")
        if number >= 0:
            gaps += [1e6 * (after - before) for before, after in pairwise(ticks)]
    gaps.sort()
    found = {"us": statistics.median(gaps), "p99_us": gaps[int(0.99 * len(gaps))]}
    print(json.dumps(found))


async def many(
    asked: argparse.Namespace, run: Callable[[int], Awaitable[Sequence[object]]]
) -> None:
    """Many agents: seconds by the clock and of CPU, kilobytes for each agent.

    `run(n)` runs n agents at once and gives their answers.
    """
    await run(1)
    Path("/proc/self/clear_refs").write_text("5")  # forget the highest use of memory so far
    base = megabytes("VmRSS")
    begun, cpu = clock(), time.process_time()
    if asked.one_by_one:
        answers = [answer for _ in range(asked.agents) for answer in await run(1)]
    else:
        answers = list(await run(asked.agents))
    wall, cpu = clock() - begun, time.process_time() - cpu
    if answers != ["The sum is 3."] * asked.agents:
        raise RuntimeError(f"an agent failed: {set(map(str, answers))}")
    ideal = (asked.steps + 1) * asked.ms / 1000
    found = {
        "wall_s": wall,
        "ideal_s": ideal,
        "cpu_s": cpu,
        "kb": (megabytes("VmHWM") - base) * 1024 / asked.agents,
    }
    print(json.dumps(found))


async def once(run: Callable[[int], Awaitable[Sequence[object]]]) -> None:
    if await run(1) != ["The sum is 3."]:
        raise RuntimeError("the agent failed")


def measure(
    asked: argparse.Namespace,
    run: Callable[[int], Awaitable[Sequence[object]]],
) -> None:
    if asked.once:
        asyncio.run(once(run))
    elif asked.agents == 1 and not asked.ms:
        asyncio.run(steps(asked, lambda: run(1)))
    else:
        asyncio.run(many(asked, run))
