"""What is left after the worst: killed writers, torn lines, a full disk, a fork."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
from pathlib import Path

import anyio
import pytest
from sashizu_audit import AuditStore, AuditWriter, verify_segment
from sashizu_audit.spool import WriterOptions
from sashizu_core.errors import RecordError
from sashizu_core.events import Event

SMALL = WriterOptions(ballast_bytes=0)

WRITE_FOR_EVER = """
import sys
from pathlib import Path
from sashizu_audit import AuditWriter
from sashizu_core.events import Event

with AuditWriter(Path(sys.argv[1])) as writer:
    n = 0
    while True:
        writer.write([Event("tool.requested", {"tool": f"t{n}", "attrs": {"pad": "x" * 700}})])
        n += 1
        sys.stdout.write(f"{n}\\n")
        sys.stdout.flush()
"""


def start_writer(folder: Path) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-c", WRITE_FOR_EVER, str(folder)], stdout=subprocess.PIPE, text=True
    )


def kill_after(process: subprocess.Popen[str], events: int) -> int:
    """Kill a writer once it has acknowledged so many events; returns how many it did in all."""
    assert process.stdout is not None
    acknowledged = 0
    while acknowledged < events:
        acknowledged = int(process.stdout.readline())
    process.send_signal(signal.SIGKILL)
    rest = [line for line in process.stdout.read().split("\n") if line.strip().isdigit()]
    process.wait()
    process.stdout.close()
    return max(acknowledged, *map(int, rest)) if rest else acknowledged


def events_in(path: Path) -> int:
    return sum(b'"kind":"tool.requested"' in line for line in path.read_bytes().splitlines())


@pytest.mark.crash
@pytest.mark.skipif(not hasattr(signal, "SIGKILL"), reason="this system has no SIGKILL")
def test_sixteen_killed_writers_lose_no_acknowledged_event(tmp_path: Path) -> None:
    processes = [start_writer(tmp_path) for _ in range(16)]
    acknowledged = sum(
        kill_after(process, 20 + 7 * number) for number, process in enumerate(processes)
    )
    segments = list((tmp_path / "hot").iterdir())
    assert len(segments) == 16
    assert sum(events_in(path) for path in segments) >= acknowledged
    for path in segments:
        report = verify_segment(path)
        assert not report.damage
        assert not report.closed
    count = AuditStore(tmp_path).query(
        "SELECT count(*) FROM events WHERE kind = 'tool.requested'", limit=1
    )
    assert count.rows[0][0] >= acknowledged
    gaps = AuditStore(tmp_path).query("SELECT * FROM seq_gaps WHERE missing <> 0")
    assert gaps.rows == ()


@pytest.mark.crash
def test_a_segment_cut_at_any_byte_of_its_end_keeps_every_whole_line(tmp_path: Path) -> None:
    with AuditWriter(tmp_path, options=SMALL) as writer:
        for number in range(4):
            writer.write([Event("tool.requested", {"tool": f"t{number}"})])
        whole = writer.path.read_bytes()
    lines = whole.splitlines(keepends=True)
    target = tmp_path / "cut.jsonl"
    for size in range(len(whole) - sum(map(len, lines[-3:])), len(whole) + 1):
        target.write_bytes(whole[:size])
        report = verify_segment(target)
        assert not report.damage
        only_newline_lost = whole[size : size + 1] == b"\n"
        whole_lines = whole[:size].count(b"\n") + only_newline_lost
        assert report.events == whole_lines
        after_last_newline = size - (whole[:size].rfind(b"\n") + 1)
        assert report.torn_bytes == (0 if only_newline_lost else after_last_newline)


@pytest.mark.crash
def test_any_changed_byte_is_found(tmp_path: Path) -> None:
    with AuditWriter(tmp_path, options=SMALL) as writer:
        writer.write([Event("tool.requested", {"tool": "t"})])
        path = writer.path
    whole = path.read_bytes()
    first_line = whole.index(b"\n")
    target = tmp_path / "changed.jsonl"
    for position in range(first_line + 1, len(whole)):
        changed = bytearray(whole)
        changed[position] ^= 0x01
        target.write_bytes(changed)
        assert not verify_segment(target).intact, position


def _limited(folder: Path, most_bytes: int) -> subprocess.CompletedProcess[str]:
    """Write events in a process whose files may not grow beyond so many bytes."""
    program = f"""
