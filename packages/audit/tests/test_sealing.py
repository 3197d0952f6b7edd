"""Sealing loses nothing, doubles nothing and hides nothing, also when it is broken off."""

from __future__ import annotations

import gzip
import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import duckdb
import pytest
from sashizu_audit import AuditStore, AuditWriter, segment_walk, verify_record
from sashizu_audit import verify as verify_module
from sashizu_audit.caching import vouching
from sashizu_audit.cli import app
from sashizu_audit.disk import reading
from sashizu_audit.export import export_record
from sashizu_audit.findings import WriterScan
from sashizu_audit.manifest import Sealed, read_manifest
from sashizu_audit.notes import open_signer
from sashizu_audit.packing import pack
from sashizu_audit.rebuilding import rebuild_tables
from sashizu_audit.seal_lock import sealing_lock
from sashizu_audit.sealing import seal_record
from sashizu_audit.segments import find_segments, hot_segments, sealed_segments
from sashizu_audit.signing import make_checkpoint
from sashizu_audit.spool import WriterOptions
from sashizu_audit.tail import Tail
from sashizu_audit.verify import RecordReport, record_id
from sashizu_core.errors import RecordError, UsageError
from sashizu_core.events import Event
from typer.testing import CliRunner

SMALL = WriterOptions(ballast_bytes=0)
ROLLING = WriterOptions(ballast_bytes=0, segment_bytes=2_000)
STEPS = ("packed", "table", "recorded", "manifest")
COUNTS = "SELECT count(*), count(DISTINCT event_id), count(DISTINCT (writer_id, seq)) FROM events"
TOOLS = "SELECT tool FROM events WHERE tool IS NOT NULL ORDER BY tool"


def write(folder: Path, *tools: str, options: WriterOptions = SMALL) -> str:
    with AuditWriter(folder, options=options) as writer:
        for tool in tools:
            writer.write([Event("tool.requested", {"tool": tool, "attrs": {"pad": "x" * 300}})])
        return writer.writer_id


def tools(folder: Path) -> list[str]:
    return [row[0] for row in AuditStore(folder).query(TOOLS).rows]


def findings(report: RecordReport, grade: str = "damage") -> list[str]:
    return [f"{one.file}: {one.reason}" for one in report.all_findings if one.grade == grade]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    write(tmp_path / "audit", "a", "b")
    write(tmp_path / "audit", "c", "d", "e", "f", "g", "h", options=ROLLING)
    return tmp_path / "audit"


@pytest.fixture
def sealed(folder: Path) -> Path:
    report = seal_record(folder)
    assert report is not None
    assert report.left == []
    return folder


# --- what it does ---------------------------------------------------------------------------------


def test_what_is_sealed_is_asked_and_verified_as_before(folder: Path) -> None:
    before = {file.key: file.path.read_bytes() for file in find_segments(folder)}
    report = seal_record(folder)
    assert report is not None
    assert (report.segments, report.tables, report.left) == (len(before), 1, [])
    assert report.events == sum(data.count(b"\n") for data in before.values())
    assert report.bytes < report.raw_bytes == sum(map(len, before.values()))
    assert tools(folder) == list("abcdefgh")
    packed = sealed_segments(folder)
    assert {key: gzip.decompress(file.path.read_bytes()) for key, file in packed.items()} == before
    assert not set(before) & set(hot_segments(folder))
    assert verify_record(folder).exit_code == 0


def test_sealed_files_cannot_be_written_and_nobody_else_can_read_them(sealed: Path) -> None:
    for file in sealed_segments(sealed).values():
        assert file.path.stat().st_mode & 0o777 == 0o400
        assert file.path.parent.stat().st_mode & 0o077 == 0
    for table in read_manifest(sealed).tables:
        assert (sealed / table.path).stat().st_mode & 0o077 == 0


def test_a_table_is_sorted_by_kind_and_time_and_holds_every_event(sealed: Path) -> None:
    (table,) = read_manifest(sealed).tables
    rows = duckdb.read_parquet(str(sealed / table.path)).fetchall()
    order = duckdb.read_parquet(str(sealed / table.path)).project("kind, ts_ns").fetchall()
    assert order == sorted(order)
    assert len({kind for kind, _ in order}) > 1
    assert len(rows) == table.rows == sum(one.events for one in read_manifest(sealed).segments)


