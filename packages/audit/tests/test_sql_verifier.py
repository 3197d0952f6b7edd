"""The chain can be checked in SQL alone: what the manual shows agrees with ours."""

from __future__ import annotations

from pathlib import Path

import duckdb
import pytest
from sashizu_audit import AuditWriter, verify_segment
from sashizu_audit.spool import WriterOptions
from sashizu_core.events import Event

PROGRAM = Path(__file__).parents[3] / "docs/programs/verify_chain.sql"
pytestmark = pytest.mark.skipif(
    not PROGRAM.exists(), reason="the manual is not part of an installed package"
)


def broken_lines(folder: Path) -> list[tuple[str, int]]:
    """What the SQL of the manual finds: file and line."""
    sql = PROGRAM.read_text("utf-8").replace("hot/*.jsonl", str(folder / "hot" / "*.jsonl"))
    connection = duckdb.connect()
    try:
        rows = connection.execute(sql).fetchall()
    finally:
        connection.close()
    return [(Path(file).name, line) for file, line in rows]


@pytest.fixture
def segment(tmp_path: Path) -> Path:
    with AuditWriter(tmp_path, options=WriterOptions(ballast_bytes=0)) as writer:
        for number in range(6):
            text = "quotes \" and \\ and a\ttab, \u4f60, \u2028, '|'"
            writer.write([Event("tool.requested", {"tool": f"t{number}", "attrs": {"text": text}})])
        return writer.path


def test_of_a_record_as_it_was_written_it_finds_nothing(tmp_path: Path, segment: Path) -> None:
    assert verify_segment(segment).intact
    assert broken_lines(tmp_path) == []


@pytest.mark.parametrize("line", range(8))
def test_it_finds_the_line_that_ours_finds(tmp_path: Path, segment: Path, line: int) -> None:
    lines = segment.read_bytes().splitlines(keepends=True)
    lines[line] = lines[line].replace(b'"v":1', b'"v":2')
    segment.write_bytes(b"".join(lines))
    ours = [(segment.name, damage.line) for damage in verify_segment(segment).damage]
    assert broken_lines(tmp_path) == ours == [(segment.name, line + 1)]


def test_it_finds_a_line_that_is_gone(tmp_path: Path, segment: Path) -> None:
    lines = segment.read_bytes().splitlines(keepends=True)
    segment.write_bytes(b"".join([*lines[:3], *lines[4:]]))
    assert broken_lines(tmp_path) == [(segment.name, 4)]
