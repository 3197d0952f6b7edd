"""What a reservation and its settlement cost in process, plain and below windows of spend.

    uv run python benchmarks/reserve.py [--rounds 5] [--seconds 1]

A run alone, and a tree of three levels, with limits on each. Windows lie on a disk; what a process
draws from them is there before anything is reserved. The cases take turns in shuffled order; each
goes on for as long as it is told, so that what happens four times a second is in the figure.
"""

from __future__ import annotations

import tempfile
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import cast

from _bench import interleaved, keep, median, parser, table
from sashizu_budget.ledger import Ledger
from sashizu_budget.spend_connection import SpendFile
from sashizu_budget.windows import Windows
from sashizu_core.protocols import BudgetNode, Hold
from sashizu_core.types import Amount, Limits

ASKED, BILLED = Amount(1000, 5000, 1), Amount(400, 2000, 1)


def calls(node: BudgetNode, seconds: float) -> dict[str, float]:
    """How many there are in a second by the clock, and in a second of CPU."""
    reserve = cast(Callable[[Amount], Hold], node.reserve)  # a refusal cannot be settled
    made, begun, used = 0, time.perf_counter(), time.process_time()
    while time.perf_counter() - begun < seconds:
        for _ in range(1000):
            reserve(ASKED).settle(BILLED)
        made += 1000
    wall, cpu = time.perf_counter() - begun, time.process_time() - used
    return {"a second": made / wall, "a second of CPU": made / cpu}


def main() -> None:
    flags = parser(__doc__, rounds=5)
    flags.add_argument("--seconds", type=float, default=1.0)
    asked = flags.parse_args()
    with tempfile.TemporaryDirectory(prefix="sashizu-reserve-") as found:
        folder = Path(found)
        spend = folder / "spend.sqlite"
        Windows(SpendFile(spend), found).set("day", Limits(tokens=10**12, nusd=10**15))
        ledgers = {
            "": Ledger(spend=folder / "none"),
            " below windows": Ledger(spend=spend, project=folder),
        }
        cases = {}
        for name, ledger in ledgers.items():
            run = ledger.root("run", Limits(tokens=10**12, nusd=10**15))
            share = run.open("agent", Limits(tokens=10**12)).open("share", Limits(requests=10**9))
            cases[f"one level{name}"] = partial(calls, run, asked.seconds)
            cases[f"three levels{name}"] = partial(calls, share, asked.seconds)
        rounds = interleaved(cases, asked.rounds)
        for ledger in ledgers.values():
            ledger.close()
    rows = [
        (
            name,
            median(samples, "a second"),
            median(samples, "a second of CPU"),
            median(samples, "a second of CPU")
            / median(rounds[name.partition(" below")[0]], "a second of CPU"),
        )
        for name, samples in rounds.items()
    ]
    head = ("reserve and settle", "a second", "a second of CPU", "x without windows")
    table(f"Medians of {asked.rounds} rounds of {asked.seconds:g} s", head, rows)
    keep(asked.json, rounds)


if __name__ == "__main__":
    main()