def test_a_writer_that_lives_is_left_alone(folder: Path) -> None:
    with AuditWriter(folder, options=SMALL) as writer:
        writer.write([Event("tool.requested", {"tool": "z"})])
        report = seal_record(folder)
        assert report is not None
        assert report.open == 1
        assert writer.path.exists()
        writer.write([Event("tool.requested", {"tool": "zz"})])
        assert tools(folder)[-2:] == ["z", "zz"]


def test_sealing_again_seals_only_what_came_since(sealed: Path) -> None:
    write(sealed, "i")
    report = seal_record(sealed)
    assert report is not None
    assert report.segments == 2  # that, and what the sealing before recorded
    assert tools(sealed) == list("abcdefghi")
    assert verify_record(sealed).exit_code == 0


def test_a_dead_writer_is_recovered_and_what_a_crash_left_of_it_is_kept(folder: Path) -> None:
    writer_id = write(folder, "y")
    path = folder / "hot" / f"{writer_id}.0.jsonl"
    path.write_bytes(path.read_bytes()[:-40])  # its last line is torn
    torn = path.read_bytes()
    assert verify_record(folder).exit_code == 2
    report = seal_record(folder)
    assert report is not None
    assert report.recovered == 1
    assert verify_record(folder).exit_code == 2
    assert "y" in tools(folder)
    with sealed_segments(folder)[writer_id, 0].open() as lines:
        assert lines.read() == torn
    told = "FROM events WHERE kind = 'writer.recovered'"
    (row,) = AuditStore(folder).query(told).dicts()
    attrs = json.loads(row["attrs"])
    assert (attrs["writer_id"], attrs["seq"]) == (writer_id, 1)
    assert attrs["torn_bytes"] > 0


def test_a_segment_that_was_changed_is_not_sealed_and_says_so(folder: Path) -> None:
    writer_id = write(folder, "before")
    path = folder / "hot" / f"{writer_id}.0.jsonl"
    path.write_bytes(path.read_bytes().replace(b'"before"', b'"beFore"'))
    report = seal_record(folder)
    assert report is not None
    assert [name for name, _ in report.left] == [path.name]
    assert path.exists()
    assert verify_record(folder).exit_code == 1
    assert "beFore" in tools(folder)


def test_an_empty_file_stays_where_it_is(folder: Path) -> None:
    empty = folder / "hot" / "01a1fd60-9ba4-7ed1-aecf-918fbef30080.0.jsonl"
    empty.touch()
    seal_record(folder)
    assert empty.exists()


def test_tables_of_days_that_are_over_become_one(sealed: Path) -> None:
    for tool in ("i", "j"):
        write(sealed, tool)
        seal_record(sealed)
    assert len(read_manifest(sealed).tables) == 3
    report = seal_record(sealed, today="9999-01-01")
    assert report is not None
    assert report.merged == 4
    (table,) = read_manifest(sealed).tables
    there = [path.name for path in (sealed / "parquet").rglob("*.parquet")]
    assert there == [Path(table.path).name]
    assert tools(sealed) == list("abcdefghij")
    assert verify_record(sealed).exit_code == 0


def test_without_its_tables_a_record_is_read_from_what_is_sealed(sealed: Path) -> None:
    for path in (sealed / "parquet").rglob("*.parquet"):
        path.unlink()
    assert tools(sealed) == list("abcdefgh")
    assert verify_record(sealed).exit_code == 0
    (sealed / "sealed.json").unlink()
    assert tools(sealed) == list("abcdefgh")
    made = rebuild_tables(sealed)
    assert made.tables == 1
    assert made.events == sum(one.events for one in read_manifest(sealed).segments)
    assert tools(sealed) == list("abcdefgh")
    assert verify_record(sealed).exit_code == 0


