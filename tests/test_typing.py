"""The types that users see: right code passes a strict check, and wrong code is found."""

import re
import subprocess
import sys
from pathlib import Path

HERE = Path(__file__).resolve().parent / "typing"
ERROR = re.compile(r"^[^:]+:(\d+): error: .*\[([a-z-]+)\]$", re.MULTILINE)


def check(name: str, cache: Path) -> tuple[set[tuple[int, str]], str]:
    """The line and code of each error that mypy finds."""
    run = subprocess.run(
        [
            *(sys.executable, "-m", "mypy", "--strict", "--config-file=", f"--cache-dir={cache}"),
            *("--show-error-codes", "--no-color-output", name),
        ],
        cwd=HERE,
        capture_output=True,
        text=True,
        check=False,
    )
    said = run.stdout + run.stderr
    return {(int(line), code) for line, code in ERROR.findall(run.stdout)}, said


def test_right_code_passes_and_wrong_code_is_found(tmp_path):
    right, said = check("api.py", tmp_path)
    assert not right, said
    assert "Success" in said

    wrong, said = check("errors.py", tmp_path)
    lines = (HERE / "errors.py").read_text("utf-8").splitlines()
    marked = {
        (number, code)
        for number, line in enumerate(lines, 1)
        for code in re.findall(r"# E: ([a-z-]+)$", line)
    }
    assert marked
    assert wrong == marked, said
