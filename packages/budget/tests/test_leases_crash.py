"""Random trees of real processes on leases, killed at random: no limit is ever exceeded."""

from __future__ import annotations

import json
import os
import random
import sqlite3
import subprocess
import sys
import time
from collections.abc import Mapping
from contextlib import closing
from pathlib import Path

import pytest
from sashizu_budget.ledger import Ledger
from sashizu_core.protocols import Busy, Refused
from sashizu_core.types import Limits

PROCESS = Path(__file__).with_name("lease_process.py")
LIMITS = Limits(tokens=20_000, requests=150)

pytestmark = pytest.mark.crash


def run_tree(folder: Path, seed: int) -> Ledger:
    """One tree: a root with a lease, some processes on it, until none of them is left."""
    chance = random.Random(seed)
    spend, log = folder / "spend.sqlite", folder / "log"
    log.touch()
    ledger = Ledger(spend=spend)
    root = ledger.root("run", LIMITS)
    lease = ledger.lease(root, "tree", LIMITS, depth=4)
    assert not isinstance(lease, Busy | Refused)
    processes = [
        subprocess.Popen(
            [sys.executable, str(PROCESS), str(spend), str(log), str(chance.randrange(10**9))],
            env={**os.environ, "SASHIZU_LEASE": lease.lease_id},
            start_new_session=True,
        )
        for _ in range(3)
    ]
    groups = [process.pid for process in processes]
    for process in processes:
        process.wait(60)
    # Orphans of those that died still work: the tree is at its end when none is left.
    limit = time.monotonic() + 60
    while any(group_lives(group) for group in groups):
        assert time.monotonic() < limit, "processes of the tree are left"
    spent = lease.settle()
    state = root.state()
    assert state.held.tokens == 0
    assert state.spent == spent
    assert state.overrun.tokens == 0
    return ledger


def group_lives(group: int) -> bool:
    try:
        os.killpg(group, 0)
    except ProcessLookupError:
        return False
    return True


def rows(spend: Path, query: str) -> list[tuple[object, ...]]:
    with closing(sqlite3.connect(spend)) as db, db:
        return db.execute(query).fetchall()


def check_history(spend: Path) -> int:
    """`spent + held <= limit` after every movement of every lease; how many there were."""
    found = rows(
        spend,
        "SELECT m.kind, m.held, m.spent, l.limit_tokens, l.limit_requests FROM movement m "
        "JOIN lease l ON l.id = m.lease ORDER BY m.seq",
    )
    for _kind, held, spent, tokens, requests in found:
        taken = [h + s for h, s in zip(json.loads(str(held)), json.loads(str(spent)), strict=True)]
        assert taken[0] <= int(str(tokens))
        assert taken[2] <= int(str(requests))
    return len(found)


def check_bills(spend: Path, log: Path) -> None:
    """What providers billed on a lease and below is in its row, and so within its limit."""
    billed: dict[str, int] = {}
    calls: dict[str, int] = {}
    for line in log.read_text("ascii").splitlines():
        lease_id, cost = line.split()
        billed[lease_id] = billed.get(lease_id, 0) + int(cost)
        calls[lease_id] = calls.get(lease_id, 0) + 1
    leases: Mapping[str, tuple[object, ...]] = {
        str(row[0]): row[1:]
        for row in rows(
            spend, "SELECT id, parent, spent_tokens, spent_requests, held_tokens FROM lease"
        )
    }

    def below(lease_id: str, of: dict[str, int]) -> int:
        children = [each for each, row in leases.items() if row[0] == lease_id]
        return of.get(lease_id, 0) + sum(below(child, of) for child in children)

    for lease_id, (_parent, tokens, requests, held) in leases.items():
        assert below(lease_id, billed) <= int(str(tokens))
        assert below(lease_id, calls) <= int(str(requests))
        assert held == 0


@pytest.mark.parametrize("seed", range(12))
def test_no_level_is_exceeded_whoever_dies(tmp_path: Path, seed: int) -> None:
    run_tree(tmp_path, seed)
    spend = tmp_path / "spend.sqlite"
    assert check_history(spend) > 10
    check_bills(spend, tmp_path / "log")
    with closing(sqlite3.connect(spend)) as db, db:
        assert db.execute("PRAGMA integrity_check").fetchone() == ("ok",)


def test_the_trees_have_what_they_are_there_for(tmp_path: Path) -> None:
    """Over some seeds there are deaths, shares of shares, and leases that several drew on."""
    kinds: set[object] = set()
    shared = deep = 0
    for seed in range(100, 106):
        folder = tmp_path / str(seed)
        folder.mkdir()
        run_tree(folder, seed)
        spend = folder / "spend.sqlite"
        kinds |= {row[0] for row in rows(spend, "SELECT DISTINCT kind FROM movement")}
        shared += len(
            rows(
                spend,
                "SELECT lease FROM movement WHERE kind = 'drawn' GROUP BY lease "
                "HAVING count(DISTINCT chunk) > 1",
            )
        )
        deep += len(
            rows(
                spend,
                "SELECT c.id FROM lease c JOIN lease p ON c.parent = p.id "
                "WHERE p.parent IS NOT NULL",
            )
        )
    assert {"given", "redeemed", "drawn", "booked", "left", "settled"} <= kinds
    assert kinds & {"died", "charged"}
    assert shared
    assert deep
