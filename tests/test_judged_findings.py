"""The findings on two public projects, each judged by reading the code."""

import hashlib
import json
import os
import shutil
import subprocess
import sys
import tarfile
from pathlib import Path
from typing import Any

import pytest
from sashizu_core.workspace import Workspace
from sashizu_offline.sources import read_sources
from sashizu_offline.survey import survey

JUDGED = sorted((Path(__file__).parent / "data" / "judged").glob("*.json"))
LEAST_PRECISION = 0.95


@pytest.fixture
def anyio_backend() -> str:
    return "asyncio"


def _pip() -> list[str]:
    """pip, as a module of this Python or through uv."""
    command = [sys.executable, "-m", "pip", "--version"]
    has_pip = subprocess.run(command, capture_output=True, check=False)
    if has_pip.returncode == 0:
        return [sys.executable, "-m", "pip"]
    uv = os.environ.get("UV") or shutil.which("uv")
    assert uv, "fetching the sdists needs pip or uv"
    return [uv, "tool", "run", "--quiet", "pip"]


def _fetched(judged: dict[str, Any], folder: Path) -> Path:
    """The sdist, fetched and compared with its digest, unpacked."""
    wanted = f"{judged['project']}=={judged['version']}"
    flags = ["download", "--quiet", "--no-deps", "--no-binary", ":all:", "--dest", str(folder)]
    done = subprocess.run([*_pip(), *flags, wanted], capture_output=True, text=True, check=False)
    sdist = folder / judged["sdist"]
    assert sdist.exists(), done.stderr
    assert hashlib.sha256(sdist.read_bytes()).hexdigest() == judged["sha256"]
    with tarfile.open(sdist) as archive:
        archive.extractall(folder / "unpacked", filter="data")
    return folder / "unpacked" / judged["sdist"].removesuffix(".tar.gz")


@pytest.mark.network
@pytest.mark.parametrize("file", JUDGED, ids=lambda file: file.stem)
async def test_findings_on_a_public_project_are_true(file: Path, tmp_path: Path) -> None:
    judged = json.loads(file.read_text())
    root = _fetched(judged, tmp_path)
    with Workspace.open(root) as workspace:
        sources = read_sources(workspace, ["."], lambda path: True)
        found = await survey(sources, ("review", "security"))
    verdicts = {(f["path"], f["line"], f["rule"]): f["verdict"] for f in judged["findings"]}
    seen = [(f.path, f.line, f.rule) for f in found.findings]
    assert [place for place in seen if place not in verdicts] == []
    assert [place for place in verdicts if place not in seen] == []
    true = sum(verdicts[place] == "true" for place in seen)
    assert true / len(seen) >= LEAST_PRECISION


def test_every_judgement_has_a_reason() -> None:
    assert len(JUDGED) == 2
    for file in JUDGED:
        for finding in json.loads(file.read_text())["findings"]:
            assert finding["verdict"] in ("true", "false")
            assert len(finding["reason"]) > 10
