"""Programs that npm brings, installed once and kept for the next time."""

import os
import platform
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from platformdirs import user_cache_path
from sashizu_cluster.testing import TemporaryPostgres, missing_postgres, temporary_postgres

CODEX = "0.169.0"
NODE = "24.14.1"
NODE_AT_LEAST = (22, 19, 0)

Installer = Callable[[str, str], Path]


@pytest.fixture(scope="session")
def from_npm() -> Installer:
    """Gives the folder in which npm has installed a package of a version."""

    def install(package: str, version: str) -> Path:
        name = package.rsplit("/", 1)[-1]
        folder = user_cache_path("sashizu-tests") / f"{name}-{version}"
        if not (folder / "node_modules" / package / "package.json").exists():
            npm = shutil.which("npm")
            if npm is None:
                pytest.skip(f"npm is not installed, which brings {package}")
            folder.mkdir(parents=True, exist_ok=True)
            words = [npm, "install", "--silent", "--no-fund", "--no-audit", "--prefix"]
            subprocess.run([*words, str(folder), f"{package}@{version}"], check=True, timeout=600)
        return folder

    return install


@pytest.fixture(scope="session")
def codex(from_npm: Installer) -> Path:
    """The program itself, without the script that npm puts before it."""
    folder = from_npm("@openai/codex", CODEX)
    return min(folder.glob("node_modules/@openai/*/vendor/*/bin/codex"))


@pytest.fixture(scope="session")
def node(from_npm: Installer) -> Path:
    """A Node that is new enough; where the system's is older, npm brings one."""
    found = shutil.which("node")
    if found is not None:
        told = subprocess.run([found, "--version"], capture_output=True, text=True, check=True)
        if tuple(map(int, told.stdout.strip().removeprefix("v").split("."))) >= NODE_AT_LEAST:
            return Path(found)
    machine = {"x86_64": "x64", "amd64": "x64", "aarch64": "arm64"}.get(
        platform.machine().lower(), platform.machine().lower()
    )
    package = f"node-{sys.platform}-{machine}"
    return from_npm(package, NODE) / "node_modules" / package / "bin" / "node"


@pytest.fixture(scope="session")
def postgres() -> Iterator[TemporaryPostgres]:
    """A real PostgreSQL, the same for all tests of the session."""
    if reason := missing_postgres():
        if os.environ.get("CI"):
            pytest.fail(reason)
        pytest.skip(reason)
    with temporary_postgres() as server:
        yield server
