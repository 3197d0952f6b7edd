"""Secrets that got into the record are found, taken out, and nothing else is changed."""

from __future__ import annotations

import gzip
import json
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from sashizu_audit import AuditStore, AuditWriter, verify_record
from sashizu_audit.cli import app
from sashizu_audit.holds import change_hold, read_holds
from sashizu_audit.notes import Signer, open_signer
from sashizu_audit.pruning import prune_record
from sashizu_audit.redacting import redact_record
from sashizu_audit.retention import Retention
from sashizu_audit.scanning import scan_record
from sashizu_audit.sealing import seal_record
from sashizu_audit.segments import SegmentFile, find_segments, sealed_segments
from sashizu_audit.signing import make_checkpoint
from sashizu_audit.spool import WriterOptions
from sashizu_audit.verify import RecordReport, record_id
from sashizu_core.errors import UsageError
from sashizu_core.events import Event
from sashizu_core.ids import uuid7
from sashizu_core.redaction import Redactor
from sashizu_core.runtime.conversation import (
    Conversation,
    load_conversation,
    save_conversation,
)
from sashizu_core.types import Message, Usage
from typer.testing import CliRunner

TOKEN = "ghp_" + "a1B2c3D4e5F6" * 3
PLAIN = "correct-horse-battery"
BLOBS = WriterOptions(ballast_bytes=0, content="blobs")


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    folder = tmp_path / "audit"
    with AuditWriter(folder, options=BLOBS) as writer:
        kept = [writer.keep(text) for text in (f"key {TOKEN}", "harmless")]
        leaked = {"tool": "shell", "blobs": kept, "attrs": {"line": f"echo {PLAIN} {TOKEN}"}}
        writer.write([Event("tool.requested", {"tool": "first"}), Event("tool.requested", leaked)])
        writer.write([Event("tool.ended", {"tool": "shell", "decision_reason": f"said {PLAIN}"})])
        writer.write([Event("tool.requested", {"tool": "last"})])
    return folder


@pytest.fixture
def signer(tmp_path: Path, folder: Path) -> Signer:
    return open_signer(tmp_path / "keys", record_id(folder))


def everything(folder: Path) -> bytes:
    found = b""
    for file in find_segments(folder):
        with file.open() as lines:
            found += lines.read()
    for path in (folder / "blobs").rglob("*"):
        found += path.read_bytes() if path.is_file() else b""
    rows = AuditStore(folder).query("SELECT CAST(events AS VARCHAR) FROM events").rows
    return found + repr(rows).encode()


def check(folder: Path, signer: Signer) -> RecordReport:
    return verify_record(folder, key=signer.public)


def test_a_scan_says_where_and_never_what(folder: Path) -> None:
    seal_record(folder)
    found = list(scan_record(folder, Redactor([PLAIN])))
    lines = [(leak.line, leak.columns, leak.secrets) for leak in found if leak.line]
    assert lines == [(3, ("attrs",), 2), (4, ("decision_reason",), 1)]
    assert [leak.file.split("/")[0] for leak in found] == ["sealed", "sealed", "blobs"]
    assert PLAIN not in repr(found)
    assert TOKEN not in repr(found)


def test_what_is_redacted_is_nowhere_and_the_record_verifies(folder: Path, signer: Signer) -> None:
    make_checkpoint(folder, signer)
    seal_record(folder)
    done = redact_record(folder, Redactor([PLAIN]), lambda: signer)
    assert (done.lines, done.segments, done.texts, done.checkpoint) == (2, 1, 1, 2)
    left = everything(folder)
    assert PLAIN.encode() not in left
    assert TOKEN.encode() not in left
    assert b"harmless" in left
    report = check(folder, signer)
    assert (report.exit_code, report.redacted) == (0, 2)
    rows = AuditStore(folder).query("SELECT tool, redactions FROM events WHERE tool IS NOT NULL")
    assert sorted(rows.rows, key=str) == [
        ("first", None),
        ("last", None),
        ("shell", 1),
        ("shell", 2),
    ]
    told = AuditStore(folder).query("SELECT attrs, blobs FROM events WHERE kind='audit.redacted'")
    assert json.loads(told.rows[0][0])["events"] == [2, 3]
    assert len(told.rows[1][1]) == 1
    again = redact_record(folder, Redactor([PLAIN]), lambda: signer)
    assert (again.lines, again.texts) == (0, 0)


