"""Many processes, threads and files at once: nobody waits for anybody, and nothing is mixed."""

from __future__ import annotations

import multiprocessing
import os
import subprocess
import sys
import time
from collections import Counter
from pathlib import Path

import orjson
import pytest
from sashizu_audit import AuditStore, AuditWriter, verify_record
from sashizu_audit.layout import open_layout
from sashizu_audit.notes import open_signer
from sashizu_audit.sealing import seal_record
from sashizu_audit.segments import hot_segments
from sashizu_audit.signing import make_checkpoint
from sashizu_audit.spool import WriterOptions
from sashizu_audit.verify import record_id
from sashizu_audit.writer_lines import SYSTEM_CLOCK, WriterLines
from sashizu_core.events import Event
from sashizu_core.ids import uuid7

SMALL = WriterOptions(ballast_bytes=0)

WRITES = """
import sys
from pathlib import Path
from sashizu_audit import AuditWriter
from sashizu_core.events import Event

with AuditWriter(Path(sys.argv[1])) as writer:
    for number in range(int(sys.argv[2])):
        writer.write([Event("tool.requested", {"tool": writer.writer_id, "step": number})])
"""


def written_at_once(folder: Path, processes: int, events: int) -> None:
    """Let so many processes write, and see that each has a whole chain of its own."""
    started = [
        subprocess.Popen([sys.executable, "-c", WRITES, str(folder), str(events)])
        for _ in range(processes)
    ]
    assert [process.wait() for process in started] == [0] * processes
    found: Counter[str] = Counter()
    for (writer_id, _), file in hot_segments(folder).items():
        with file.open() as lines:
            for line in map(orjson.loads, lines):
                assert line["writer_id"] == writer_id
                if line["kind"] == "tool.requested":
                    assert (line["tool"], line["step"]) == (writer_id, found[writer_id])
                    found[writer_id] += 1
    assert sorted(found.values()) == [events] * processes
    report = verify_record(folder)
    assert (report.exit_code, len(report.writers)) == (0, processes)


def test_processes_that_write_at_once_each_have_every_line(tmp_path: Path) -> None:
    written_at_once(tmp_path, 4, 500)


@pytest.mark.crash
def test_sixteen_processes_write_ten_thousand_events_each(tmp_path: Path) -> None:
    written_at_once(tmp_path, 16, 10_000)


# --- processes that are started by one that writes ------------------------------------------------


STARTS = """
import multiprocessing, sys
from pathlib import Path
from sashizu_audit import AuditWriter
from sashizu_core.events import Event

def write(folder, tool):
    with AuditWriter(folder) as writer:
        writer.write([Event("tool.requested", {"tool": tool})])

def main(folder, method):
    with AuditWriter(folder) as writer:
        writer.write([Event("tool.requested", {"tool": "before"})])
        child = multiprocessing.get_context(method).Process(target=write, args=(folder, "child"))
        child.start()
        writer.write([Event("tool.requested", {"tool": "meanwhile"})])
        child.join()
        writer.write([Event("tool.requested", {"tool": "after"})])
        return child.exitcode

if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1]), sys.argv[2]))
"""


@pytest.mark.parametrize("method", multiprocessing.get_all_start_methods())
def test_a_child_of_multiprocessing_has_its_own_chain(tmp_path: Path, method: str) -> None:
    (tmp_path / "starts.py").write_text(STARTS)
    folder = tmp_path / "audit"
    words = [sys.executable, str(tmp_path / "starts.py"), str(folder), method]
    subprocess.run(words, check=True)
    report = verify_record(folder)
    assert (report.exit_code, len(report.writers)) == (0, 2)
    data = [file.path.read_bytes() for file in hot_segments(folder).values()]
    assert sorted(one.count(b'"tool.requested"') for one in data) == [1, 3]


# --- locks ----------------------------------------------------------------------------------------


@pytest.mark.skipif(sys.platform == "win32", reason="unsupported: there is no flock")
def test_no_lock_is_waited_for(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import fcntl

    asked: list[int] = []
    flock = fcntl.flock

    def noted(fd: int, operation: int) -> None:
        asked.append(operation)
        flock(fd, operation)

    def refused(*_: object) -> None:
        raise AssertionError("a lock of the kind that waits")

    monkeypatch.setattr(fcntl, "flock", noted)
    monkeypatch.setattr(fcntl, "lockf", refused)
    monkeypatch.setattr(os, "lockf", refused)
    folder = tmp_path / "audit"
    options = WriterOptions(ballast_bytes=0, segment_bytes=2_000)
    with AuditWriter(folder, options=options) as writer:
        for _ in range(20):
            writer.write([Event("tool.requested", {"tool": "t"})])
        handoff = writer.child_handoff()
        AuditWriter(folder, options=options, parent=handoff).close()
        writer.child_ended(handoff)
        assert seal_record(folder) is not None
        assert verify_record(folder).exit_code == 0
        make_checkpoint(folder, open_signer(tmp_path / "keys", record_id(folder)))
        AuditStore(folder).query("FROM events")
    assert asked
    assert all(operation & fcntl.LOCK_NB for operation in asked)


# --- files ----------------------------------------------------------------------------------------

FEW_DESCRIPTORS = """
import resource, sys
from pathlib import Path
from sashizu_audit import AuditStore, verify_record
from sashizu_audit.sealing import seal_record

resource.setrlimit(resource.RLIMIT_NOFILE, (256, 256))
folder = Path(sys.argv[1])
count = "SELECT count(*) FROM events WHERE kind = 'tool.requested'"
print(AuditStore(folder).query(count, timeout_s=300).rows[0][0])
report = seal_record(folder)
print(report.segments, len(report.left))
print(AuditStore(folder).query(count).rows[0][0])
print(verify_record(folder).exit_code)
"""


def tiny_segments(folder: Path, count: int) -> None:
    """As many writers as that, each with one event."""
    layout = open_layout(folder, 0)
    for _ in range(count):
        lines = WriterLines(uuid7(), SYSTEM_CLOCK)
        opened = {"store_id": layout.store_id, "segment": 0, "previous_h": lines.head.decode()}
        data = lines.make(
            [
                ("writer.opened", b'"attrs":' + orjson.dumps(opened)),
                ("tool.requested", b'"tool":"t"'),
                ("writer.closed", b'"attrs":{"events":3,"reason":"closed"}'),
            ]
        )
        layout.segment(lines.writer_id, 0).write_bytes(data)


@pytest.mark.crash
@pytest.mark.skipif(sys.platform == "win32", reason="unsupported: Windows has no RLIMIT_NOFILE")
def test_five_thousand_tiny_segments_are_asked_sealed_and_checked_with_few_descriptors(
    tmp_path: Path,
) -> None:
    folder = tmp_path / "audit"
    tiny_segments(folder, 5_000)
    begun = time.monotonic()
    done = subprocess.run(
        [sys.executable, "-c", FEW_DESCRIPTORS, str(folder)],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.stdout.split() == ["5000", "5000", "0", "5000", "0"], done.stderr
    assert time.monotonic() - begun < 300
