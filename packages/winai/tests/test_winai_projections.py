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
    assert len(wanted) >= 8
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


RIGHT_AND_WRONG = {
    "_winrt.py": ("create_action_feedback", "make_action_feedback"),
    "_winrt_classes.py": ("import as_interface", "import to_interface"),
    "_winrt_entities.py": ("create_text_entity", "create_txt_entity"),
    "_winrt_filter.py": ("def on_message(", "def on_text("),
    "_winrt_hosting.py": ("set_output_entity", "put_output_entity"),
    "_winrt_providers.py": ("find_all_providers", "find_providers"),
    "_winrt_unlocking.py": ("try_unlock_feature", "unlock_feature"),
}
"""Of each module a name, and what it is mistaken for."""


def test_the_edges_fit_the_real_projections_and_a_wrong_name_would_be_found(tmp_path):
    projections = fetched(tmp_path / "projections")
    folder = MEMBER / "src/sashizu_winai"
    assert sorted(one.name for one in folder.glob("_winrt*.py")) == sorted(RIGHT_AND_WRONG)

    for name, (right, mistaken) in RIGHT_AND_WRONG.items():
        source = folder / name
        assert faults(source, projections, tmp_path) == []

        wrong = tmp_path / "wrong.py"
        wrong.write_text(source.read_text().replace(right, mistaken))
        assert faults(wrong, projections, tmp_path), f"{mistaken} was not found in {name}"
