"""Wherever a crash cut the end of a file: exactly the torn part is left out, and it is told."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
from sashizu_audit import AuditStore, AuditWriter, verify_record
from sashizu_audit.sealing import seal_record
from sashizu_audit.segments import sealed_segments
from sashizu_audit.spool import WriterOptions
from sashizu_core.events import Event

SMALL = WriterOptions(ballast_bytes=0, flush_s=3600.0)


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path, bytes]:
    """A record, its one file, and what that held when its writer was killed."""
    folder = tmp_path_factory.mktemp("torn") / "audit"
    writer = AuditWriter(folder, options=SMALL)
    for number in range(5):
        writer.write([Event("tool.requested", {"tool": f"t{number}"})])
    writer._spool.abandon()
    return folder, writer.path, writer.path.read_bytes()


def begin_of_last_three(data: bytes) -> int:
    return len(data) - sum(map(len, data.splitlines(keepends=True)[-3:]))


@pytest.mark.parametrize("fill", [0, 1, 300])
def test_cut_at_any_byte_of_the_last_three_lines_it_is_torn_and_never_damage(
    whole: tuple[Path, Path, bytes], fill: int
) -> None:
    folder, path, data = whole
    for size in range(begin_of_last_three(data), len(data)):
        path.write_bytes(data[:size] + bytes(fill))
        os.utime(path, (1, 1))
        lines = data[:size].count(b"\n")
        at_an_end = data[size - 1 : size] == b"\n" or data[size : size + 1] == b"\n"
        report = verify_record(folder)
        newline_alone = data[size : size + 1] == b"\n" and not fill
        assert report.exit_code == (0 if at_an_end and not fill else 2), size
        assert report.events == lines + newline_alone, size
    path.write_bytes(data)


@pytest.mark.parametrize("fill", [0, 300])
def test_queries_and_seals_leave_out_the_torn_part_alone(
    whole: tuple[Path, Path, bytes], tmp_path: Path, fill: int
) -> None:
    folder, path, data = whole
    begin = begin_of_last_three(data)
    for number, size in enumerate(range(begin + 40, len(data) - 1, 157)):
        path.write_bytes(data[:size] + bytes(fill))
        copy = tmp_path / str(number)
        (copy / "hot").mkdir(parents=True)
        (copy / "store.json").write_bytes((folder / "store.json").read_bytes())
        (copy / "hot" / path.name).write_bytes(path.read_bytes())
        kept = data[:size].count(b'"tool":"t') if data[size - 1 : size] == b"\n" else None
        complete = data[: data[:size].rfind(b"\n") + 1].count(b'"tool":"t')
        count = "SELECT count(*) FROM events WHERE kind = 'tool.requested'"
        assert AuditStore(copy).query(count).rows == ((kept or complete,),)
        seal_record(copy)
        assert AuditStore(copy).query(count).rows == ((kept or complete,),)
        (file,) = [f for f in sealed_segments(copy).values() if f.path.name.startswith(path.stem)]
        with file.open() as lines:
            assert lines.read() == data[:size] + bytes(fill)  # nothing is cut from evidence
        assert verify_record(copy).exit_code == 2
    path.write_bytes(data)


def test_a_writer_never_brings_the_engine_that_reads(tmp_path: Path) -> None:
    program = (
        "import sys; from pathlib import Path; from sashizu_audit import AuditWriter\n"
        "from sashizu_core.events import Event\n"
        "with AuditWriter(Path(sys.argv[1])) as writer:\n"
        "    writer.write([Event('tool.requested', {'tool': 't'})])\n"
        "    writer.child_ended(writer.child_handoff())\n"
        "    writer.flush()\n"
        "print('duckdb' in sys.modules)"
    )
    done = subprocess.run(
        [sys.executable, "-c", program, str(tmp_path)], capture_output=True, text=True, check=True
    )
    assert done.stdout == "False\n"
