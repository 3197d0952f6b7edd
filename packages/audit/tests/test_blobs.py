"""Content beside the record: what is kept, who can read it, and when it goes."""

from __future__ import annotations

import os
import time
from hashlib import sha256
from pathlib import Path

import orjson
import pytest
from sashizu_audit.blobs import LARGEST_BLOB, Blobs, blob_path
from sashizu_audit.layout import segment_paths
from sashizu_audit.settings import AuditSettings
from sashizu_audit.sink import open_sink
from sashizu_audit.spool import WriterOptions
from sashizu_audit.writer import AuditWriter
from sashizu_core.errors import RecordError
from sashizu_core.events import Event
from sashizu_core.ids import new_run_id
from sashizu_core.protocols import ContentSink
from sashizu_core.turn.record import Recorder

KEEPING = WriterOptions(content="blobs", ballast_bytes=0)


def blobs(folder: Path, *, room_bytes: int = 1 << 30, keep_s: float = 3600.0) -> Blobs:
    return Blobs(folder, room_bytes=room_bytes, keep_s=keep_s)


def lines(folder: Path) -> list[dict[str, object]]:
    return [
        orjson.loads(line)
        for path in segment_paths(folder)
        for line in path.read_bytes().splitlines()
    ]


def test_a_text_is_kept_under_its_digest_and_can_be_checked(tmp_path: Path) -> None:
    digest = blobs(tmp_path).keep("what the model said: ü")
    assert digest == sha256("what the model said: ü".encode()).hexdigest()
    assert blob_path(tmp_path, digest).read_text("utf-8") == "what the model said: ü"


def test_the_same_text_is_one_file(tmp_path: Path) -> None:
    kept = blobs(tmp_path)
    digest = kept.keep("twice")
    assert digest is not None
    old = time.time() - 1000
    os.utime(blob_path(tmp_path, digest), (old, old))
    assert kept.keep("twice") == digest
    assert len(list(tmp_path.glob("blobs/*/*"))) == 1
    assert blob_path(tmp_path, digest).stat().st_mtime > old + 900, "its time begins anew"


@pytest.mark.skipif(os.name != "posix", reason="modes are POSIX's")
def test_nobody_else_can_read_what_is_kept(tmp_path: Path) -> None:
    old = os.umask(0)
    try:
        digest = blobs(tmp_path).keep("private")
    finally:
        os.umask(old)
    assert digest is not None
    path = blob_path(tmp_path, digest)
    assert path.stat().st_mode & 0o777 == 0o600
    assert path.parent.stat().st_mode & 0o777 == 0o700
    assert path.parent.parent.stat().st_mode & 0o777 == 0o700


def test_a_text_beyond_the_largest_is_not_kept(tmp_path: Path) -> None:
    assert blobs(tmp_path).keep("x" * (LARGEST_BLOB + 1)) is None
    assert list(tmp_path.glob("blobs/*/*")) == []


def test_sweeping_removes_what_is_too_old_and_nothing_else(tmp_path: Path) -> None:
    kept = blobs(tmp_path, keep_s=100)
    old, young = kept.keep("old"), kept.keep("young")
    assert old is not None
    assert young is not None
    long_ago = time.time() - 101
    os.utime(blob_path(tmp_path, old), (long_ago, long_ago))
    assert kept.sweep() == 1
    assert not blob_path(tmp_path, old).exists()
    assert blob_path(tmp_path, young).exists()


def test_sweeping_makes_the_rest_fit_its_room_oldest_first(tmp_path: Path) -> None:
    kept = blobs(tmp_path, room_bytes=250)
    digests = [kept.keep(f"{number}" * 100) for number in range(5)]
    for age, digest in enumerate(reversed(digests)):
        assert digest is not None
        then = time.time() - age
        os.utime(blob_path(tmp_path, digest), (then, then))
    assert kept.sweep() == 3
    left = [digest for digest in digests if digest and blob_path(tmp_path, digest).exists()]
    assert left == digests[3:]


