"""A record with many events: sealed, asked and checked within bounds of memory."""

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

PROGRAM = Path(__file__).parents[1] / "benchmarks/agents/audit_reads.py"
EVENTS = int(os.environ.get("SASHIZU_TEST_EVENTS", "200000"))
MOST_MB = 1024


def step(name: str, place: Path, *words: str) -> dict[str, Any]:
    done = subprocess.run(
        [sys.executable, str(PROGRAM), name, str(place), *words],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    found: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return found


@pytest.mark.bench
def test_many_events_are_sealed_asked_and_checked_in_bounded_memory(tmp_path: Path) -> None:
    written = step("fill", tmp_path, str(EVENTS))["events"]
    found = {name: step(name, tmp_path) for name in ("seal", "verify", "snapshot", "ask")}
    assert found["snapshot"]["events"] >= found["seal"]["events"] >= written >= EVENTS
    assert found["verify"]["events"] == found["snapshot"]["events"]
    assert max(one["peak_mb"] for one in found.values()) < MOST_MB