def test_another_change_of_a_redacted_line_is_found(folder: Path, signer: Signer) -> None:
    seal_record(folder)
    redact_record(folder, Redactor([PLAIN]), lambda: signer)
    file = max(sealed_segments(folder).values(), key=lambda one: one.path.stat().st_size)
    data = gzip.decompress(file.path.read_bytes())
    assert b"said [redacted" in data
    file.path.chmod(0o600)
    file.path.write_bytes(gzip.compress(data.replace(b"said [redacted", b"sAid [redacted")))
    assert check(folder, signer).exit_code == 1


class BrokenOffError(Exception):
    pass


def breaking_at(step: str) -> Callable[[str], None]:
    def hook(now: str) -> None:
        if now == step:
            raise BrokenOffError

    return hook


@pytest.mark.parametrize("step", ["signed", "recorded", "untabled", "replaced"])
def test_broken_off_at_any_step_the_record_verifies_and_the_next_attempt_ends_it(
    folder: Path, signer: Signer, step: str
) -> None:
    seal_record(folder)
    with pytest.raises(BrokenOffError):
        redact_record(folder, Redactor([PLAIN]), lambda: signer, step=breaking_at(step))
    assert check(folder, signer).exit_code == 0
    redact_record(folder, Redactor([PLAIN]), lambda: signer)
    left = everything(folder)
    assert PLAIN.encode() not in left
    assert check(folder, signer).exit_code == 0


def test_what_was_redacted_can_be_dropped_later(folder: Path, signer: Signer) -> None:
    seal_record(folder)
    redact_record(folder, Redactor([PLAIN]), lambda: signer)
    later = datetime.now(UTC).date() + timedelta(days=500)  # noqa: TID251
    report = prune_record(folder, lambda: signer, Retention(400), today=later)
    assert (report.left, report.segments) == ([], 1)
    assert check(folder, signer).exit_code == 0


# --- what cannot be taken out ---------------------------------------------------------------------


def test_what_is_being_written_is_named_and_taken_out_when_it_has_ended(
    folder: Path, signer: Signer
) -> None:
    with AuditWriter(folder, options=BLOBS) as writer:
        writer.write([Event("tool.requested", {"tool": PLAIN})])
        seal_record(folder)
        done = redact_record(folder, Redactor([PLAIN]), lambda: signer)
        assert done.lines == 2
        assert [(one.file.split("/")[0], one.line) for one in done.left] == [("hot", 2)]
    seal_record(folder)
    done = redact_record(folder, Redactor([PLAIN]), lambda: signer)
    assert (done.lines, done.left) == (1, ())
    assert PLAIN.encode() not in everything(folder)


@pytest.mark.parametrize("tail", [f'{{"v":1,"tool":"{PLAIN}', '{"v":1,"tool":"a\\"b-secret-c'])
def test_half_a_line_that_a_crash_left_is_looked_at_too(
    folder: Path, signer: Signer, tail: str
) -> None:
    (hot,) = (folder / "hot").iterdir()
    lines = hot.read_bytes().splitlines(keepends=True)
    hot.write_bytes(b"".join(lines[:2]) + tail.encode())
    redactor = Redactor([PLAIN, 'a"b-secret-c'])
    seal_record(folder)
    leaks = [one for one in scan_record(folder, redactor) if one.line]
    assert [(one.line, one.seq) for one in leaks] == [(3, -1)]
    done = redact_record(folder, redactor, lambda: signer)
    assert (done.segments, done.lines, done.left) == (1, 0, ())
    assert PLAIN.encode() not in everything(folder)
    assert b"b-secret-c" not in everything(folder)
    make_checkpoint(folder, signer)
    assert check(folder, signer).exit_code in (0, 2)
    assert not [one for one in scan_record(folder, redactor) if one.line]


def unpacked(file: SegmentFile) -> bytes:
    return gzip.decompress(file.path.read_bytes())


def pack_anew(file: SegmentFile, data: bytes) -> None:
    file.path.chmod(0o600)
    file.path.write_bytes(gzip.compress(data))


