"""Names of files from collections of attacks: none leads out, to read or to write."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import pytest
from sashizu_core.errors import ToolError
from sashizu_core.workspace import Workspace

ATTACKS = json.loads((Path(__file__).parent / "data" / "path_attacks.json").read_text("utf-8"))
NAMES = [*ATTACKS["public"]["names"], *ATTACKS["own"]["names"]]
BAIT = b"what lies outside"


@pytest.fixture
def work(tmp_path: Path) -> Iterator[Workspace]:
    for place in ("bait", "work-evil/bait", "etc/passwd", "web.config"):
        (tmp_path / place).parent.mkdir(exist_ok=True)
        (tmp_path / place).write_bytes(BAIT)
    folder = tmp_path / "work"
    (folder / "sub").mkdir(parents=True)
    (folder / "a.txt").write_bytes(b"inside")
    (folder / "link-out").symlink_to("../bait")
    (folder / "link-abs").symlink_to("/etc/passwd")
    (folder / "sub" / "link-up").symlink_to("../..")
    with Workspace.open(folder) as workspace:
        yield workspace


def state(folder: Path, workspace: Path) -> dict[str, bytes]:
    """Every file outside of the workspace."""
    return {
        str(path): path.read_bytes()
        for path in folder.rglob("*")
        if path.is_file() and not path.is_symlink() and workspace not in path.parents
    }


def test_there_are_enough_of_them_and_half_are_public() -> None:
    public = len(ATTACKS["public"]["names"])
    assert len(set(NAMES)) >= 150
    assert public * 2 >= len(NAMES)


@pytest.mark.parametrize("name", NAMES, ids=lambda name: ascii(name)[:60])
def test_no_name_leads_out(work: Workspace, tmp_path: Path, name: str) -> None:
    before = state(tmp_path, work.root)
    try:
        found = work.read_bytes(name)
    except ToolError:
        found = b""
    assert found in (b"", b"inside")
    with suppress(ToolError):
        assert work.read_at_once(name, 100) in (None, found)
    with suppress(ToolError):
        work.write_bytes(name, b"by an agent")
    assert state(tmp_path, work.root) == before
    assert work.name("a.txt") == "a.txt"  # it can still be used