def test_a_handoff_that_was_used_before_its_segment_was_sealed_makes_another_writer(
    tmp_path: Path,
) -> None:
    folder = tmp_path / "audit"
    with AuditWriter(folder, options=SMALL) as parent:
        handoff = parent.child_handoff()
    with AuditWriter(folder, options=SMALL, parent=handoff) as child:
        assert child.writer_id == handoff["writer_id"]
    seal_record(folder)
    with AuditWriter(folder, options=SMALL, parent=handoff) as again:
        assert again.writer_id != handoff["writer_id"]


def test_a_parent_tells_where_its_child_ended_though_that_is_sealed(tmp_path: Path) -> None:
    folder = tmp_path / "audit"
    with AuditWriter(folder, options=SMALL) as parent:
        handoff = parent.child_handoff()
        with AuditWriter(folder, options=ROLLING, parent=handoff) as child:
            for _ in range(9):
                child.write([Event("tool.requested", {"attrs": {"pad": "x" * 300}})])
        seal_record(folder)
        assert not [key for key in hot_segments(folder) if key[0] == child.writer_id]
        parent.child_ended(handoff)
    (row,) = AuditStore(folder).query("FROM events WHERE kind = 'writer.child_closed'").dicts()
    found = f"SELECT max(seq), arg_max(h, seq) FROM events WHERE writer_id = '{child.writer_id}'"
    (last,) = AuditStore(folder).query(found).rows
    attrs = json.loads(row["attrs"])
    assert (attrs["seq"], attrs["h"]) == last
    assert verify_record(folder).exit_code == 0


def test_many_small_segments_are_sealed_in_batches(tmp_path: Path) -> None:
    names = [f"t{number:02}" for number in range(12)]
    for name in names:
        write(tmp_path, name)
    report = seal_record(tmp_path, batch=5)
    assert report is not None
    assert (report.segments, report.tables) == (12, 3)
    assert tools(tmp_path) == names
    assert verify_record(tmp_path).exit_code == 0


# --- broken off -----------------------------------------------------------------------------------


class BrokenOffError(Exception):
    pass


def breaking_at(step: str, count: int = 1) -> Callable[[str], None]:
    left = [count]

    def hook(now: str) -> None:
        left[0] -= now == step
        if now == step and not left[0]:
            raise BrokenOffError

    return hook


@pytest.mark.parametrize("step", STEPS)
def test_broken_off_at_any_step_the_record_reads_right_and_the_next_attempt_ends_it(
    folder: Path, step: str
) -> None:
    for _ in range(3):
        with pytest.raises(BrokenOffError):
            seal_record(folder, step=breaking_at(step))
        assert tools(folder) == list("abcdefgh")
        counts = AuditStore(folder).query(COUNTS).rows[0]
        assert len(set(counts)) == 1
        assert verify_record(folder).exit_code == 0
    seal_record(folder)
    assert tools(folder) == list("abcdefgh")
    assert len(sealed_segments(folder)) >= 3
    assert not set(sealed_segments(folder)) & set(hot_segments(folder))
    assert verify_record(folder).exit_code == 0
    known = {folder / table.path for table in read_manifest(folder).tables}
    assert set((folder / "parquet").rglob("*.parquet")) == known


KILLED = """
import os, signal, sys
from pathlib import Path
from sashizu_audit.sealing import seal_record

def step(now):
    if now == sys.argv[2]:
        os.kill(os.getpid(), signal.SIGKILL)

seal_record(Path(sys.argv[1]), step=step)
"""


@pytest.mark.crash
@pytest.mark.parametrize("step", STEPS)
def test_a_sealer_that_is_killed_leaves_a_record_that_reads_right(folder: Path, step: str) -> None:
    done = subprocess.run([sys.executable, "-c", KILLED, str(folder), step], check=False)
    assert done.returncode == -9
    assert tools(folder) == list("abcdefgh")
    assert verify_record(folder).exit_code == 0
    seal_record(folder)
    assert tools(folder) == list("abcdefgh")
    assert verify_record(folder).exit_code == 0


# --- at the same time -----------------------------------------------------------------------------