@pytest.mark.parametrize("harm", ["changed", "without h", "cut"])
def test_what_somebody_changed_is_not_made_lawful_and_does_not_stop_the_rest(
    folder: Path, signer: Signer, harm: str
) -> None:
    seal_record(folder)
    with AuditWriter(folder, options=BLOBS) as writer:
        writer.write([Event("tool.requested", {"tool": f"second {PLAIN}"})])
    seal_record(folder)
    (odd,) = [one for one in sealed_segments(folder).values() if b'"first"' in unpacked(one)]
    data = unpacked(odd)
    if harm == "changed":
        pack_anew(odd, data.replace(b'"first"', b'"forged %b"' % PLAIN.encode()))
    elif harm == "without h":
        line = data.splitlines(keepends=True)[1]
        pack_anew(odd, data.replace(line, b'{"tool":"%b"}\n' % PLAIN.encode()))
    else:
        odd.path.chmod(0o600)
        odd.path.write_bytes(odd.path.read_bytes()[:-20])
    named = [one.fault or one.line for one in scan_record(folder, Redactor([PLAIN]))]
    assert named
    done = redact_record(folder, Redactor([PLAIN]), lambda: signer)
    assert done.lines == 1
    assert [name for name, _ in done.faults] == [odd.path.name]
    assert not any(b"second " + PLAIN.encode() in unpacked_or_not(one) for one in segments(folder))
    assert check(folder, signer).exit_code == 1


def segments(folder: Path) -> list[SegmentFile]:
    return list(sealed_segments(folder).values())


def unpacked_or_not(file: SegmentFile) -> bytes:
    try:
        return unpacked(file)
    except EOFError:
        return b""


def test_the_reason_of_a_hold_is_looked_at_too(folder: Path, signer: Signer) -> None:
    run = uuid7()
    change_hold(folder, run, "user:me", reason=f"claim {PLAIN}", held=True)
    seal_record(folder)
    assert "holds.json" in {one.file for one in scan_record(folder, Redactor([PLAIN]))}
    assert redact_record(folder, Redactor([PLAIN]), lambda: signer).reasons == 1
    assert PLAIN.encode() not in (folder / "holds.json").read_bytes()
    assert set(read_holds(folder)) == {run}


def test_scan_and_redact_by_command(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SASHIZU_HOME", str(tmp_path / "home"))
    values = tmp_path / "values"
    values.write_text(f"{PLAIN}\n")
    words = ("--values", str(values), "--store", str(folder))
    found = CliRunner().invoke(app, ["scan", *words, "--json"])
    assert found.exit_code == 1
    assert len(json.loads(found.stdout)) == 3
    assert PLAIN not in found.stdout
    text = CliRunner().invoke(app, ["scan", *words])
    assert "3 places hold secrets" in text.stdout
    done = CliRunner().invoke(app, ["redact", *words, "--json"])
    assert json.loads(done.stdout)["lines"] == 2
    assert CliRunner().invoke(app, ["scan", *words]).exit_code == 0
    verified = CliRunner().invoke(app, ["verify", "--store", str(folder)])
    assert verified.exit_code == 0
    assert "redacted: 2 lines" in verified.stdout


def test_conversations_and_what_was_typed_are_looked_at_where_the_record_is_that_of_the_machine(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    home = tmp_path / "home"
    monkeypatch.setenv("SASHIZU_HOME", str(home))
    home.mkdir()
    folder.rename(home / "audit")
    said = Conversation(uuid7(), "lead", "m", (Message("user", f"key {PLAIN}"),), Usage())
    save_conversation(home, said)
    (home / "sql_history").write_text(f"\n# 1\n+SELECT '{PLAIN}'\n")
    values = tmp_path / "values"
    values.write_text(f"{PLAIN}\n")
    words = ("--values", str(values))
    found = json.loads(CliRunner().invoke(app, ["scan", *words, "--json"]).stdout)
    assert [one["line"] for one in found if Path(one["file"]).is_absolute()] == [3, 2]
    done = json.loads(CliRunner().invoke(app, ["redact", *words, "--json"]).stdout)
    assert done["beside"] == 2
    assert CliRunner().invoke(app, ["scan", *words]).exit_code == 0
    kept = load_conversation(home, said.id)
    assert kept.messages[0].content.startswith("key [redacted:")
    assert (kept.used, kept.id) == (said.used, said.id)


def test_values_that_would_be_found_everywhere_are_refused(folder: Path, tmp_path: Path) -> None:
    values = tmp_path / "values"
    values.write_text("abc\n")
    for command in ("scan", "redact"):
        words = [command, "--values", str(values), "--store", str(folder)]
        assert isinstance(CliRunner().invoke(app, words).exception, UsageError)
