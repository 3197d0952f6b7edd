"""A thousand agents that share one limit, in one process and over eight.

    uv run python benchmarks/shared_limit.py [--agents 1000] [--calls 500] [--processes 8]

Every agent asks for one call after the other until it is refused for good. A call is held at 100
tokens and billed 60, so that the limit, that of `--calls` bills, is reached while many are in
flight. Prints how many calls went out, what was spent and what was left: nothing may be above the
limit, and less than one hold may be left.
"""

from __future__ import annotations

import argparse
import os
import random
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import anyio
from sashizu_budget.ledger import Ledger
from sashizu_core.errors import BudgetRefused
from sashizu_core.protocols import BudgetNode, Busy, Refused
from sashizu_core.types import Amount, Limits

HELD, BILLED = 100, 60


async def agent(node: BudgetNode, out: list[int], seed: int) -> None:
    """Call until nothing fits any more."""
    chance = random.Random(seed)
    amount = Amount(tokens=HELD, requests=1)
    while True:
        hold = node.reserve(amount)
        if isinstance(hold, Refused):
            return
        if isinstance(hold, Busy):
            try:
                await node.room(amount)
            except BudgetRefused:
                return
            continue
        await anyio.sleep(chance.uniform(0.001, 0.01))
        hold.settle(Amount(tokens=BILLED, requests=1))
        out.append(BILLED)


async def agents(node: BudgetNode, count: int) -> list[int]:
    out: list[int] = []
    async with anyio.create_task_group() as group:
        for number in range(count):
            group.start_soon(agent, node.open(f"agent-{number}", Limits()), out, number)
    return out


def told(what: str, calls: int, spent: int, limit: int, seconds: float) -> None:
    print(
        f"{what:16} {calls} calls, {spent} of {limit} tokens spent, {max(0, spent - limit)} over, "
        f"{limit - spent} left (a hold is {HELD}), {seconds:.2f} s"
    )


def in_one(count: int, limit: int) -> None:
    root = Ledger().root("run", Limits(tokens=limit))
    before = time.perf_counter()
    out = anyio.run(agents, root, count)
    told("one process", len(out), root.state().spent.tokens, limit, time.perf_counter() - before)


def over_many(count: int, limit: int, processes: int) -> None:
    with tempfile.TemporaryDirectory() as folder:
        spend = Path(folder, "spend.sqlite")
        ledger = Ledger(spend=spend)
        root = ledger.root("run", Limits(tokens=limit))
        lease = ledger.lease(root, "shared", Limits(tokens=limit))
        assert not isinstance(lease, Busy | Refused)
        before = time.perf_counter()
        started = [
            subprocess.Popen(
                [sys.executable, __file__, "--share", str(spend), "--agents", str(share)],
                env={**os.environ, "SASHIZU_LEASE": lease.lease_id},
                stdout=subprocess.PIPE,
                text=True,
            )
            for share in [count // processes] * processes
        ]
        calls = sum(int(process.communicate()[0]) for process in started)
        lease.settle()
        took = time.perf_counter() - before
        told(f"{processes} processes", calls, root.state().spent.tokens, limit, took)


def shared(spend: str, count: int) -> None:
    """One of the processes: draws on the lease in its environment."""
    leased = Ledger(spend=Path(spend)).redeem(os.environ["SASHIZU_LEASE"])
    out = anyio.run(agents, leased.node, count)
    leased.node.close()
    print(len(out))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--agents", type=int, default=1000)
    parser.add_argument("--calls", type=int, default=500)
    parser.add_argument("--processes", type=int, default=8)
    parser.add_argument("--share", default="", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.share:
        shared(options.share, options.agents)
        return
    limit = options.calls * BILLED
    in_one(options.agents, limit)
    over_many(options.agents, limit, options.processes)


if __name__ == "__main__":
    main()
