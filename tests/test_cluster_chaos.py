"""A minute of killed workers and a server that is cut down; `scripts/long` has the long one."""

import json
import subprocess
import sys
from pathlib import Path

import pytest
from sashizu_cluster.testing import missing_postgres

PROGRAM = Path(__file__).parents[1] / "benchmarks/cluster_chaos.py"


@pytest.mark.crash
@pytest.mark.skipif(bool(missing_postgres()), reason=missing_postgres())
def test_runs_end_whole_whoever_is_killed_and_whatever_fails(tmp_path: Path) -> None:
    figures = tmp_path / "figures"
    words = ("--agents", "50", "--steps", "10", "--kills", "4", "--restarts", "1")
    more = ("--latency", "0.3", "--minutes", "8", "--json", str(figures))

    done = subprocess.run(
        [sys.executable, str(PROGRAM), *words, *more],
        capture_output=True,
        text=True,
        timeout=600,
        check=False,
    )

    assert done.returncode == 0, done.stdout + done.stderr[-3000:]
    found = json.loads(figures.read_text("utf-8"))
    assert found["works begun again"] > 0
    assert sum(found["outcomes"].values()) == 50
