"""Copies of a record: complete, verifiable, on record, and all or nothing."""

from __future__ import annotations

import json
from hashlib import sha256
from pathlib import Path

import duckdb
import pytest
from sashizu_audit import AuditStore, AuditWriter, verify_record
from sashizu_audit import export as module
from sashizu_audit.cli import app
from sashizu_audit.export import FORMATS, export_record
from sashizu_audit.notes import open_signer
from sashizu_audit.signing import make_checkpoint
from sashizu_audit.spool import WriterOptions
from sashizu_audit.verify import record_id
from sashizu_core.errors import RecordError, UsageError
from sashizu_core.events import Event
from typer.testing import CliRunner

SMALL = WriterOptions(ballast_bytes=0)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    with AuditWriter(tmp_path / "audit", options=SMALL) as writer:
        for number in range(4):
            writer.write([Event("tool.requested", {"tool": f"t{number}", "attrs": {"n": number}})])
    return tmp_path / "audit"


def test_a_copy_of_the_files_verifies_where_it_is(folder: Path, tmp_path: Path) -> None:
    signer = open_signer(tmp_path / "keys", record_id(folder))
    make_checkpoint(folder, signer)
    manifest = export_record(folder, tmp_path / "copy", "copy")
    report = verify_record(tmp_path / "copy", key=signer.public)
    assert (report.exit_code, report.signed) == (0, 1)
    assert report.events == manifest["events"] == verify_record(folder).events


def test_the_manifest_names_every_file_with_its_digest(folder: Path, tmp_path: Path) -> None:
    export_record(folder, tmp_path / "copy", "copy")
    manifest = json.loads((tmp_path / "copy" / "manifest.json").read_bytes())
    assert manifest["store_id"] == record_id(folder)
    there = {
        path.relative_to(tmp_path / "copy").as_posix(): sha256(path.read_bytes()).hexdigest()
        for path in (tmp_path / "copy").rglob("*")
        if path.is_file() and path.name != "manifest.json"
    }
    assert {file["path"]: file["sha256"] for file in manifest["files"]} == there


def test_a_parquet_file_holds_every_event(folder: Path, tmp_path: Path) -> None:
    manifest = export_record(folder, tmp_path / "it's a copy", "parquet")
    path = tmp_path / "it's a copy" / "events.parquet"
    rows = duckdb.read_parquet(str(path)).order("ts_ns, seq").fetchall()
    assert len(rows) == manifest["events"] == verify_record(folder).events
    columns = duckdb.read_parquet(str(path)).columns
    assert columns == [
        c for c in AuditStore(folder).query("FROM events").columns if c not in ("ts", "details")
    ]
    tools = [dict(zip(columns, row, strict=True))["tool"] for row in rows]
    assert [tool for tool in tools if tool] == ["t0", "t1", "t2", "t3"]


def test_that_a_copy_was_taken_is_on_record_and_in_the_copy(folder: Path, tmp_path: Path) -> None:
    export_record(folder, tmp_path / "copy", "copy")
    for place in (folder, tmp_path / "copy"):
        found = AuditStore(place).query("FROM events WHERE kind = 'audit.exported'").dicts()
        assert len(found) == 1


def test_of_a_file_that_is_being_written_whole_lines_are_copied(
    folder: Path, tmp_path: Path
) -> None:
    with AuditWriter(folder, options=SMALL) as writer:
        writer.write([Event("tool.requested", {"tool": "t"})])
        whole = writer.path.read_bytes()
        with writer.path.open("ab") as file:
            file.write(b'{"v":1')  # a write that is under way
        export_record(folder, tmp_path / "copy", "copy")
        assert (tmp_path / "copy" / "hot" / writer.path.name).read_bytes() == whole
    assert verify_record(tmp_path / "copy").exit_code == 0


def test_what_a_crash_left_is_copied_as_it_is(folder: Path, tmp_path: Path) -> None:
    path = next((folder / "hot").iterdir())
    torn = path.read_bytes()[:-5]
    path.write_bytes(torn)
    export_record(folder, tmp_path / "copy", "copy")
    assert (tmp_path / "copy" / "hot" / path.name).read_bytes() == torn


def test_nothing_is_overwritten(folder: Path, tmp_path: Path) -> None:
    (tmp_path / "copy").mkdir()
    with pytest.raises(UsageError, match="is there already"):
        export_record(folder, tmp_path / "copy", "copy")
    with pytest.raises(UsageError, match="inside the record"):
        export_record(folder, folder / "hot" / "copy", "copy")


def test_a_copy_that_fails_leaves_nothing_behind(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(path: Path, copy: Path) -> int:
        copy.write_bytes(b"half")
        raise OSError(28, "No space left on device")

    before = set(tmp_path.iterdir())
    monkeypatch.setattr(module, "_copy_segment", full)
    with pytest.raises(RecordError, match="No space left"):
        export_record(folder, tmp_path / "copy", "copy")
    assert set(tmp_path.iterdir()) == before


@pytest.mark.parametrize("fmt", FORMATS)
def test_a_copy_is_made_by_command(folder: Path, tmp_path: Path, fmt: str) -> None:
    words = ["export", str(tmp_path / "copy"), "--format", fmt, "--store", str(folder)]
    made = CliRunner().invoke(app, words)
    assert made.exit_code == 0
    assert made.stdout.startswith("9 events in ")
    assert (tmp_path / "copy" / "manifest.json").exists()


def test_an_unknown_format_is_refused(folder: Path, tmp_path: Path) -> None:
    words = ["export", str(tmp_path / "copy"), "--format", "xml", "--store", str(folder)]
    assert "known: copy, parquet, jsonl" in str(CliRunner().invoke(app, words).exception)
