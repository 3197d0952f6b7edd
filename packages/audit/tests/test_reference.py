"""The reference names every kind, column and view, and nothing else."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from sashizu_audit import AuditStore
from sashizu_audit.store import VIEWS
from sashizu_core.events import COLUMNS, DURABLE_KINDS, KINDS

PAGE = Path(__file__).parents[3] / "docs/reference/events-and-views.md"


@pytest.fixture(scope="module")
def page() -> str:
    if not PAGE.exists():
        pytest.skip("the manual is not part of an installed package")
    return PAGE.read_text("utf-8")


def test_every_kind_is_explained_and_the_durable_ones_are_marked(page: str) -> None:
    rows = re.findall(r"^\| `([a-z_]+\.[a-z_]+)` \| (.+?) \|(.*)\|$", page, re.MULTILINE)
    assert {kind: text for kind, text, _ in rows} == dict(KINDS)
    assert {kind for kind, _, mark in rows if "●" in mark} == DURABLE_KINDS


def test_every_column_is_listed_with_its_type(page: str) -> None:
    rows = re.findall(r"^\| `([a-z0-9_]+)` \| ([A-Z\[\]]+) \| .+ \|$", page, re.MULTILINE)
    assert dict(rows) == dict(COLUMNS)


@pytest.mark.parametrize("view", VIEWS[1:])
def test_every_view_lists_its_columns(page: str, view: str, tmp_path: Path) -> None:
    _, _, rest = page.partition(f"### {view}\n")
    section, _, _ = rest.partition("\n###")
    listed = re.findall(r"`([a-z0-9_]+)`", section.split("Columns: ")[1])
    assert tuple(listed) == AuditStore(tmp_path).query(f"FROM {view}").columns