def test_of_two_sealers_one_works(folder: Path) -> None:
    with sealing_lock(folder) as mine:
        assert mine
        assert seal_record(folder) is None
        result = CliRunner().invoke(app, ["seal", "--store", str(folder)])
        assert (result.exit_code, result.stdout) == (0, "")
        assert "another process is sealing" in result.stderr
        with pytest.raises(RecordError, match="another process"):
            rebuild_tables(folder)
    report = seal_record(folder)
    assert report is not None
    assert report.segments > 0


BUSY = """
import sys
from pathlib import Path
from sashizu_audit import AuditWriter
from sashizu_audit.sealing import seal_record
from sashizu_audit.spool import WriterOptions
from sashizu_core.events import Event

options = WriterOptions(ballast_bytes=0, segment_bytes=3_000)
folder = Path(sys.argv[1])
for round in range(int(sys.argv[2])):
    with AuditWriter(folder, options=options) as writer:
        for number in range(20):
            event = Event("tool.requested", {"tool": f"t{number}", "attrs": {"pad": "x" * 400}})
            writer.write([event])
        if round % 2:
            seal_record(folder)
    seal_record(folder, today="9999-01-01" if round % 5 == 0 else "")
print("done", flush=True)
"""


def read_while_busy(folder: Path, rounds: int, sealers: int = 2) -> tuple[int, int]:
    """Ask while processes write and seal; returns how many queries, and the events at the end."""
    busy = [
        subprocess.Popen([sys.executable, "-c", BUSY, str(folder), str(rounds)], text=True)
        for _ in range(sealers)
    ]
    queries = last = 0
    while any(process.poll() is None for process in busy):
        if not (folder / "store.json").exists():
            continue
        counts = AuditStore(folder).query(COUNTS).rows[0]
        queries += 1
        assert len(set(counts)) == 1, "an event was read twice"
        assert counts[0] >= last, "the count shrank"
        last = counts[0]
        gaps = AuditStore(folder).query("FROM seq_gaps WHERE missing <> 0").rows
        assert gaps == (), "an event was missed"
        queries += 1
    assert [process.wait() for process in busy] == [0] * sealers
    return queries, AuditStore(folder).query(COUNTS).rows[0][0]


def test_who_reads_while_others_seal_sees_each_event_once_and_never_fewer(tmp_path: Path) -> None:
    folder = tmp_path / "audit"
    queries, events = read_while_busy(folder, 6)
    assert queries >= 1
    found = "SELECT count(*) FROM events WHERE kind = 'tool.requested'"
    assert AuditStore(folder).query(found).rows[0][0] == 2 * 6 * 20
    report = verify_record(folder)
    assert (report.exit_code, report.events) == (0, events)


def test_while_somebody_reads_no_file_goes_and_the_next_attempt_removes_it(tmp_path: Path) -> None:
    folder = tmp_path / "audit"
    write(folder, "a", "b")
    before = AuditStore(folder).query(COUNTS).rows
    with reading(folder / "store.json"):
        report = seal_record(folder)
        assert report is not None
        assert report.segments > 0
        lingering = set(hot_segments(folder)) & set(sealed_segments(folder))
        assert len(lingering) == report.segments
        (counts,) = AuditStore(folder).query(COUNTS).rows
        assert len(set(counts)) == 1
        assert counts[0] > before[0][0]
        assert verify_record(folder).exit_code == 0
    seal_record(folder)
    assert not set(hot_segments(folder)) & lingering


LONG = Path(__file__).parents[3] / "benchmarks/reads_while_sealing.py"


