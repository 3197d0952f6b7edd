"""What power cuts take of a record: nothing that somebody waited for.

    uv run python benchmarks/audit_power_cuts.py [--cuts 20] [--writers 4]

A disk in a file is cut off (ext4, `EXT4_IOC_SHUTDOWN` without a flush of its journal) while
processes write and seal, mounted again, and what is there is held against what was acknowledged.
In half of the cuts writers wait for the disk, in the others they do not: those may lose what came
last, and nothing in between. Needs Linux and root; elsewhere it says `unsupported` with the reason,
and ends with 3.
"""

from __future__ import annotations

import argparse
import random
import shutil
import sys
import tempfile
import time
from pathlib import Path

from _acknowledged import Crew, Outcome, outcome
from _ext4 import CutDisk, UnsupportedError
from sashizu_audit.sealing import seal_record


def main() -> int:
    asked = argparse.ArgumentParser(description=(__doc__ or "").split("\n", maxsplit=1)[0])
    asked.add_argument("--cuts", type=int, default=20, help="of each kind")
    asked.add_argument("--writers", type=int, default=4)
    asked.add_argument("--seed", type=int, default=random.randrange(2**32))
    found = asked.parse_args()
    print(f"seed {found.seed}")
    chance = random.Random(found.seed)
    good = True
    try:
        for mode in ("durable", "written"):
            lost = acknowledged = 0
            for number in range(found.cuts):
                seen, sealed = one_cut(mode, found.writers, chance)
                print(f"{mode} {number + 1}: {seen}; sealed: {sealed}")
                good &= is_good(mode, seen) and is_good(mode, sealed)
                lost, acknowledged = lost + seen.lost, acknowledged + seen.acknowledged
            print(f"{mode}: {found.cuts} cuts, {acknowledged} acknowledged, {lost} lost")
    except UnsupportedError as error:
        print(f"unsupported: {error}")
        return 3
    return 0 if good else 1


def one_cut(mode: str, writers: int, chance: random.Random) -> tuple[Outcome, Outcome]:
    """What is left after one cut, and after it was sealed then."""
    place = Path(tempfile.mkdtemp(prefix="audit-cut-"))
    try:
        disk = CutDisk(place)
        crew = Crew(disk.folder / "audit", mode, place)
        try:
            crew.start(writers)
            crew.start_sealer()
            while len(crew.acknowledged()) < writers:
                crew.look()
                time.sleep(0.01)
            time.sleep(chance.random() * 2)
            disk.cut()
            promised = crew.acknowledged()
            crew.kill_all()
            disk.unmount()
            disk.mount()
            seen = outcome(crew.folder, promised)
            seal_record(crew.folder)
            return seen, outcome(crew.folder, promised)
        finally:
            crew.kill_all()
            disk.unmount()
    finally:
        shutil.rmtree(place)


def is_good(mode: str, found: Outcome) -> bool:
    if mode == "durable" and (found.lost or not found.acknowledged):
        return False
    return not found.faults


if __name__ == "__main__":
    sys.exit(main())
