"""What `kill -9` at random times takes of a record: nothing that was acknowledged.

    uv run python benchmarks/audit_kills.py [--kills 200] [--writers 16]

Writers write without end, another process seals all the while, and each may be killed at any time.
After every fourth, whoever asks must see every event once, and never fewer than before. Ends with 0
if nothing was lost.
"""

from __future__ import annotations

import argparse
import random
import shutil
import sys
import tempfile
import time
from pathlib import Path

from _acknowledged import COUNTS, Crew, Outcome, outcome
from sashizu_audit import AuditStore
from sashizu_audit.sealing import seal_record

_KILLS_A_QUERY = 4


def main() -> int:
    asked = argparse.ArgumentParser(description=(__doc__ or "").split("\n", maxsplit=1)[0])
    asked.add_argument("--kills", type=int, default=200)
    asked.add_argument("--writers", type=int, default=16)
    asked.add_argument("--seed", type=int, default=random.randrange(2**32))
    found = asked.parse_args()
    print(f"seed {found.seed}")
    place = Path(tempfile.mkdtemp(prefix="audit-kills-"))
    crew = Crew(place / "audit", "written", place)
    try:
        queries = kill(crew, found.kills, found.writers, random.Random(found.seed))
        before = outcome(crew.folder, crew.acknowledged())
        print(f"{found.kills} kills of {crew.started} writers and sealers, {queries} queries")
        print(f"as they were left: {before}")
        seal_record(crew.folder)
        after = outcome(crew.folder, crew.acknowledged())
        print(f"sealed: {after}")
    finally:
        crew.kill_all()
        shutil.rmtree(place)
    return 0 if is_good(before) and is_good(after) and before.acknowledged else 1


def kill(crew: Crew, kills: int, writers: int, chance: random.Random) -> int:
    """Kill so many processes, one after the other; returns how many queries were asked."""
    crew.start_sealer()
    crew.start(writers)
    while len(crew.acknowledged()) < min(writers, 2):
        time.sleep(0.01)
    queries = last = 0
    for number in range(kills):
        time.sleep(chance.random() / 10)
        if crew.kill(chance.randrange(len(crew.processes))):
            crew.start_sealer()
        else:
            crew.start()
        if number % _KILLS_A_QUERY:
            continue
        counts = AuditStore(crew.folder).query(COUNTS).rows[0]
        queries += 1
        if len(set(counts)) != 1 or counts[0] < last:
            raise SystemExit(f"a query saw {counts} after {last}")
        last = counts[0]
    crew.kill_all()
    return queries


def is_good(found: Outcome) -> bool:
    return not found.lost and not found.faults


if __name__ == "__main__":
    sys.exit(main())
