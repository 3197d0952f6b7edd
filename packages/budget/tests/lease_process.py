"""A process of the tree in `test_leases_crash`: it redeems a lease, spends, starts others, may die.

`python lease_process.py SPEND LOG SEED`, with the lease in the environment. Each call of a provider
is a line of the log, written before its bill is booked: a process that dies in between did spend.
"""

from __future__ import annotations

import os
import random
import subprocess
import sys
from pathlib import Path

from sashizu_budget.leases import LeasedNode
from sashizu_budget.ledger import Ledger
from sashizu_core.errors import SashizuError
from sashizu_core.protocols import BudgetNode, Busy, Refused
from sashizu_core.types import Amount, Limits


class Process:
    def __init__(self, spend: str, log: str, seed: int) -> None:
        self.arguments = (spend, log)
        self.random = random.Random(seed)
        self.ledger = Ledger(spend=Path(spend))
        self.log = os.open(log, os.O_WRONLY | os.O_APPEND)
        # One process in three dies somewhere on its way.
        self.steps_to_live = self.random.randrange(40) if self.random.random() < 0.35 else 10**9

    def step(self) -> None:
        self.steps_to_live -= 1
        if self.steps_to_live < 0:
            os.kill(os.getpid(), 9)

    def bill(self, node: BudgetNode, lease_id: str) -> None:
        """One call: held, sent, booked."""
        hold = node.reserve(Amount(tokens=self.random.randint(1, 900), requests=1))
        self.step()
        if isinstance(hold, Busy | Refused):
            return
        cost = self.random.randint(0, hold.amount.tokens)
        os.write(self.log, f"{lease_id} {cost}\n".encode())
        self.step()
        if self.random.random() < 0.1:
            hold.charge()
        else:
            hold.settle(Amount(tokens=cost, requests=1))
        self.step()

    def start(self, node: BudgetNode) -> tuple[subprocess.Popen[bytes], object] | None:
        """Give a share to one or two processes."""
        limits = Limits(tokens=self.random.randint(500, 6000), requests=self.random.randint(2, 40))
        try:
            lease = self.ledger.lease(node, "child", limits, depth=5)
        except SashizuError:
            return None
        self.step()
        if isinstance(lease, Busy | Refused):
            return None
        process = None
        for _ in range(self.random.choice([1, 1, 2])):
            seed = str(self.random.randrange(10**9))
            process = subprocess.Popen(
                [sys.executable, __file__, *self.arguments, seed],
                env={**os.environ, "SASHIZU_LEASE": lease.lease_id},
            )
            if self.random.random() < 0.2:
                process.kill()
            self.children.append(process)
        assert process is not None
        return process, lease

    def run(self) -> None:
        self.children: list[subprocess.Popen[bytes]] = []
        try:
            node = self.ledger.redeem(os.environ["SASHIZU_LEASE"]).node
        except SashizuError:
            return
        assert isinstance(node, LeasedNode)
        agent = node.open("agent", Limits(tokens=self.random.randint(1000, 20_000)))
        given: list[tuple[subprocess.Popen[bytes], object] | None] = []
        for _ in range(self.random.randint(3, 25)):
            self.step()
            if self.random.random() < 0.12 and len(given) < 2:
                given.append(self.start(agent))
            else:
                self.bill(agent, node.lease_id)
        for process in self.children:
            process.wait()
        for each in given:
            if each is not None and self.random.random() < 0.8:
                each[1].settle()  # type: ignore[attr-defined]
                self.step()
        agent.close()
        node.close()


if __name__ == "__main__":
    Process(sys.argv[1], sys.argv[2], int(sys.argv[3])).run()
