"""A record that an earlier version wrote stays readable, and verifies as it did.

`data/record-format-N.zip` is a record of format N with everything in it: writers and their
children, sealed segments and a table, checkpoints, a change of keys, what was dropped and what was
redacted.
These files are never made anew; a new format brings a new one.
"""

from __future__ import annotations

import subprocess
import sys
import zipfile
from pathlib import Path

import pytest
from sashizu_audit import AuditStore, AuditWriter, verify_record
from sashizu_audit.layout import FORMAT
from sashizu_audit.notes import PublicKey, read_notes
from sashizu_audit.rebuilding import rebuild_tables
from sashizu_audit.sealing import seal_record
from sashizu_core.events import Event

DATA = Path(__file__).parent / "data"
PROGRAM = Path(__file__).parents[3] / "docs/programs/verify_record.py"


@pytest.fixture(params=range(1, FORMAT + 1))
def root(request: pytest.FixtureRequest, tmp_path: Path) -> Path:
    with zipfile.ZipFile(DATA / f"record-format-{request.param}.zip") as packed:
        packed.extractall(tmp_path)
    return tmp_path


def verdict(root: Path) -> tuple[int, int, int]:
    key = PublicKey.parse((root / "first.pub").read_text())
    notes = read_notes((root / "anchors").read_text())
    report = verify_record(root / "audit", key=key, anchors=notes)
    return report.exit_code, report.signed, report.redacted


def told(root: Path) -> tuple[object, ...]:
    store = AuditStore(root / "audit")
    tools = store.query(
        "SELECT tool, attrs->>'n', attrs->>'text' FROM events"
        " WHERE kind = 'tool.requested' ORDER BY ts, seq"
    )
    usage = store.query("SELECT sum(tokens), sum(cost_usd) FROM token_usage").rows
    calls = store.query("SELECT tool, outcome FROM tool_calls ORDER BY 1").rows
    return tools.rows, [float(cell) for cell in usage[0]], calls


def test_it_verifies_under_the_first_key_and_all_that_was_published(root: Path) -> None:
    assert verdict(root) == (0, 5, 2)


@pytest.mark.skipif(not PROGRAM.exists(), reason="the manual is not part of an installed package")
def test_the_program_in_the_manual_agrees(root: Path) -> None:
    words = [root / "audit", root / "both.pub", root / "anchors"]
    done = subprocess.run([sys.executable, "-I", str(PROGRAM), *map(str, words)], check=False)
    assert done.returncode == 0


def test_what_it_tells_stays_the_same_also_when_its_tables_are_made_anew(root: Path) -> None:
    before = told(root)
    tools, usage, calls = before
    assert [(tool.split(":")[0], n) for tool, n, _ in tools] == [
        ("a", "0"), ("b", "1"), ("[redacted", "2"), ("c", "0"), ("after", None)
    ]  # fmt: skip
    assert {text for _, _, text in tools} == {'ひと " \\ \u2028', None}
    assert usage == [14.0, 22e-9]
    assert [outcome for _, outcome in calls] == ["done"] * 5
    rebuild_tables(root / "audit")
    assert told(root) == before
    assert verdict(root)[0] == 0


def test_it_goes_on(root: Path) -> None:
    with AuditWriter(root / "audit") as writer:
        writer.write([Event("tool.requested", {"tool": "new"})])
    seal_record(root / "audit")
    assert verdict(root)[0] == 0
    found = AuditStore(root / "audit").query("SELECT 1 FROM events WHERE tool = 'new'")
    assert len(found.rows) == 1


def test_details_are_told_of_tables_that_lack_them(root: Path) -> None:
    other = """SELECT count(*) FROM events
               WHERE (attrs IS NULL) <> (details IS NULL) OR attrs::JSON::VARIANT <> details"""
    some = "SELECT count(details) FROM events"
    before = AuditStore(root / "audit").query(some).rows
    assert AuditStore(root / "audit").query(other).rows == ((0,),)
    rebuild_tables(root / "audit")
    assert AuditStore(root / "audit").query(other).rows == ((0,),)
    assert AuditStore(root / "audit").query(some).rows > before > ((0,),)
