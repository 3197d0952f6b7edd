"""A process of `test_windows_crash`: it spends below the windows, and may die at any point.

`python window_process.py SPEND LOG SEED DAY_NS`. Each call of a provider is a line in the log with
what it was billed, which is on disk before the call is settled. The clock of the process begins at
DAY_NS and jumps, forward and back.
"""

from __future__ import annotations

import os
import random
import sys
from pathlib import Path

from sashizu_budget.ledger import Ledger
from sashizu_core.protocols import Busy, Refused
from sashizu_core.types import Amount, Limits

HOUR_NS = 3600 * 10**9


def main() -> None:
    spend, log, seed, day_ns = sys.argv[1:]
    chance = random.Random(int(seed))
    now = [int(day_ns)]
    ledger = Ledger(spend=Path(spend), project=Path("/project"), now_ns=lambda: now[0])
    root = ledger.root("run", Limits())
    agents = [root.open("agent", Limits(tokens=20_000)) for _ in range(3)]
    holds = []
    with open(log, "ab", buffering=0) as file:  # noqa: PTH123 - one write is one line
        for _ in range(chance.randint(10, 60)):
            if chance.random() < 0.02:
                os.kill(os.getpid(), 9)
            if chance.random() < 0.1:
                now[0] += chance.choice([-30, -3, 3, 13]) * HOUR_NS
            hold = chance.choice(agents).reserve(Amount(chance.randint(50, 900), requests=1))
            if isinstance(hold, Busy | Refused):
                if not holds:
                    continue
            else:
                holds.append(hold)
            while holds and chance.random() < 0.6:
                done = holds.pop(chance.randrange(len(holds)))
                if chance.random() < 0.1:
                    done.release()
                    continue
                billed = chance.randint(1, done.amount.tokens)
                file.write(f"{billed}\n".encode())
                os.fsync(file.fileno())
                if chance.random() < 0.02:
                    os.kill(os.getpid(), 9)
                done.settle(Amount(billed, requests=1))
    if chance.random() < 0.7:
        ledger.close()


main()
