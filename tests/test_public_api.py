"""What users rely on changes only on purpose."""

import json
import re
import subprocess
import sys
from importlib import import_module
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
PINNED = json.loads((ROOT / "tests/data/public_api.json").read_text("utf-8"))
PAGE = (ROOT / "docs/reference/python.md").read_text("utf-8")


@pytest.fixture(scope="module")
def found() -> dict[str, dict[str, object]]:
    ran = subprocess.run(
        [sys.executable, ROOT / "scripts/public-api"], capture_output=True, text=True, check=True
    )
    return json.loads(ran.stdout)


@pytest.mark.parametrize("part", ["names", "events", "schemas"])
def test_what_is_public_is_what_is_pinned(found, part):
    meant = "if that is meant: uv run scripts/public-api >tests/data/public_api.json, and CHANGELOG"
    assert found[part] == PINNED[part], meant


def test_nothing_else_is_pinned(found):
    assert found.keys() == PINNED.keys()


def test_every_public_module_has_its_row():
    assert set(re.findall(r"^\| `([\w.]+)` \|", PAGE, re.MULTILINE)) == PINNED["names"].keys()


@pytest.mark.parametrize("module", PINNED["names"])
def test_every_public_name_is_there_once(module):
    names = PINNED["names"][module]
    assert all(hasattr(import_module(module), name) for name in names)
    assert len(set(names)) == len(names)
