"""`_winrt` against the real projections: the same names and types, as a type checker sees them."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

MEMBER = Path(__file__).parents[1]
PACKAGES = MEMBER.parent

pytestmark = pytest.mark.network


def fetched(folder: Path) -> Path:
    """The projections that this member declares for Windows, unpacked."""
    declared = tomllib.loads((MEMBER / "pyproject.toml").read_text())["project"]["dependencies"]
    wanted = [line.split(";")[0].strip() for line in declared if line.startswith("winrt-")]
    assert len(wanted) >= 5
    uv = os.environ.get("UV") or shutil.which("uv") or str(PACKAGES.parent / ".uv/bin/uv")
    subprocess.run(
        [
            *(uv, "pip", "install", "-q", "--no-deps", "--only-binary", ":all:"),
            *("--python-platform", "x86_64-pc-windows-msvc", "--python-version", "3.12"),
            *("--target", str(folder), "winrt-windows-foundation-collections", *wanted),
        ],
        check=True,
        timeout=300,
    )
    return folder


def faults(source: Path, projections: Path, tmp_path: Path) -> list[str]:
    """What mypy says of the module, as on Windows; not what it says of other files."""
    settings = tmp_path / "mypy.ini"
    settings.write_text(
        f"[mypy]\nstrict = true\nplatform = win32\npython_version = 3.12\n"
        f"follow_imports = silent\ncache_dir = {tmp_path / 'cache'}\n"
        f"mypy_path = {projections}:{PACKAGES / 'core/src'}:{MEMBER / 'src'}\n"
    )
    told = subprocess.run(
        [sys.executable, "-m", "mypy", "--config-file", str(settings), str(source)],
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
    assert told.returncode in (0, 1), told.stdout + told.stderr
    return [line for line in told.stdout.splitlines() if re.match(rf".*{source.name}:\d+: e", line)]


def test_the_backend_fits_the_real_projections_and_a_wrong_name_would_be_found(tmp_path):
    projections = fetched(tmp_path / "projections")
    source = MEMBER / "src/sashizu_winai/_winrt.py"

    assert faults(source, projections, tmp_path) == []

    wrong = tmp_path / "wrong.py"
    wrong.write_text(source.read_text().replace("create_text_entity", "create_txt_entity"))
    found = faults(wrong, projections, tmp_path)
    assert any("create_txt_entity" in line for line in found), found