import resource, signal, sys
from pathlib import Path
from sashizu_audit import AuditWriter
from sashizu_audit.spool import WriterOptions
from sashizu_core.errors import RecordError
from sashizu_core.events import Event

signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
writer = AuditWriter(Path(sys.argv[1]), options=WriterOptions(ballast_bytes=0))
resource.setrlimit(resource.RLIMIT_FSIZE, ({most_bytes}, {most_bytes}))
taken = 0
try:
    while True:
        writer.write([Event("tool.requested", {{"tool": "t" * 50}})])
        taken += 1
except RecordError as error:
    print(taken, error)
"""
    # -B: a module that were compiled now would be cut off as well, for everybody who comes after
    return subprocess.run(
        [sys.executable, "-B", "-c", program, str(folder)],
        capture_output=True,
        text=True,
        check=True,
    )


@pytest.mark.skipif(sys.platform == "win32", reason="unsupported: Windows has no RLIMIT_FSIZE")
@pytest.mark.parametrize("most_bytes", [2500, 2501, 2777, 3000])
def test_a_file_that_cannot_grow_refuses_the_event_and_keeps_no_half_of_it(
    tmp_path: Path, most_bytes: int
) -> None:
    output = _limited(tmp_path, most_bytes).stdout
    taken, message = output.split(" ", 1)
    assert "nothing further is done" in message
    (segment,) = (tmp_path / "hot").iterdir()
    report = verify_segment(segment)
    assert report.torn_bytes == 0
    assert not report.damage
    assert events_in(segment) == int(taken)


@pytest.mark.skipif(not hasattr(os, "fork"), reason="unsupported: this system has no fork")
@pytest.mark.filterwarnings("ignore:This process:DeprecationWarning")
def test_a_forked_child_writes_a_chain_of_its_own_and_the_parents_stays_whole(
    tmp_path: Path,
) -> None:
    with AuditWriter(tmp_path, options=SMALL) as writer:
        writer.write([Event("tool.requested", {"tool": "before"})])
        child = os.fork()
        if child == 0:
            status = 1
            try:
                writer.write([Event("tool.requested", {"tool": "child"})])
                writer.close()
                status = 0
            finally:
                os._exit(status)
        assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
        writer.write([Event("tool.requested", {"tool": "after"})])
    segments = sorted((tmp_path / "hot").iterdir())
    assert [events_in(path) for path in segments] in ([2, 1], [1, 2])
    assert all(verify_segment(path).intact for path in segments)


async def test_threads_and_tasks_share_one_intact_chain(tmp_path: Path) -> None:
    with AuditWriter(tmp_path, options=SMALL) as writer:

        def many() -> None:
            for _ in range(200):
                writer.write([Event("tool.requested", {"tool": threading.current_thread().name})])

        async with anyio.create_task_group() as group:
            for _ in range(4):
                group.start_soon(anyio.to_thread.run_sync, many)
        await writer.durable()
        path = writer.path
    assert events_in(path) == 800
    assert verify_segment(path).intact


def test_a_closed_writer_takes_nothing_more(tmp_path: Path) -> None:
    writer = AuditWriter(tmp_path, options=SMALL)
    writer.close()
    with pytest.raises(RecordError, match="closed"):
        writer.write([Event("tool.requested", {"tool": "t"})])


def test_events_that_belong_together_are_taken_all_or_none(tmp_path: Path) -> None:
    with AuditWriter(tmp_path, options=SMALL) as writer:
        with pytest.raises(RecordError, match="unknown column 'toool'; did you mean 'tool'"):
            writer.write(
                [Event("tool.requested", {"tool": "t"}), Event("tool.ended", {"toool": 1})]
            )
        path = writer.path
    assert events_in(path) == 0
    assert verify_segment(path).intact
