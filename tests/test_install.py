"""From nothing to a run: a release, its wheels as a tool, and a fresh clone."""

import hashlib
import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
pytestmark = pytest.mark.network
KEPT_OUT = ("HOME", "PYTEST_", "SASHIZU_", "UV", "VIRTUAL_ENV", "XDG_", "PYTHONPATH")


def clean(home: Path, **more: str) -> dict[str, str]:
    """The environment of somebody who has never been here."""
    home.mkdir(exist_ok=True)
    kept = {name: text for name, text in os.environ.items() if not name.startswith(KEPT_OUT)}
    return {**kept, "HOME": str(home), **more}


def run(words: list[str], folder: Path, env: dict[str, str]) -> str:
    done = subprocess.run(words, cwd=folder, env=env, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def uv() -> str:
    found = os.environ.get("UV") or shutil.which("uv") or str(ROOT / ".uv" / "bin" / "uv")
    assert Path(found).exists()
    return found


def version() -> str:
    text = (ROOT / "packages/all/pyproject.toml").read_text("utf-8")
    found = re.search(r'^version = "(.+)"$', text, re.MULTILINE)
    assert found is not None
    return found[1]


def test_a_release_installs_as_a_tool_and_runs(tmp_path):
    dist, home = tmp_path / "dist", tmp_path / "home"
    building = {**os.environ, "UV": uv(), "SASHIZU_RELEASE_DIRTY": "1"}
    run(["scripts/release", str(dist)], ROOT, building)
    sums = dict(line.split()[::-1] for line in (dist / "SHA256SUMS").read_text().splitlines())
    members = len(list(ROOT.glob("packages/*/pyproject.toml")))
    assert len(sums) == 2 * members
    for name, digest in sums.items():
        assert hashlib.sha256((dist / name).read_bytes()).hexdigest() == digest

    env = clean(home)
    run([uv(), "tool", "install", "--find-links", str(dist), "sashizu[openai]"], tmp_path, env)

    sashizu = str(home / ".local" / "bin" / "sashizu")
    assert run([sashizu, "--version"], tmp_path, env) == f"sashizu {version()}\n"
    (tmp_path / "shop.py").write_text("def pay(cents=[]):\n    cents.append(1)\n")
    words = ["delegate", "code-reviewer", "--scope", "shop.py", "-o", "report.json"]
    assert "shop.py:" in run([sashizu, *words], tmp_path, env)
    assert json.loads((tmp_path / "report.json").read_text())["success_count"] == 1
    assert "code-reviewer" in run([sashizu, "audit", "show", "last"], tmp_path, env)


def pythons() -> list[str]:
    """Folders whose `python3` has pip: ours first, then the system's, which may be managed."""
    found = []
    for folder in (Path(sys.base_prefix, "bin"), Path("/usr/bin")):
        python = folder / "python3"
        asks = "import sys, pip; sys.exit(sys.version_info < (3, 11))"
        if python.exists() and not subprocess.run([python, "-c", asks], check=False).returncode:
            found.append(str(folder))
    return found


@pytest.mark.parametrize("folder", pythons())
def test_the_first_command_of_the_readme_works_in_a_fresh_clone(tmp_path, folder):
    readme = (ROOT / "README.md").read_text("utf-8")
    main_job, tests = re.findall(r"^(python3 -m pip install .*)$", readme, re.MULTILINE)
    env = clean(tmp_path / "home", PATH=f"{folder}:/usr/bin:/bin", GIT_CONFIG_NOSYSTEM="1")
    clone = tmp_path / "clone"
    run(["git", "clone", "--quiet", f"file://{ROOT}", str(clone)], tmp_path, env)

    said = run(["bash", "-ec", main_job], clone, env)

    assert "3 of 3 agents succeeded" in said
    reports = {path.name for path in clone.glob(".sashizu/runs/*/*/*.md")}
    assert reports == {"code-review.md", "security-audit.md", "test-report.md"}
    assert run(["git", "status", "--porcelain"], clone, env) == ""

    said = run(["bash", "-ec", f"{tests} -n 0 tests/test_readme.py"], clone, env)
    assert " passed" in said