def test_a_record_is_swept_when_its_writer_ends_but_not_by_every_writer(tmp_path: Path) -> None:
    options = WriterOptions(content="blobs", ballast_bytes=0, blob_bytes=10)
    with AuditWriter(tmp_path, options=options) as writer:
        first = writer.keep("more than ten bytes")
    assert first is not None
    assert not blob_path(tmp_path, first).exists()
    with AuditWriter(tmp_path, options=options) as writer:
        second = writer.keep("more than ten bytes")
    assert second is not None
    assert blob_path(tmp_path, second).exists(), "the next sweep is an hour away"


def test_what_is_kept_is_on_disk_before_the_event_that_names_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    synced: list[str] = []
    with AuditWriter(tmp_path, options=KEEPING) as writer:
        assert writer._blobs is not None
        to_disk, events = writer._blobs.sync, writer._spool.sync
        monkeypatch.setattr(writer._blobs, "sync", lambda: (synced.append("texts"), to_disk()))
        monkeypatch.setattr(writer._spool, "sync", lambda: (synced.append("events"), events()))
        digest = writer.keep("arguments")
        writer.write([Event("tool.requested", {"blobs": [digest]})])
        writer.flush()
        assert writer._blobs._unsynced == []
    assert synced.index("texts") < synced.index("events")


def test_by_default_the_record_has_digests_and_no_texts(tmp_path: Path) -> None:
    with AuditWriter(tmp_path) as writer:
        assert not writer.keeps_content
        assert writer.keep("text") is None
    assert not (tmp_path / "blobs").exists()


def test_with_content_none_the_record_has_not_even_digests(tmp_path: Path) -> None:
    fields = {"run_id": new_run_id(), "tool": "grep", "args_sha256": "ab" * 32}
    with AuditWriter(tmp_path, options=WriterOptions(content="none", ballast_bytes=0)) as writer:
        writer.write([Event("tool.requested", fields)])
    found = next(line for line in lines(tmp_path) if line["kind"] == "tool.requested")
    assert "args_sha256" not in found
    assert found["tool"] == "grep"


def test_a_writer_is_a_sink_that_may_keep_content(tmp_path: Path) -> None:
    with AuditWriter(tmp_path, options=KEEPING) as writer:
        assert isinstance(writer, ContentSink)
        recorder = Recorder([writer], {})
        columns = recorder.keep("password = 'hunter2secret'", "")
        recorder.write([recorder.event("tool.requested", columns)])
    found = next(line for line in lines(tmp_path) if line["kind"] == "tool.requested")
    (digest,) = columns["blobs"]
    assert found["blobs"] == [digest]
    text = blob_path(tmp_path, digest).read_text("utf-8")
    assert text.startswith("password = '[redacted:assigned:")


async def test_the_settings_decide_what_is_kept(tmp_path: Path) -> None:
    for content, kept in (("none", False), ("hashes", False), ("blobs", True)):
        settings = AuditSettings(dir=str(tmp_path / content), content=content)
        async with open_sink(settings) as sink:
            assert sink.keeps_content is kept


def test_a_folder_that_cannot_be_written_stops_the_run_before_it_begins(tmp_path: Path) -> None:
    AuditWriter(tmp_path, options=WriterOptions(ballast_bytes=0)).close()
    (tmp_path / "blobs").write_text("in the way", "utf-8")
    with pytest.raises(RecordError, match="texts cannot be kept"):
        AuditWriter(tmp_path, options=KEEPING)


def test_a_text_that_cannot_be_kept_is_an_error_for_an_intent_and_left_out_of_an_outcome(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    with AuditWriter(tmp_path, options=KEEPING) as writer:
        assert writer._blobs is not None
        monkeypatch.setattr(writer._blobs, "_write", full)
        recorder = Recorder([writer], {})
        with pytest.raises(RecordError, match="No space left"):
            recorder.keep("arguments")
        assert recorder.keep("result", last_words=True) == {}
