"""Large payloads: a line stays short, and a text is kept once."""

from __future__ import annotations

import base64
from pathlib import Path

from sashizu_audit import AuditStore, AuditWriter, verify_record
from sashizu_audit.fields import LINE_LIMIT
from sashizu_audit.segments import hot_segments
from sashizu_audit.spool import WriterOptions
from sashizu_core.events import Event

KEEPING = WriterOptions(content="blobs", ballast_bytes=0)


def test_a_payload_of_twenty_megabytes_makes_no_long_line(tmp_path: Path) -> None:
    payload = "x" * 20_000_000
    with AuditWriter(tmp_path, options=KEEPING) as writer:
        assert writer.keep(payload) is None  # longer than what is kept: its digest is on record
        writer.write([Event("tool.requested", {"tool": "t", "attrs": {"all": payload}})])
        writer.write([Event("tool.requested", {"tool": payload, "decision_reason": payload})])
        path = writer.path
    assert all(len(line) < LINE_LIMIT for line in path.read_bytes().splitlines())
    assert path.stat().st_size < 3 * LINE_LIMIT
    (row,) = AuditStore(tmp_path).query("SELECT attrs FROM events WHERE tool = 't'").rows
    assert '"_cut"' in row[0]
    assert verify_record(tmp_path).exit_code == 0


def test_a_hundred_thousand_images_that_are_the_same_are_one_file(tmp_path: Path) -> None:
    image = base64.b64encode(bytes(range(256)) * 12).decode()
    with AuditWriter(tmp_path, options=KEEPING) as writer:
        digests = {writer.keep(image) for _ in range(100_000)}
        (digest,) = digests
        for _ in range(10):
            writer.write([Event("tool.ended", {"tool": "t", "blobs": [digest]})])
    kept = [path for path in (tmp_path / "blobs").rglob("*") if len(path.name) == 64]
    assert [path.read_text() for path in kept] == [image]
    (file,) = hot_segments(tmp_path).values()
    assert image.encode() not in file.path.read_bytes()
