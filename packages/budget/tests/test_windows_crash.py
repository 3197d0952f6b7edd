"""Processes that spend at once, with clocks that jump, killed at random: no window is exceeded."""

from __future__ import annotations

import json
import random
import sqlite3
import subprocess
import sys
from contextlib import closing
from pathlib import Path

import pytest
from sashizu_budget.spend_connection import SpendFile
from sashizu_budget.windows import Windows
from sashizu_core.types import Limits

PROCESS = Path(__file__).with_name("window_process.py")
NOON_NS = 1_795_262_400 * 10**9
DAY = Limits(tokens=12_000, requests=60)
PROJECT = Limits(tokens=40_000)

pytestmark = pytest.mark.crash


def spent_by(folder: Path, seed: int) -> tuple[Windows, list[int]]:
    """Let some processes spend; returns the windows and what providers billed."""
    chance = random.Random(seed)
    spend, log = folder / "spend.sqlite", folder / "log"
    log.touch()
    windows = Windows(SpendFile(spend, now_ns=lambda: NOON_NS), "/project")
    windows.set("day", DAY)
    windows.set("project", PROJECT)
    for _ in range(2):
        seeds = [str(chance.randrange(10**9)) for _ in range(4)]
        processes = [
            subprocess.Popen(
                [sys.executable, str(PROCESS), str(spend), str(log), each, str(NOON_NS)]
            )
            for each in seeds
        ]
        for process in processes:
            assert process.wait(60) in (0, -9)
    return windows, [int(line) for line in log.read_text("ascii").split()]


def movements(folder: Path) -> list[tuple[str, dict[str, list[object]]]]:
    with closing(sqlite3.connect(folder / "spend.sqlite")) as db, db:
        found = db.execute("SELECT kind, windows FROM window_movement ORDER BY seq").fetchall()
    return [(kind, json.loads(windows)) for kind, windows in found]


@pytest.mark.parametrize("seed", range(10))
def test_no_window_is_exceeded_whoever_dies(tmp_path: Path, seed: int) -> None:
    windows, billed = spent_by(tmp_path, seed)
    stands = {stand.scope: stand for stand in windows.now().stands}
    moved = movements(tmp_path)
    assert len(moved) > 20
    days = []
    for _kind, after in moved:
        for _key, limits, held, spent in after.values():
            for i, limit in enumerate(limits):  # type: ignore[arg-type,var-annotated]
                if limit is not None:
                    assert held[i] + spent[i] <= limit  # type: ignore[index]
        days.append(str(after["day"][0]))
    project = stands["project"]
    assert not any(project.held)
    assert sum(billed) <= project.spent[0] <= 40_000
    assert len(billed) <= project.spent[2]
    assert len(windows.days(100)) >= 1
    assert sum(day.spent[0] for day in windows.days(100)) == project.spent[0]


def test_the_processes_die_and_meet_other_days(tmp_path: Path) -> None:
    """What the tests above are there for does happen."""
    kinds: set[str] = set()
    days: set[object] = set()
    for seed in range(20, 23):
        folder = tmp_path / str(seed)
        folder.mkdir()
        spent_by(folder, seed)
        moved = movements(folder)
        kinds |= {kind for kind, _after in moved}
        days |= {after["day"][0] for _kind, after in moved}
    assert {"drawn", "booked", "moved", "died"} <= kinds
    assert len(days) > 1
