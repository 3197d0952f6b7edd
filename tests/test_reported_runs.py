"""A page about a run that really was: the offline model, the real ledger, the real record."""

import os
import subprocess
import sys
from pathlib import Path

import pytest
from warm_programs import Warm

CODE = "def total(prices=[]):\n    return eval(prices)\n"


def sashizu(warm: Warm, folder: Path, *words: str) -> subprocess.CompletedProcess[str]:
    env = {
        "PATH": os.environ["PATH"],
        "HOME": str(folder / "home"),
        "SASHIZU_HOME": str(folder / "state"),
    }
    command = [str(Path(sys.executable).with_name("sashizu")), *words]
    (folder / "work").mkdir(exist_ok=True)
    return warm.run(
        command, cwd=folder / "work", env=env, capture_output=True, text=True, check=False
    )


@pytest.fixture(scope="module")
def recorded(tmp_path_factory: pytest.TempPathFactory, warm: Warm) -> Path:
    folder = tmp_path_factory.mktemp("recorded")
    (folder / "work").mkdir()
    (folder / "work" / "shop.py").write_text(CODE)
    words = ["--scope", "shop.py", "--model", "offline", "--budget", "600000"]
    done = sashizu(warm, folder, "delegate-parallel", "code-reviewer,sec-audit", *words)
    assert done.returncode == 0, done.stderr
    return folder


def test_a_recorded_run_becomes_a_page(recorded, warm):
    done = sashizu(warm, recorded, "report", "last", "-o", "report.html")

    assert done.returncode == 0, done.stderr
    page = (recorded / "work" / "report.html").read_text("utf-8")
    for told in ("code-reviewer", "sec-audit", "of 600,000", "code-review.md", "analyze"):
        assert told in page
    assert page.count('class="model"') == page.count("<td>model</td>") > 0
    assert "<td>0, as the numbers of events tell; writers of this run: 1<" in page


def test_a_page_goes_to_stdout_for_a_dash(recorded, warm):
    done = sashizu(warm, recorded, "report", "-o", "-")

    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith("<!DOCTYPE html>")
    assert done.stdout.endswith("</html>")


@pytest.mark.parametrize("run", ["ffffffff", "nothing"])
def test_a_run_that_is_not_on_record_is_wrong_use(recorded, run, warm):
    done = sashizu(warm, recorded, "report", run, "-o", "-")

    assert done.returncode == 2
    assert f"there is no run {run!r}" in done.stderr
    assert done.stdout == ""


def test_a_record_that_never_began_has_no_run(tmp_path, warm):
    done = sashizu(warm, tmp_path, "report", "-o", "-")

    assert done.returncode == 2
    assert "no run on record" in done.stderr
