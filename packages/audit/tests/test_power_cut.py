"""What a power cut leaves: what was brought to the disk, and of the rest whatever it likes.

A cut is played here by keeping what files held when they were last synced. On a real file system
`benchmarks/audit_power_cuts.py` makes one.
"""

from __future__ import annotations

import os
import shutil
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from sashizu_audit import AuditWriter, verify_record
from sashizu_audit.notes import open_signer
from sashizu_audit.sealing import seal_record
from sashizu_audit.segments import hot_segments
from sashizu_audit.signing import make_checkpoint
from sashizu_audit.spool import WriterOptions
from sashizu_audit.verify import record_id
from sashizu_core.events import Event

pytestmark = pytest.mark.skipif(
    sys.platform != "linux", reason="unsupported: elsewhere a descriptor does not tell its path"
)
NEVER = 3600.0
SMALL = WriterOptions(ballast_bytes=0, flush_s=NEVER)
ROLLING = WriterOptions(ballast_bytes=0, flush_s=NEVER, segment_bytes=2_000)


class Disk:
    """Knows of every file what it held when it was last synced."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.held: dict[Path, bytes] = {}
        for name in ("fsync", "fdatasync"):
            monkeypatch.setattr(os, name, self._syncing(getattr(os, name)))

    def _syncing(self, real: object) -> object:
        def sync(fd: int) -> None:
            assert callable(real)
            real(fd)
            path = Path(f"/proc/self/fd/{fd}").readlink()
            if path.is_file():
                self.held[path] = path.read_bytes()

        return sync

    def cut(self, folder: Path) -> None:
        """Take from hot files what was not on the disk; a file without anything is empty."""
        for file in hot_segments(folder).values():
            file.path.write_bytes(self.held.get(file.path, b""))
            os.utime(file.path, (1, 1))


@pytest.fixture
def disk(monkeypatch: pytest.MonkeyPatch) -> Iterator[Disk]:
    return Disk(monkeypatch)


def event(tool: str) -> list[Event]:
    return [Event("tool.requested", {"tool": tool, "attrs": {"pad": "x" * 300}})]


def killed(writer: AuditWriter) -> None:
    """End a writer as a kill does: nothing is written or synced any more."""
    writer._spool.abandon()


def test_what_somebody_waited_for_is_there_and_what_is_lost_came_last(
    tmp_path: Path, disk: Disk
) -> None:
    writer = AuditWriter(tmp_path / "audit", options=ROLLING)
    for number in range(20):
        writer.write(event(f"t{number}"))
        if number == 11:
            writer.flush()
    killed(writer)
    disk.cut(tmp_path / "audit")
    report = verify_record(tmp_path / "audit")
    assert report.exit_code in (0, 2)
    left = b"".join(file.path.read_bytes() for file in hot_segments(tmp_path / "audit").values())
    assert all(b'"tool":"t%d"' % number in left for number in range(12))


@pytest.mark.parametrize("number", range(1, 20))
def test_a_cut_at_any_time_is_no_manipulation(tmp_path: Path, disk: Disk, number: int) -> None:
    writer = AuditWriter(tmp_path / "audit", options=ROLLING)
    for done in range(number):
        writer.write(event(f"t{done}"))
        if done % 4 == 3:
            writer.flush()
    killed(writer)
    disk.cut(tmp_path / "audit")
    assert verify_record(tmp_path / "audit").exit_code in (0, 2)


def test_where_a_killed_child_ended_is_on_the_disk_before_its_parent_tells(
    tmp_path: Path, disk: Disk
) -> None:
    folder = tmp_path / "audit"
    parent = AuditWriter(folder, options=SMALL)
    handoff = parent.child_handoff()
    child = AuditWriter(folder, options=SMALL, parent=handoff)
    child.write(event("a"))
    killed(child)
    parent.child_ended(handoff)
    parent.flush()
    killed(parent)
    disk.cut(folder)
    assert verify_record(folder).exit_code == 0


def test_what_is_sealed_and_what_is_left_beside_it_agree_after_a_cut(
    tmp_path: Path, disk: Disk
) -> None:
    folder = tmp_path / "audit"
    writer = AuditWriter(folder, options=SMALL)
    writer.write(event("a"))
    killed(writer)
    shutil.copytree(folder / "hot", tmp_path / "hot")
    seal_record(folder)
    for path in (tmp_path / "hot").iterdir():  # that they were removed did not reach the disk
        shutil.copy(path, folder / "hot")
    disk.cut(folder)
    assert verify_record(folder).exit_code == 0


def test_what_a_checkpoint_signs_is_on_the_disk_before(tmp_path: Path, disk: Disk) -> None:
    folder = tmp_path / "audit"
    writer = AuditWriter(folder, options=SMALL)
    writer.write(event("a"))
    signer = open_signer(tmp_path / "keys", record_id(folder))
    make_checkpoint(folder, signer)
    writer.write(event("b"))
    killed(writer)
    disk.cut(folder)
    assert verify_record(folder, key=signer.public).exit_code == 0
