"""A short slice of the long runs that kill writers and cut the power of disks."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

BENCHMARKS = Path(__file__).parents[1] / "benchmarks"
pytestmark = pytest.mark.crash


def said(program: str, *words: str) -> str:
    """What a program prints that finds nothing lost; one that cannot be run here is told apart."""
    done = subprocess.run(
        [sys.executable, str(BENCHMARKS / program), *words],
        capture_output=True,
        text=True,
        check=False,
        timeout=500,
    )
    if done.returncode == 3:
        reason = done.stdout.splitlines()[-1]
        assert reason.startswith("unsupported: ")
        pytest.xfail(reason)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def test_killed_writers_and_sealers_lose_nothing_that_was_acknowledged() -> None:
    told = said("audit_kills.py", "--kills", "12", "--writers", "4")
    assert told.count(" 0 lost") == 2


def test_a_power_cut_takes_nothing_that_somebody_waited_for() -> None:
    told = said("audit_power_cuts.py", "--cuts", "1", "--writers", "3")
    assert "durable: 1 cuts" in told
    assert "written: 1 cuts" in told
