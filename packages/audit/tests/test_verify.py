"""What `verify_record` finds: manipulations by place, crashes for what they are."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

import orjson
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sashizu_audit import AuditWriter, verify_record
from sashizu_audit.chain import link, split_line
from sashizu_audit.spool import WriterOptions
from sashizu_audit.verify import RecordReport
from sashizu_core.errors import UsageError
from sashizu_core.events import Event

SMALL = WriterOptions(ballast_bytes=0)
ROLLING = WriterOptions(ballast_bytes=0, segment_bytes=2_000)


def write(folder: Path, events: int = 4, options: WriterOptions = SMALL) -> str:
    with AuditWriter(folder, options=options) as writer:
        for number in range(events):
            writer.write([Event("tool.requested", {"tool": f"t{number}"})])
        return writer.writer_id


def segment(folder: Path, writer_id: str, number: int = 0) -> Path:
    return folder / "hot" / f"{writer_id}.{number}.jsonl"


def reasons(report: RecordReport) -> list[str]:
    return [f"{found.line} {found.reason}" for found in report.all_findings]


def verdicts(report: RecordReport) -> dict[str, str]:
    return {writer.writer_id: writer.verdict for writer in report.writers}


def edit(path: Path, change: Callable[[list[bytes]], list[bytes]]) -> None:
    path.write_bytes(b"".join(change(path.read_bytes().splitlines(keepends=True))))


# --- manipulations --------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def small_record() -> Iterator[Path]:
    with tempfile.TemporaryDirectory() as name:
        write(Path(name), 2)
        yield Path(name)


@given(place=st.floats(0, 1, exclude_max=True), flip=st.integers(1, 255))
@settings(deadline=None, max_examples=300)
def test_a_change_of_any_byte_is_damage(small_record: Path, place: float, flip: int) -> None:
    (path,) = (small_record / "hot").iterdir()
    whole = path.read_bytes()
    changed = bytearray(whole)
    changed[int(place * len(whole))] ^= flip
    try:
        path.write_bytes(changed)
        assert verify_record(small_record).exit_code == 1
    finally:
        path.write_bytes(whole)


def test_every_single_byte_of_a_record_is_guarded(small_record: Path) -> None:
    (path,) = (small_record / "hot").iterdir()
    whole = path.read_bytes()
    missed = []
    for place in range(len(whole)):
        changed = bytearray(whole)
        changed[place] ^= 1
        path.write_bytes(changed)
        if verify_record(small_record).exit_code != 1:
            missed.append(place)
    path.write_bytes(whole)
    assert missed == []
    assert verify_record(small_record).exit_code == 0


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda x: [*x[:2], *x[3:]], ["3 event 2 is missing before it"]),
        (lambda x: [*x[:1], *x[4:]], ["2 events 1 to 3 are missing before it"]),
        (lambda x: [*x[:3], x[2], *x[3:]], ["4 event 2 is repeated, or was moved here"]),
        (
            lambda x: [*x[:2], x[3], x[2], *x[4:]],
            ["3 event 2 is missing before it", "4 event 2 is repeated, or was moved here"],
        ),
        (
            lambda x: [*x[:2], x[2].replace(b'"t1"', b'"t7"'), *x[3:]],
            ["3 it was changed after it was written"],
        ),
        (lambda x: [*x[:2], b"{}\n", *x[2:]], ["3 is no event: it was changed or added"]),
        (lambda x: [*x[:2], b"\n", *x[2:]], ["3 is no event: it was changed or added"]),
        (lambda x: x[1:], ["1 event 0 is missing before it", "1 it does not open segment 0"]),
        (lambda x: [*x[:-1], x[-1][:-1]], ["0 bytes after its last line were cut off or added"]),
    ],
)
def test_what_was_done_to_lines_is_told_once_and_with_its_place(
    tmp_path: Path, change: Callable[[list[bytes]], list[bytes]], said: list[str]
) -> None:
    touched, other = write(tmp_path), write(tmp_path)
    edit(segment(tmp_path, touched), change)
    report = verify_record(tmp_path)
    assert [reason for reason in reasons(report) if "another record" not in reason] == said
    assert verdicts(report) == {touched: "damaged", other: "intact"}
    assert report.exit_code == 1


@given(data=st.data())
@settings(deadline=None, max_examples=60)
def test_lines_taken_out_doubled_or_shuffled_are_damage(
    small_record: Path, data: st.DataObject
) -> None:
    (path,) = (small_record / "hot").iterdir()
    whole = path.read_bytes()
    lines = whole.splitlines(keepends=True)
    chosen = data.draw(st.lists(st.sampled_from(lines), min_size=1, max_size=6))
    is_a_beginning = chosen == lines[: len(chosen)]  # a cut end: only others can know
    try:
        path.write_bytes(b"".join(chosen))
        assert verify_record(small_record).exit_code == (0 if is_a_beginning else 1)
    finally:
        path.write_bytes(whole)


def test_a_line_of_another_writer_is_told(tmp_path: Path) -> None:
    one, two = write(tmp_path), write(tmp_path)
    stolen = segment(tmp_path, two).read_bytes().splitlines(keepends=True)[1]
    edit(segment(tmp_path, one), lambda lines: [*lines[:2], stolen, *lines[2:]])
    report = verify_record(tmp_path)
    assert verdicts(report) == {one: "damaged", two: "intact"}
    assert reasons(report)[0] == "3 comes from another writer"


def test_files_of_two_writers_that_were_swapped_are_told(tmp_path: Path) -> None:
    one, two = (segment(tmp_path, write(tmp_path)) for _ in range(2))
    first, second = one.read_bytes(), two.read_bytes()
    one.write_bytes(second)
    two.write_bytes(first)
    assert set(verdicts(verify_record(tmp_path)).values()) == {"damaged"}


def test_a_writer_of_another_record_is_told(tmp_path: Path) -> None:
    write(tmp_path / "a")
    foreign = segment(tmp_path / "b", write(tmp_path / "b"))
    shutil.copy(foreign, tmp_path / "a" / "hot")
    assert "1 it belongs to another record" in reasons(verify_record(tmp_path / "a"))


def test_a_chain_that_skips_a_number_is_told_though_its_hashes_fit(tmp_path: Path) -> None:
    path = segment(tmp_path, write(tmp_path))
    lines = path.read_bytes().splitlines()
    del lines[2]
    head, anew = b"0" * 64, []
    for line in lines:
        parts = split_line(line)
        assert parts is not None
        head = link(head, parts[0])
        anew.append(parts[0] + b',"h":"' + head + b'"}\n')
    path.write_bytes(b"".join(anew))
    assert reasons(verify_record(tmp_path)) == ["3 event 2 is missing before it"]


# --- segments -------------------------------------------------------------------------------------


def test_segments_of_one_writer_are_one_chain(tmp_path: Path) -> None:
    writer_id = write(tmp_path, 20, ROLLING)
    (found,) = verify_record(tmp_path).writers
    assert found.segments > 2
    assert (found.verdict, found.writer_id, found.closed) == ("intact", writer_id, True)
    assert found.last == found.events - 1


def test_a_missing_middle_segment_is_damage(tmp_path: Path) -> None:
    writer_id = write(tmp_path, 20, ROLLING)
    segment(tmp_path, writer_id, 1).unlink()
    report = verify_record(tmp_path)
    assert report.exit_code == 1
    assert "0 the file is missing; a later one of its writer is there" in reasons(report)


def test_a_file_whose_number_is_absurd_costs_no_time_and_is_told_once(tmp_path: Path) -> None:
    writer_id = write(tmp_path)
    shutil.copy(segment(tmp_path, writer_id), segment(tmp_path, writer_id, 10**15))
    report = verify_record(tmp_path)
    assert report.exit_code == 1
    missing = [reason for reason in reasons(report) if "missing; a later one" in reason]
    assert missing == [
        f"0 it and {10**15 - 2} more are missing; a later one of its writer is there"
    ]


def test_a_missing_last_segment_is_named(tmp_path: Path) -> None:
    writer_id = write(tmp_path, 20, ROLLING)
    last = max((tmp_path / "hot").iterdir(), key=lambda path: int(path.name.split(".")[1]))
    last.unlink()
    report = verify_record(tmp_path)
    assert report.exit_code == 3
    assert last.name in reasons(report)[0]
    assert verdicts(report) == {writer_id: "unchecked"}


def test_a_segment_whose_end_was_cut_is_damage_where_its_writer_went_on(tmp_path: Path) -> None:
    writer_id = write(tmp_path, 20, ROLLING)
    edit(segment(tmp_path, writer_id, 0), lambda lines: lines[:-2])
    report = verify_record(tmp_path)
    assert "0 its last lines are missing; its writer went on after it" in reasons(report)
    assert report.exit_code == 1


@pytest.mark.parametrize("begun", [b"", b'{"v":1,"event_id":"01', b"\0" * 300])
def test_a_power_cut_between_two_segments_is_no_manipulation(tmp_path: Path, begun: bytes) -> None:
    writer_id = write(tmp_path, 6, ROLLING)
    edit(segment(tmp_path, writer_id, 0), lambda lines: [*lines[:-2], lines[-2][:100]])
    later = [path for path in (tmp_path / "hot").iterdir() if path.name.split(".")[1] != "0"]
    for path in later:
        path.unlink()
    following = segment(tmp_path, writer_id, 1)
    following.write_bytes(begun)
    os.utime(following, (1, 1))
    report = verify_record(tmp_path)
    assert (report.exit_code, verdicts(report)) == (2, {writer_id: "torn"})
    assert "0 a crash left its end unwritten, and nothing of what followed" in reasons(report)


# --- crashes --------------------------------------------------------------------------------------


@pytest.mark.parametrize("tail", [b"\0" * 700, b'{"v":1,"event_id":"01', b"x"])
def test_what_a_crash_leaves_of_a_line_is_told_and_is_no_damage(
    tmp_path: Path, tail: bytes
) -> None:
    writer_id = write(tmp_path)
    path = segment(tmp_path, writer_id)
    edit(path, lambda lines: [*lines[:-1], tail])
    report = verify_record(tmp_path)
    assert verdicts(report) == {writer_id: "torn"}
    assert report.exit_code == 2
    assert reasons(report) == [f"0 its last {len(tail)} bytes are no whole line: a crash left them"]


def test_half_a_line_after_an_orderly_end_is_no_crash(tmp_path: Path) -> None:
    path = segment(tmp_path, write(tmp_path))
    path.write_bytes(path.read_bytes() + b'{"v":1,')
    assert verify_record(tmp_path).exit_code == 1


def test_a_killed_writer_is_intact_and_said_not_to_have_ended(tmp_path: Path) -> None:
    program = (
        "import os,sys;from pathlib import Path;from sashizu_audit import AuditWriter;"
        "AuditWriter(Path(sys.argv[1]));os._exit(9)"
    )
    subprocess.run([sys.executable, "-c", program, str(tmp_path)], check=False)
    report = verify_record(tmp_path)
    assert report.exit_code == 0
    assert reasons(report) == ["0 its writer ended without closing it, as when it is killed"]


def test_an_empty_file_is_what_a_power_cut_leaves(tmp_path: Path) -> None:
    path = segment(tmp_path, write(tmp_path))
    path.write_bytes(b"")
    os.utime(path, (1, 1))
    assert verify_record(tmp_path).exit_code == 2


def test_a_file_that_was_made_just_now_may_still_be_empty(tmp_path: Path) -> None:
    writer_id = write(tmp_path)
    segment(tmp_path, writer_id).write_bytes(b"")
    report = verify_record(tmp_path)
    assert (report.exit_code, verdicts(report)) == (0, {writer_id: "intact"})


def test_two_may_check_a_record_at_the_same_time(tmp_path: Path) -> None:
    path = segment(tmp_path, write(tmp_path))
    edit(path, lambda lines: [*lines[:-1], b"x"])
    fd = os.open(path, os.O_RDONLY)
    try:
        if os.name == "posix":
            import fcntl

            fcntl.flock(fd, fcntl.LOCK_SH)
        assert verify_record(tmp_path).exit_code == 2
    finally:
        os.close(fd)


def test_a_record_is_checked_while_it_is_written(tmp_path: Path) -> None:
    with AuditWriter(tmp_path, options=SMALL) as writer:
        writer.write([Event("tool.requested", {"tool": "t"})])
        (found,) = verify_record(tmp_path).writers
        assert (found.alive, found.closed, found.verdict) == (True, False, "intact")
        with writer.path.open("ab") as file:
            file.write(b'{"v":1')  # a write that is under way
        assert verify_record(tmp_path).exit_code == 0


def test_a_writer_that_is_about_to_go_on_in_the_next_file_is_intact(tmp_path: Path) -> None:
    with AuditWriter(tmp_path, options=SMALL) as writer:
        writer.write([Event("tool.requested", {"tool": "t"})])
        following = segment(tmp_path, writer.writer_id, 1)
        following.touch()  # the next file is made before the last line of this one is written
        (found,) = verify_record(tmp_path).writers
        assert (found.verdict, found.alive) == ("intact", True)
    following.unlink()
    assert verify_record(tmp_path).exit_code == 0


# --- writers that know one another ----------------------------------------------------------------


def with_child(folder: Path) -> tuple[str, str]:
    with AuditWriter(folder, options=SMALL) as parent:
        handoff = parent.child_handoff()
        with AuditWriter(folder, options=SMALL, parent=handoff) as child:
            child.write([Event("tool.requested", {"tool": "t"})])
        return parent.writer_id, child.writer_id


def test_a_child_and_its_parent_are_intact(tmp_path: Path) -> None:
    parent, child = with_child(tmp_path)
    report = verify_record(tmp_path)
    assert verdicts(report) == {parent: "intact", child: "intact"}
    assert report.all_findings == ()


def test_a_child_whose_file_is_gone_is_missed_by_its_parent(tmp_path: Path) -> None:
    parent, child = with_child(tmp_path)
    segment(tmp_path, child).unlink()
    report = verify_record(tmp_path)
    assert verdicts(report) == {parent: "intact", child: "missing"}
    assert report.exit_code == 3
    assert parent in reasons(report)[0]


def test_a_parent_that_forgot_its_child_is_told(tmp_path: Path) -> None:
    parent, child = with_child(tmp_path)
    segment(tmp_path, parent).unlink()
    report = verify_record(tmp_path)
    assert verdicts(report) == {child: "unchecked"}
    assert f"its parent {parent} does not announce it" in reasons(report)[0]


@pytest.mark.skipif(not hasattr(os, "fork"), reason="unsupported: this system has no fork")
@pytest.mark.filterwarnings("ignore:This process:DeprecationWarning")
def test_a_forked_child_knows_where_its_parent_stood(tmp_path: Path) -> None:
    with AuditWriter(tmp_path, options=SMALL) as writer:
        writer.write([Event("tool.requested", {"tool": "before"})])
        pid = os.fork()
        if pid == 0:
            try:
                writer.write([Event("tool.requested", {"tool": "child"})])
                writer.close()
            finally:
                os._exit(0)
        os.waitpid(pid, 0)
        parent = writer.writer_id
    assert verify_record(tmp_path).exit_code == 0
    edit(segment(tmp_path, parent), lambda lines: lines[:1])
    report = verify_record(tmp_path)
    assert report.exit_code == 3
    assert "events 1 to 1 were cut off: its forked child" in reasons(report)[-1]


def test_a_folder_without_a_record_is_said_to_be_none(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="holds no record"):
        verify_record(tmp_path)
    (tmp_path / "store.json").write_bytes(orjson.dumps([]))
    with pytest.raises(UsageError, match="holds no record"):
        verify_record(tmp_path)


@pytest.mark.parametrize("events", [1, 2, 5])
def test_a_childs_record_that_was_written_anew_is_found_however_long_it_is(
    tmp_path: Path, events: int
) -> None:
    folder = tmp_path / "audit"
    with AuditWriter(folder) as parent:
        handoff = parent.child_handoff()
        with AuditWriter(folder, parent=handoff) as child:
            child.write([Event("tool.requested", {"tool": "a"}), Event("tool.ended", {})])
            path = child.path
        parent.child_ended(handoff)
    assert verify_record(folder).exit_code == 0
    path.unlink()
    with AuditWriter(folder, parent=handoff) as other:
        for _ in range(events):
            other.write([Event("tool.requested", {"tool": "b"})])
    assert verify_record(folder).exit_code == 1
