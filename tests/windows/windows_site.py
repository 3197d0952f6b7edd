"""Puts our wheels and what they need on Windows into a folder, from a machine that is no Windows.

Third parties come as the lock file has them, by digest; ours are built from this checkout.
"""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
PACKAGES = ("core", "cli", "offline", "budget", "audit", "sandbox", "mcp-server", "all")
PLATFORM = ("--python-platform", "x86_64-pc-windows-msvc", "--python-version", "3.11")
LIMIT = 300.0  # seconds, for one command


def uv() -> str:
    """The program.

    Raises:
        RuntimeError: it is not there.
    """
    found = os.environ.get("UV") or shutil.which("uv") or str(ROOT / ".uv/bin/uv")
    if not Path(found).exists():
        raise RuntimeError("uv is not there: python3 -m pip install -q --target .uv uv")
    return found


def put_together(python: Path, folder: Path) -> Path:
    """A copy of this Windows Python in that folder, with our packages and what they need.

    Raises:
        CalledProcessError: a wheel cannot be built or had, or is not the one of the lock file.
    """
    names = [_name(package) for package in PACKAGES]
    of = [word for name in names for word in ("--package", name)]
    new = folder / "python"
    shutil.copytree(python, new)
    asked, wheels, site = folder / "asked.txt", folder / "wheels", new / "Lib/site-packages"
    export = ("export", "-q", "--frozen", "--no-default-groups", "--group", "test")
    _run(*export, *of, "--no-emit-workspace", "-o", str(asked))
    into = ("pip", "install", "-q", "--target", str(site), "--no-deps", *PLATFORM)
    _run(*into, "--only-binary", ":all:", "--require-hashes", "-r", str(asked))
    for name in names:
        _run("build", "-q", "--wheel", "--package", name, "-o", str(wheels))
    _run(*into, *map(str, sorted(wheels.glob("*.whl"))))
    return new


def _name(package: str) -> str:
    return "sashizu" if package == "all" else f"sashizu-{package}"


def _run(*words: str) -> None:
    subprocess.run([uv(), *words], cwd=ROOT, check=True, timeout=LIMIT)