@pytest.mark.crash
@pytest.mark.skipif(not LONG.exists(), reason="benchmarks are not part of an installed package")
def test_a_short_slice_of_the_long_run_of_reads_finds_nothing() -> None:
    done = subprocess.run(
        [sys.executable, str(LONG), "--reads", "16"], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert done.stdout.count("0 with an event twice, 0 with one missing, 0 with fewer") == 2


def test_whoever_verifies_while_others_seal_finds_nothing_amiss(tmp_path: Path) -> None:
    folder = tmp_path / "audit"
    write(folder, "a")
    busy = subprocess.Popen([sys.executable, "-c", BUSY, str(folder), "6"])
    while busy.poll() is None:
        report = verify_record(folder)
        assert report.exit_code == 0, report.all_findings
    assert busy.wait() == 0


def test_a_segment_that_was_read_before_it_was_ended_and_sealed_is_no_finding(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = tmp_path / "audit"
    writer = AuditWriter(folder, options=SMALL)
    scanned = verify_module.scan_writer

    def slow(writer_id: str, *rest: Any) -> WriterScan:
        scan = scanned(writer_id, *rest)
        if writer_id == writer.writer_id:
            writer.close()  # and before the next writer is read, it is sealed and on record
            sealer.write(vouching("user:me", "sealed", None, [described_as(folder, writer_id)]))
        return scan

    with AuditWriter(folder, options=SMALL) as sealer:
        monkeypatch.setattr(verify_module, "scan_writer", slow)
        assert verify_record(folder).exit_code == 0


def described_as(folder: Path, writer_id: str) -> Sealed:
    """How a segment that has just been ended will be sealed."""
    packed = pack(folder, hot_segments(folder)[writer_id, 0], None)
    return packed.sealed


def test_tail_sees_every_event_once_though_segments_are_sealed_between_two_looks(
    tmp_path: Path,
) -> None:
    folder = tmp_path / "audit"
    write(folder, "a")
    seal_record(folder)
    reader = Tail(folder)

    def named(event: object) -> bool:
        return isinstance(event, dict) and "tool" in event

    assert [event["tool"] for event in reader.newest(5, named)] == ["a"]
    with AuditWriter(folder, options=SMALL) as writer:
        writer.write([Event("tool.requested", {"tool": "b"})])
        seen = [event["tool"] for event in reader.new_events() if named(event)]
        writer.write([Event("tool.requested", {"tool": "c"})])
    seal_record(folder)
    write(folder, "d")
    seal_record(folder)
    seen += [event["tool"] for event in reader.new_events() if named(event)]
    assert seen == ["b", "c", "d"]
    assert [event for event in reader.new_events() if named(event)] == []


# --- what is changed afterwards is found ----------------------------------------------------------


def test_any_changed_byte_of_a_sealed_file_is_found(sealed: Path) -> None:
    file = next(iter(sealed_segments(sealed).values()))
    whole = file.path.read_bytes()
    file.path.chmod(0o600)
    missed = []
    for place in range(0, len(whole), 7):
        changed = bytearray(whole)
        changed[place] ^= 1
        file.path.write_bytes(changed)
        if verify_record(sealed).exit_code != 1:
            missed.append(place)
    file.path.write_bytes(whole)
    assert missed == []
    assert verify_record(sealed).exit_code == 0


def test_a_sealed_file_that_unpacks_to_very_much_is_found_without_unpacking_it(
    sealed: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(segment_walk, "_LONGEST", 100_000)
    file = next(iter(sealed_segments(sealed).values()))
    file.path.chmod(0o600)
    file.path.write_bytes(gzip.compress(bytes(50_000_000)))
    report = verify_record(sealed)
    assert report.exit_code == 1
    assert any("longer than any line" in reason for reason in findings(report))


def test_a_sealed_segment_that_is_gone_is_found_without_any_checkpoint(sealed: Path) -> None:
    victim = write(sealed, "z")
    seal_record(sealed)
    sealed_segments(sealed)[victim, 0].path.unlink()
    assert any("it is gone" in reason for reason in findings(verify_record(sealed)))


def test_the_cut_end_of_a_dead_writer_is_found_once_it_was_recovered(folder: Path) -> None:
    writer_id = write(folder, "x", "y", "z")
    path = folder / "hot" / f"{writer_id}.0.jsonl"
    lines = path.read_bytes().splitlines(keepends=True)
    path.write_bytes(b"".join(lines[:-1]))
    seal_record(folder)
    file = sealed_segments(folder)[writer_id, 0]
    file.path.chmod(0o600)
    file.path.write_bytes(gzip.compress(b"".join(lines[:-2])))
    told = findings(verify_record(folder))
    assert any("now ends otherwise" in reason for reason in told)


def exchange(folder: Path) -> None:
    (table,) = read_manifest(folder).tables
    path = folder / table.path
    rows = duckdb.read_parquet(str(path)).filter("tool IS DISTINCT FROM 'b'")
    rows.write_parquet(str(path) + ".new")
    Path(str(path) + ".new").replace(path)


def hide(folder: Path) -> None:
    told = json.loads((folder / "sealed.json").read_bytes())
    victim = next(iter(hot_segments(folder).values()))
    told["segments"].append({**told["segments"][0], "writer_id": victim.writer_id})
    (folder / "sealed.json").write_text(json.dumps(told))


def garble(folder: Path) -> None:
    (folder / "sealed.json").write_text("{}")


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (exchange, "it is not the table that was made"),
        (hide, "the manifest says that other segments are in it"),
        (garble, "it cannot be understood"),
    ],
)
def test_a_table_that_would_answer_wrongly_is_found_and_mended(
    sealed: Path, change: Callable[[Path], None], said: str
) -> None:
    change(sealed)
    report = verify_record(sealed)
    assert report.exit_code == 1
    assert any(said in reason for reason in findings(report))
    rebuild_tables(sealed)
    assert verify_record(sealed).exit_code == 0
    assert tools(sealed) == list("abcdefgh")


def test_a_forged_hot_file_beside_the_sealed_one_is_found_and_not_asked(sealed: Path) -> None:
    file = min(sealed_segments(sealed).values(), key=lambda file: file.key)
    with file.open() as lines:
        forged = lines.read().replace(b'"a"', b'"Z"')
    (sealed / "hot" / file.path.name.removesuffix(".gz")).write_bytes(forged)
    assert verify_record(sealed).exit_code == 1
    assert tools(sealed) == list("abcdefgh")
    report = seal_record(sealed)
    assert report is not None
    assert "is not what is sealed" in report.left[0][1]


def test_checkpoints_cover_what_is_sealed_before_and_after(folder: Path, tmp_path: Path) -> None:
    signer = open_signer(tmp_path / "keys", record_id(folder))
    make_checkpoint(folder, signer)
    seal_record(folder)
    made = make_checkpoint(folder, signer)
    assert made.writers == 2  # of the checkpoint before and of the sealing
    report = verify_record(folder, key=signer.public)
    assert (report.exit_code, report.signed) == (0, 2)
    (folder / "sealed.json").unlink()
    assert make_checkpoint(folder, signer).writers == 1


def test_a_copy_holds_what_is_sealed_and_can_be_verified_and_asked(
    sealed: Path, tmp_path: Path
) -> None:
    write(sealed, "i")
    manifest = export_record(sealed, tmp_path / "copy", "copy")
    report = verify_record(tmp_path / "copy")
    assert (report.exit_code, report.events) == (0, manifest["events"])
    assert tools(tmp_path / "copy") == list("abcdefghi")


# --- commands -------------------------------------------------------------------------------------


def call(*words: str) -> dict[str, object]:
    result = CliRunner().invoke(app, [*words, "--json"], catch_exceptions=False)
    assert result.exit_code == 0, result.output
    return dict(json.loads(result.stdout))


def test_the_commands_say_what_they_did(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SASHIZU_HOME", str(tmp_path / "home"))
    made = call("seal", "--store", str(folder))
    assert (made["busy"], made["tables"], made["left"]) == (False, 1, [])
    assert not (folder / "checkpoints").exists()  # there is no key
    assert call("rebuild", "--store", str(folder))["tables"] == 1
    open_signer(tmp_path / "home" / "keys", record_id(folder))
    said = CliRunner().invoke(app, ["seal", "--store", str(folder)]).stdout
    assert said.startswith("sealed 2 segments with ")
    assert (folder / "checkpoints" / "checkpoint").exists()


def test_there_has_to_be_a_record(tmp_path: Path) -> None:
    for command in ("seal", "rebuild"):
        result = CliRunner().invoke(app, [command, "--store", str(tmp_path)])
        assert isinstance(result.exception, UsageError)
