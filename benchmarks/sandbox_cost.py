"""What it costs to run one program in the sandbox, beside running it without.

    uv run python benchmarks/sandbox_cost.py [--commands 50] [--rounds 5]

Prints milliseconds of CPU (this process and all that it started) and by the clock for one
`/bin/true` with its output read to the end: by `anyio.open_process`, and in the sandbox with a
workspace as agents have it. A sandbox starts a launcher with its first command; that is shown on
its own, and is not part of the others. Both ways take turns in every round; a cell is the median
over the rounds.
"""

from __future__ import annotations

import argparse
import resource
import statistics
import tempfile
import time
from collections.abc import Awaitable, Callable
from pathlib import Path

import anyio
from sashizu_core.granted_paths import PROTECTED, PROTECTED_ANYWHERE
from sashizu_core.sandboxing import Confinement
from sashizu_sandbox.bubblewrap.sandbox import open_bubblewrap

ARGV = ["/bin/true"]

Cost = tuple[float, float]
"""Milliseconds of CPU, and by the clock."""


async def bare(commands: int, folder: Path) -> None:
    for _ in range(commands):
        async with await anyio.open_process(ARGV, cwd=folder, stdin=None) as process:
            assert process.stdout is not None
            assert process.stderr is not None
            assert [data async for data in process.stdout] == []
            assert [data async for data in process.stderr] == []
            assert await process.wait() == 0


async def held(commands: int, folder: Path) -> None:
    names = (*PROTECTED, *PROTECTED_ANYWHERE)
    confinement = Confinement(
        folder,
        writable=(folder,),
        protected=tuple(folder / name for name in names),
        hidden=(folder / ".env",),
        environment={"PATH": "/usr/bin:/bin"},
    )
    async with open_bubblewrap() as sandbox:
        for _ in range(commands):
            async with sandbox.start(ARGV, confinement) as process:
                assert [data async for data in process.stdout] == []
                assert [data async for data in process.stderr] == []
                assert await process.wait() == 0


def cpu_ms() -> float:
    used = [resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
    return sum(part.ru_utime + part.ru_stime for part in used) * 1000


async def measured(way: Callable[[int, Path], Awaitable[None]], commands: int, at: Path) -> Cost:
    """The cost of so many commands in all; what a sandbox started is over and counted by then."""
    cpu, clock = cpu_ms(), time.perf_counter()
    await way(commands, at)
    return cpu_ms() - cpu, (time.perf_counter() - clock) * 1000


async def rounds(number: int, commands: int, folder: Path) -> dict[str, list[Cost]]:
    costs: dict[str, list[Cost]] = {"bare": [], "in the sandbox": [], "its first command": []}
    await bare(3, folder)
    await held(3, folder)
    for _ in range(number):
        cpu, clock = await measured(bare, commands, folder)
        costs["bare"].append((cpu / commands, clock / commands))
        first = await measured(held, 1, folder)
        costs["its first command"].append(first)
        cpu, clock = await measured(held, commands + 1, folder)
        more = ((cpu - first[0]) / commands, (clock - first[1]) / commands)
        costs["in the sandbox"].append(more)
    return costs


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--commands", type=int, default=50)
    parser.add_argument("--rounds", type=int, default=5)
    chosen = parser.parse_args()
    with tempfile.TemporaryDirectory() as made:
        folder = Path(made)
        (folder / ".git/hooks").mkdir(parents=True)
        (folder / ".git/config").write_text("[core]\n", encoding="utf-8")
        (folder / ".env").write_text("A=1\n", encoding="utf-8")
        costs = anyio.run(rounds, chosen.rounds, chosen.commands, folder)
    print("| one command | CPU ms | clock ms |\n| --- | ---: | ---: |")
    middle = {}
    for name, samples in costs.items():
        middle[name] = [statistics.median(part) for part in zip(*samples, strict=True)]
        print(f"| {name} | {middle[name][0]:.1f} | {middle[name][1]:.1f} |")
    over = [middle["in the sandbox"][at] - middle["bare"][at] for at in (0, 1)]
    print(f"| over a bare one | {over[0]:.1f} | {over[1]:.1f} |")


if __name__ == "__main__":
    main()
