"""What the manual says of the services of a cluster is what systemd takes."""

import re
import shutil
import subprocess
from pathlib import Path

import pytest

PAGE = Path(__file__).parents[1] / "docs/how-to/operate-a-cluster.md"
UNITS = re.findall(
    r"^```ini\n# (\S+)\n(.*?)^```$", PAGE.read_text("utf-8"), re.DOTALL | re.MULTILINE
)


@pytest.mark.skipif(shutil.which("systemd-analyze") is None, reason="systemd-analyze is missing")
@pytest.mark.parametrize(("name", "unit"), UNITS, ids=[name for name, _ in UNITS])
def test_systemd_takes_the_unit(name: str, unit: str, tmp_path: Path) -> None:
    there = unit.replace("/usr/local/bin/sashizu worker", "/bin/true worker")
    there = there.replace("User=sashizu", "User=daemon").replace("/srv/repository", str(tmp_path))
    file = tmp_path / name
    file.write_text(there, "utf-8")

    done = subprocess.run(
        ["systemd-analyze", "verify", str(file)],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )

    assert (done.returncode, done.stderr) == (0, "")


def test_a_worker_that_lost_its_slot_is_started_again_and_one_that_is_asked_to_end_may_finish():
    ((_, unit),) = UNITS

    assert "Restart=always" in unit
    stop = re.search(r"TimeoutStopSec=(\d+)", unit)
    assert stop is not None
    assert int(stop[1]) > 30, "the default of --grace"
