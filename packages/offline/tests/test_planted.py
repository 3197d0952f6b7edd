"""Defects that we planted, and code that only looks like them."""

import json
from pathlib import Path

import pytest
from sashizu_core.workspace import Workspace
from sashizu_offline.findings import Finding
from sashizu_offline.sources import read_sources
from sashizu_offline.survey import survey

PLANTED = Path(__file__).parent / "data" / "planted"
LEAST_RECALL = 0.8
# Made here, so that no file of ours looks as if it held a credential.
TOKENS = {"@@GITHUB@@": "ghp_" + "aB3dE6gH9" * 4, "@@AWS@@": "AKIA" + "Q7ZP2MXL4TKD6WNB"}


def planted(name: str, folder: Path) -> Path:
    """The files under their real names: `a__b.py.txt` is `a/b.py`."""
    for file in (PLANTED / name).iterdir():
        target = folder / file.name.removesuffix(".txt").replace("__", "/")
        target.parent.mkdir(parents=True, exist_ok=True)
        text = file.read_text()
        for mark, token in TOKENS.items():
            text = text.replace(mark, token)
        target.write_text(text)
    return folder


async def findings(root: Path) -> list[Finding]:
    with Workspace.open(root) as workspace:
        sources = read_sources(workspace, ["."], lambda path: True)
        return (await survey(sources, ("review", "security"))).findings


async def test_planted_defects_are_found(tmp_path: Path) -> None:
    root = planted("defects", tmp_path)
    expected = json.loads((PLANTED / "planted.json").read_text())
    assert len(expected) >= 40
    found = {(f.path, f.line, f.rule) for f in await findings(root)}
    missed = []
    for path, anchor, rule in expected:
        lines = (root / path).read_text().splitlines()
        places = [number for number, line in enumerate(lines, 1) if anchor in line]
        assert places, f"{anchor!r} is not in {path}"
        if not any((path, number, rule) in found for number in places):
            missed.append((path, anchor, rule))
    assert 1 - len(missed) / len(expected) >= LEAST_RECALL, missed


async def test_nothing_is_found_beside_the_planted_defects(tmp_path: Path) -> None:
    root = planted("defects", tmp_path)
    expected = {
        (path, rule) for path, _, rule in json.loads((PLANTED / "planted.json").read_text())
    }
    assert [f for f in await findings(root) if (f.path, f.rule) not in expected] == []


async def test_decoys_are_left_alone(tmp_path: Path) -> None:
    assert await findings(planted("decoys", tmp_path)) == []


@pytest.mark.parametrize("token", sorted(TOKENS.values()))
async def test_a_secret_is_never_quoted(token: str, tmp_path: Path) -> None:
    for finding in await findings(planted("defects", tmp_path)):
        assert token not in finding.message
        assert "Winter2024" not in finding.message
