"""Disks that are full, read-only, broken or gone: nothing half is kept, and it is always told."""

from __future__ import annotations

import errno
import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from sashizu_audit import AuditWriter, disk, verify_record
from sashizu_audit.segments import hot_segments
from sashizu_audit.spool import WriterOptions
from sashizu_core.errors import RecordError
from sashizu_core.events import Event

SMALL = WriterOptions(ballast_bytes=0, flush_s=3600.0)
ASK = [Event("tool.requested", {"tool": "t"})]
END = [Event("tool.ended", {"tool": "t"})]


def lines(folder: Path) -> list[bytes]:
    found = [file.path.read_bytes().splitlines() for file in hot_segments(folder).values()]
    return [line for part in found for line in part]


def kinds(folder: Path, kind: bytes) -> int:
    return sum(b'"kind":"%b"' % kind in line for line in lines(folder))


# --- writes that are cut short --------------------------------------------------------------------


def shortened(real: Callable[[int, bytes], int], most: list[int]) -> Callable[[int, bytes], int]:
    """A `write` that takes only so many bytes while `most` holds a number."""

    def write(fd: int, data: bytes) -> int:
        return real(fd, data[: most[0]]) if most else real(fd, data)

    return write


def test_of_a_line_that_fits_only_up_to_any_byte_nothing_is_left(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    most: list[int] = []
    with AuditWriter(tmp_path, options=SMALL) as writer:
        writer.write(ASK)
        length = len(lines(tmp_path)[-1]) + 1
        monkeypatch.setattr(os, "write", shortened(os.write, most))
        for size in range(length):
            most[:] = [size]
            before = writer.path.read_bytes()
            with pytest.raises(RecordError, match="cannot be written"):
                writer.write(ASK)
            assert writer.path.read_bytes() == before
        most.clear()
        writer.write(ASK)
    assert verify_record(tmp_path).exit_code == 0
    assert kinds(tmp_path, b"tool.requested") == 2


@pytest.mark.parametrize("code", [errno.EIO, errno.EROFS, errno.EDQUOT, errno.ENOSPC])
def test_a_write_that_fails_refuses_the_event_and_the_next_one_is_taken(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, code: int
) -> None:
    def broken(fd: int, data: bytes) -> int:
        raise OSError(code, os.strerror(code))

    with AuditWriter(tmp_path, options=SMALL) as writer:
        with monkeypatch.context() as patched:
            patched.setattr(os, "write", broken)
            with pytest.raises(RecordError, match=os.strerror(code)):
                writer.write(ASK)
        writer.write(ASK)
    assert verify_record(tmp_path).exit_code == 0
    assert kinds(tmp_path, b"tool.requested") == 1


def test_a_half_line_that_cannot_be_taken_back_ends_the_writer(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(fd: int, size: int) -> None:
        raise OSError(errno.EIO, "gone")

    writer = AuditWriter(tmp_path, options=SMALL)
    writer.write(ASK)
    with monkeypatch.context() as patched:
        patched.setattr(os, "write", shortened(os.write, [10]))
        patched.setattr(os, "ftruncate", broken)
        with pytest.raises(RecordError):
            writer.write(ASK)
    with pytest.raises(RecordError):
        writer.write(ASK)
    with pytest.raises(RecordError):
        writer.close()
    assert verify_record(tmp_path).exit_code == 0  # it was taken back when the file was closed
    assert kinds(tmp_path, b"tool.requested") == 1


def test_a_sync_that_fails_is_told_to_whoever_waits_and_ends_the_writer(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    writer = AuditWriter(tmp_path, options=SMALL)
    writer.flush()

    def broken(fd: int) -> None:
        raise OSError(errno.EIO, "gone")

    for name in ("fsync", "fdatasync"):
        monkeypatch.setattr(os, name, broken, raising=False)
    writer.write(ASK)
    with pytest.raises(RecordError, match="could not be brought to the disk"):
        writer.flush()
    with pytest.raises(RecordError):
        writer.write(ASK)
    with pytest.raises(RecordError):
        writer.close()


# --- disks of our own --------------------------------------------------------------------------

BY_ROOT = pytest.mark.skipif(
    sys.platform != "linux" or os.geteuid() != 0 or shutil.which("unshare") is None,
    reason="unsupported: a disk can be mounted on Linux only, by root",
)


def on_a_disk(
    folder: Path, options: str, program: str, *words: str
) -> subprocess.CompletedProcess[str]:
    """Run a program of Python where `folder` is a small disk that nobody else sees."""
    mount = f'mount -t tmpfs -o {options} none "$0" || exit 3; exec "$@"'
    python = [sys.executable, "-B", "-c", program, str(folder), *words]
    done = subprocess.run(
        ["unshare", "-m", "sh", "-c", mount, str(folder), *python],
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode == 3 or "unshare failed" in done.stderr:
        pytest.skip(f"unsupported: no disk can be mounted here: {done.stderr.strip()[-200:]}")
    return done


# --- a disk that is full --------------------------------------------------------------------------

FULL = """
import errno, os, resource, signal, sys
from pathlib import Path
from sashizu_audit import AuditWriter, disk, verify_record
from sashizu_audit.spool import WriterOptions
from sashizu_core.errors import RecordError
from sashizu_core.events import Event

if sys.argv[2] == "unreserved":
    disk._fallocate = lambda: None
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
ASK = [Event("tool.requested", {"tool": "t"})]
for step in range(int(sys.argv[3])):
    folder = Path(sys.argv[1]) / str(step)
    writer = AuditWriter(folder, options=WriterOptions(ballast_bytes=0, flush_s=3600.0))
    writer.write(ASK)
    most = writer.path.stat().st_size + step
    resource.setrlimit(resource.RLIMIT_FSIZE, (most, resource.RLIM_INFINITY))
    taken = 1
    try:
        while True:
            writer.write(ASK)
            taken += 1
    except RecordError:
        resource.setrlimit(resource.RLIMIT_FSIZE, (resource.RLIM_INFINITY,) * 2)
    writer.write(ASK)
    writer.close()
    found = writer.path.read_bytes().count(b'"kind":"tool.requested"')
    assert found == taken + 1, (step, found, taken)
    report = verify_record(folder)
    assert report.exit_code == 0, (step, report)
print("good")
"""


@pytest.mark.skipif(sys.platform == "win32", reason="unsupported: Windows has no RLIMIT_FSIZE")
@pytest.mark.parametrize("how", ["reserved", "unreserved"])
def test_a_file_that_ends_at_any_byte_of_a_line_keeps_whole_lines_and_goes_on(
    tmp_path: Path, how: str
) -> None:
    with AuditWriter(tmp_path / "one", options=SMALL) as writer:
        writer.write(ASK)
    length = len(lines(tmp_path / "one")[1]) + 2
    done = subprocess.run(
        [sys.executable, "-B", "-c", FULL, str(tmp_path), how, str(length)],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.stdout == "good\n", done.stderr


ON_A_FULL_DISK = """
import sys
from pathlib import Path
from sashizu_audit import AuditWriter, disk, verify_record
from sashizu_audit.spool import WriterOptions
from sashizu_core.errors import RecordError
from sashizu_core.events import Event

if sys.argv[2] == "unreserved":
    disk._fallocate = lambda: None
root, ballast = Path(sys.argv[1]), 512 * 1024
ASK = [Event("tool.requested", {"tool": "t", "attrs": {"pad": "x" * 900}})]
END = [Event("tool.ended", {"tool": "t"})]
writer = AuditWriter(root / "audit", options=WriterOptions(ballast_bytes=ballast))
filler = (root / "filler").open("wb")
filler.write(b"x" * 1024 * 1024)
filler.close()
asked = ended = refused = 0
while refused < 3:  # what was left over after the first refusal may still be used
    try:
        writer.write(ASK)
        asked, refused = asked + 1, 0
    except RecordError as error:
        assert "No space left" in str(error), error
        refused += 1
assert not (root / "audit/ballast").exists()
for _ in range(100):  # what has begun may still end
    writer.write(END)
    ended += 1
    try:  # and nothing begins
        writer.write(ASK)
        raise SystemExit("a full disk took what was about to begin")
    except RecordError:
        pass
(root / "filler").unlink()
writer.write(ASK)
asked += 1
assert (root / "audit/ballast").stat().st_size == ballast
writer.close()
data = b"".join(path.read_bytes() for path in (root / "audit/hot").iterdir())
assert data.count(b'"kind":"tool.requested"') == asked
assert data.count(b'"kind":"tool.ended"') == ended
assert verify_record(root / "audit").exit_code == 0
print("good", asked)
"""


@BY_ROOT
@pytest.mark.parametrize("how", ["reserved", "unreserved"])
def test_on_a_full_disk_what_has_begun_ends_and_nothing_begins_until_there_is_room(
    tmp_path: Path, how: str
) -> None:
    done = on_a_disk(tmp_path, "size=4m", ON_A_FULL_DISK, how)
    assert done.stdout.startswith("good "), done.stderr


def test_where_nothing_can_be_set_aside_a_full_disk_is_noticed_all_the_same(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(disk, "_fallocate", lambda: None)
    with AuditWriter(tmp_path, options=SMALL) as writer:
        writer.write(ASK)
        with monkeypatch.context() as patched:
            patched.setattr(os, "write", shortened(os.write, [7]))
            with pytest.raises(RecordError):
                writer.write(END)
        writer.write(END)
    assert verify_record(tmp_path).exit_code == 0


# --- a disk that cannot be written ----------------------------------------------------------------


def test_a_folder_that_is_a_file_is_told_before_anything_is_done(tmp_path: Path) -> None:
    (tmp_path / "audit").write_text("")
    with pytest.raises(RecordError, match="nothing was done"):
        AuditWriter(tmp_path / "audit", options=SMALL)


READ_ONLY = """
import sys
from pathlib import Path
from sashizu_audit import AuditWriter
from sashizu_core.errors import RecordError
try:
    AuditWriter(Path(sys.argv[1]) / "audit")
except RecordError as error:
    print(error)
"""


@BY_ROOT
def test_on_a_read_only_disk_no_run_begins(tmp_path: Path) -> None:
    done = on_a_disk(tmp_path, "ro", READ_ONLY)
    assert "Read-only file system; nothing was done" in done.stdout, done.stderr


def test_without_a_descriptor_for_the_next_segment_the_writer_goes_on_in_this_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    options = WriterOptions(ballast_bytes=0, segment_bytes=2_000)
    real = os.open

    def without(path: str | Path, flags: int, *rest: int) -> int:
        if str(path).endswith(".1.jsonl"):
            raise OSError(errno.EMFILE, os.strerror(errno.EMFILE))
        return real(path, flags, *rest)

    with AuditWriter(tmp_path, options=options) as writer:
        with monkeypatch.context() as patched:
            patched.setattr(os, "open", without)
            for _ in range(20):
                writer.write(ASK)
        assert len(hot_segments(tmp_path)) == 1
    assert verify_record(tmp_path).exit_code == 0
    assert kinds(tmp_path, b"tool.requested") == 20


@pytest.mark.skipif(sys.platform == "win32", reason="unsupported: open files cannot be removed")
def test_a_folder_that_is_removed_beneath_a_writer_is_missed_when_it_waits_for_the_disk(
    tmp_path: Path,
) -> None:
    writer = AuditWriter(tmp_path / "audit", options=SMALL)
    writer.write(ASK)
    shutil.rmtree(tmp_path / "audit")
    writer.write(ASK)
    with pytest.raises(RecordError):
        writer.flush()
    with pytest.raises(RecordError):
        writer.write(ASK)
    with pytest.raises(RecordError):
        writer.close()
