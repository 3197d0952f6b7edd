"""Programs that npm brings, installed once and kept for the next time."""

import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest
from platformdirs import user_cache_path

CODEX = "0.169.0"

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
