"""What is old goes, what is held stays, and what went stays provable."""

from __future__ import annotations

import json
import os
import shutil
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, date, datetime, timedelta
from pathlib import Path

import orjson
import pytest
from sashizu_audit import AuditStore, AuditWriter, verify_record
from sashizu_audit.blobs import Blobs, blob_path
from sashizu_audit.checkpoints import read_digests
from sashizu_audit.cli import app
from sashizu_audit.holds import HeldRun, change_hold, keeping_holds, read_holds
from sashizu_audit.layout import open_layout
from sashizu_audit.notes import Signer, open_signer, read_notes
from sashizu_audit.pruning import prune_record
from sashizu_audit.rebuilding import rebuild_tables
from sashizu_audit.retention import PruneReport, Retention
from sashizu_audit.seal_lock import sealing_lock
from sashizu_audit.sealing import seal_record
from sashizu_audit.segments import sealed_segments
from sashizu_audit.settings import AuditSettings
from sashizu_audit.signing import make_checkpoint
from sashizu_audit.sink import open_sink, seal_if_due
from sashizu_audit.spool import WriterOptions
from sashizu_audit.usage import measure
from sashizu_audit.verify import RecordReport, record_id
from sashizu_audit.writer_lines import Clock
from sashizu_core.errors import RecordError, UsageError
from sashizu_core.events import Event
from sashizu_core.ids import uuid7
from typer.testing import CliRunner

TODAY = datetime.now(UTC).date()  # noqa: TID251 - what the sealer records carries it
OLD, RECENT = uuid7(), uuid7()
TOOLS = "SELECT tool FROM events WHERE tool IS NOT NULL ORDER BY tool"
YEAR = Retention(365)


def days_ago(days: int) -> Clock:
    return Clock(wall_ns=lambda: time.time_ns() - days * 86_400 * 10**9)


def write(folder: Path, days: int, *tools: str, run: str = OLD, small: int = 0) -> str:
    options = WriterOptions(ballast_bytes=0, segment_bytes=small or 1 << 20)
    with AuditWriter(folder, options=options, clock=days_ago(days)) as writer:
        for tool in tools:
            writer.write([Event("tool.requested", {"tool": tool, "run_id": run})])
        return writer.writer_id


def tools(folder: Path) -> list[str]:
    return [row[0] for row in AuditStore(folder).query(TOOLS).rows]


def begin(folder: Path, days: int) -> Path:
    """A record that was made so many days ago."""
    open_layout(folder, 0)
    path = folder / "store.json"
    told = orjson.loads(path.read_bytes())
    path.write_bytes(orjson.dumps({**told, "created_ns": days_ago(days).wall_ns()}))
    return folder


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    folder = begin(tmp_path / "audit", 600)
    write(folder, 500, "a", "b")
    write(folder, 450, "c", "d", run=RECENT)
    write(folder, 200, "e")
    write(folder, 1, "f")
    seal_record(folder)
    return folder


@pytest.fixture
def signer(tmp_path: Path, folder: Path) -> Signer:
    return open_signer(tmp_path / "keys", record_id(folder))


def prune(folder: Path, signer: Signer, retention: Retention = YEAR, **more: object) -> PruneReport:
    return prune_record(folder, lambda: signer, retention, today=TODAY, **more)  # type: ignore[arg-type]


def grades(report: RecordReport) -> set[str]:
    return {finding.grade for finding in report.all_findings}


# --- what goes and what stays ---------------------------------------------------------------------


def test_what_is_older_goes_and_verify_tells_of_it_and_finds_nothing(
    folder: Path, signer: Signer
) -> None:
    report = prune(folder, signer)
    assert (report.segments, report.events, report.held, report.left) == (2, 8, 0, [])
    assert tools(folder) == ["e", "f"]
    assert len(sealed_segments(folder)) == 2
    found = verify_record(folder, key=signer.public)
    assert found.exit_code == 0
    (told,) = found.prunings
    assert (told.events, told.segments) == (8, 2)
    assert (told.first_day, told.last_day) == (
        TODAY - timedelta(days=500),
        TODAY - timedelta(days=450),
    )
    assert grades(found) == {"note"}
    assert {writer.verdict for writer in found.writers} == {"intact", "pruned"}


def test_that_it_was_done_is_on_record(folder: Path, signer: Signer) -> None:
    prune(folder, signer)
    (row,) = AuditStore(folder).query("FROM events WHERE kind = 'audit.pruned'").dicts()
    attrs = json.loads(row["attrs"])
    assert (attrs["segments"], attrs["events"], attrs["checkpoint"]) == (2, 8, 1)
    assert row["actor"].startswith("user:")


def test_nothing_goes_twice_and_nothing_where_nothing_is_old(folder: Path, signer: Signer) -> None:
    prune(folder, signer)
    assert prune(folder, signer).segments == 0
    assert len(read_digests(folder).leaves) == 1


def test_a_dry_run_says_the_same_and_does_nothing(folder: Path, signer: Signer) -> None:
    would = prune(folder, signer, dry_run=True)
    assert tools(folder) == list("abcdef")
    assert not (folder / "checkpoints").exists()
    did = prune(folder, signer)
    assert (would.segments, would.events, would.days) == (did.segments, did.events, did.days)


def test_less_than_half_a_year_takes_insisting_and_is_told(folder: Path, signer: Signer) -> None:
    write(folder, 150, "young")
    seal_record(folder)
    with pytest.raises(UsageError, match="--i-know"):
        prune(folder, signer, Retention(100))
    assert prune(folder, signer, Retention(100, insist=True)).segments == 4
    found = verify_record(folder, key=signer.public)
    assert found.exit_code == 0
    assert any("when the newest were 150 days old" in one.reason for one in found.all_findings)


def test_a_held_run_stays_until_it_is_let_go(folder: Path, signer: Signer) -> None:
    assert change_hold(folder, RECENT, "user:me", reason="asked for", held=True)
    assert not change_hold(folder, RECENT, "user:me", held=True)
    report = prune(folder, signer)
    assert (report.segments, report.held) == (1, 1)
    assert tools(folder) == ["c", "d", "e", "f"]
    assert verify_record(folder, key=signer.public).exit_code == 0
    assert change_hold(folder, RECENT, "user:me", held=False)
    assert prune(folder, signer).segments == 1
    told = AuditStore(folder).query(
        "SELECT json_extract_string(attrs, '$.held') FROM events "
        "WHERE kind = 'config.changed' ORDER BY ts_ns"
    )
    assert told.rows == (("true",), ("false",))


def test_of_one_writer_the_held_segments_stay_and_its_chain_is_still_checked(
    tmp_path: Path,
) -> None:
    folder = begin(tmp_path / "audit", 600)
    kept = uuid7()
    options = WriterOptions(ballast_bytes=0, segment_bytes=600)
    with AuditWriter(folder, options=options, clock=days_ago(500)) as writer:
        for number in range(9):
            run = kept if number == 4 else OLD
            writer.write([Event("tool.requested", {"tool": f"t{number}", "run_id": run})])
        writer_id = writer.writer_id
    seal_record(folder)
    assert len(sealed_segments(folder)) == 10
    change_hold(folder, kept, "user:me", held=True)
    signer = open_signer(tmp_path / "keys", record_id(folder))
    assert prune(folder, signer).segments == 9
    assert tools(folder) == ["t4"]
    found = verify_record(folder, key=signer.public)
    assert found.exit_code == 0
    assert AuditStore(folder).query("FROM seq_gaps WHERE missing <> 0").rows == ()
    rebuild_tables(folder)
    assert AuditStore(folder).query("FROM seq_gaps WHERE missing <> 0").rows == ()
    ((_, file),) = [item for item in sealed_segments(folder).items() if item[0][0] == writer_id]
    file.path.chmod(0o600)
    file.path.unlink()
    assert verify_record(folder, key=signer.public).exit_code == 1


def test_a_hold_that_cannot_be_read_stops_pruning(folder: Path, signer: Signer) -> None:
    (folder / "holds.json").write_text("{")
    with pytest.raises(RecordError, match="nobody knows which runs have to be kept"):
        prune(folder, signer)
    assert tools(folder) == list("abcdef")


def test_of_many_holds_at_once_none_is_lost(tmp_path: Path) -> None:
    folder = tmp_path / "audit"
    write(folder, 1, "a")
    runs = [uuid7() for _ in range(4)]
    with ThreadPoolExecutor(len(runs)) as pool:
        list(pool.map(lambda run: change_hold(folder, run, "user:me", held=True), runs))
    assert set(read_holds(folder)) == set(runs)


def test_while_a_record_is_pruned_nobody_is_told_that_a_run_is_held(
    folder: Path, signer: Signer
) -> None:
    refused = []

    def hold(_step: str) -> None:
        with pytest.raises(RecordError, match="is pruning this record") as found:
            change_hold(folder, OLD, "user:me", held=True, wait_s=0)
        refused.append(found.value)

    prune(folder, signer, step=hold)
    assert refused
    assert read_holds(folder) == {}
    with pytest.raises(UsageError, match="was dropped meanwhile"):
        change_hold(folder, OLD, "user:me", held=True, look=lambda: HeldRun(there=False))


def test_who_changes_a_hold_is_waited_for_and_then_nothing_is_dropped(
    folder: Path, signer: Signer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("sashizu_audit.pruning._WAIT_S", 0)
    with keeping_holds(folder), pytest.raises(RecordError, match="changes what is held"):
        prune(folder, signer)
    assert tools(folder) == list("abcdef")


def test_a_run_that_is_held_after_pruning_broke_off_stays(folder: Path, signer: Signer) -> None:
    with pytest.raises(BrokenOffError):
        prune(folder, signer, step=breaking_at("signed"))
    change_hold(folder, RECENT, "user:me", held=True)
    (folder / "sealed.json").unlink()
    prune(folder, signer)
    assert tools(folder) == ["c", "d", "e", "f"]
    assert verify_record(folder, key=signer.public).exit_code == 0


def test_a_digest_without_its_note_is_told_and_is_no_fault(folder: Path, signer: Signer) -> None:
    make_checkpoint(folder, signer)
    note = (folder / "checkpoints" / "checkpoint").read_bytes()
    with pytest.raises(BrokenOffError):
        prune(folder, signer, step=breaking_at("signed"))
    (folder / "checkpoints" / "checkpoint").write_bytes(note)
    for writer in (folder / "hot").glob("*"):
        if b"audit.checkpointed" in writer.read_bytes() and b'"size":2' in writer.read_bytes():
            writer.unlink()
    found = verify_record(folder, key=signer.public)
    assert found.exit_code == 0
    assert any("no signature covers it yet" in one.reason for one in found.all_findings)


def test_on_a_disk_that_is_full_the_ballast_makes_room_to_drop_something(
    folder: Path, signer: Signer, monkeypatch: pytest.MonkeyPatch
) -> None:
    ballast = folder / "ballast"
    ballast.write_bytes(bytes(4096))
    monkeypatch.setattr("sashizu_audit.pruning.free_bytes", lambda _: 0)
    monkeypatch.setattr("sashizu_audit.layout.free_bytes", lambda _: 0)
    prune(folder, signer, dry_run=True)
    assert ballast.exists()
    assert prune(folder, signer).segments == 2
    assert not ballast.exists()


def test_what_was_changed_stays_for_whoever_looks_into_it(folder: Path, signer: Signer) -> None:
    file = min(sealed_segments(folder).values(), key=lambda one: one.day)
    import gzip

    file.path.chmod(0o600)
    file.path.write_bytes(gzip.compress(gzip.decompress(file.path.read_bytes())[:-300] + b"}\n"))
    report = prune(folder, signer)
    assert [name for name, _ in report.left] == [file.path.name]
    assert file.path.exists()
    assert verify_record(folder, key=signer.public).exit_code == 1


def test_what_a_wrong_clock_made_old_stays_unless_somebody_insists(tmp_path: Path) -> None:
    folder = begin(tmp_path / "audit", 450)
    write(folder, 20_000, "written while the clock stood at its beginning")
    write(folder, 400, "old")
    seal_record(folder)
    signer = open_signer(tmp_path / "keys", record_id(folder))
    report = prune(folder, signer)
    assert (report.segments, [reason[:4] for _, reason in report.left]) == (
        1,
        [(TODAY - timedelta(days=20_000)).isoformat()[:4]],
    )
    assert tools(folder) == ["written while the clock stood at its beginning"]
    assert prune(folder, signer, Retention(365, insist=True)).segments == 1


# --- proof ----------------------------------------------------------------------------------------


def test_checkpoints_from_before_still_hold_afterwards(folder: Path, signer: Signer) -> None:
    anchors = [make_checkpoint(folder, signer).note for _ in range(2)]
    prune(folder, signer)
    notes = [note for text in anchors for note in read_notes(text)]
    found = verify_record(folder, key=signer.public, anchors=notes)
    assert (found.exit_code, found.signed) == (0, 3)


def test_what_was_dropped_has_to_be_what_an_earlier_checkpoint_knows(
    folder: Path, signer: Signer
) -> None:
    make_checkpoint(folder, signer)
    prune(folder, signer)
    path = folder / "checkpoints" / "000001.json"
    told = orjson.loads(path.read_bytes())
    told["pruned"]["segments"][0]["h"] = "0" * 64
    path.write_bytes(orjson.dumps(told))
    assert verify_record(folder, key=signer.public).exit_code == 1


def test_who_has_no_key_cannot_drop_anything_unnoticed(folder: Path, signer: Signer) -> None:
    make_checkpoint(folder, signer)
    forged = folder.parent / "forged"
    shutil.copytree(folder, forged)
    prune(folder, signer)
    leaf = (folder / "checkpoints" / "000001.json").read_bytes()
    (forged / "checkpoints" / "000001.json").write_bytes(leaf)
    victims = set(sealed_segments(forged)) - set(sealed_segments(folder))
    for key in victims:
        sealed_segments(forged)[key].path.unlink()
    assert verify_record(forged, key=signer.public).exit_code == 1


def test_a_change_of_what_is_left_is_found_as_before(folder: Path, signer: Signer) -> None:
    prune(folder, signer)
    file = next(iter(sealed_segments(folder).values()))
    file.path.chmod(0o600)
    data = bytearray(file.path.read_bytes())
    data[len(data) // 2] ^= 1
    file.path.write_bytes(data)
    assert verify_record(folder, key=signer.public).exit_code == 1


# --- broken off -----------------------------------------------------------------------------------


class BrokenOffError(Exception):
    pass


def breaking_at(step: str) -> Callable[[str], None]:
    def hook(now: str) -> None:
        if now == step:
            raise BrokenOffError

    return hook


@pytest.mark.parametrize("step", ["signed", "recorded", "manifest"])
def test_broken_off_at_any_step_the_record_verifies_and_the_next_attempt_ends_it(
    folder: Path, signer: Signer, step: str
) -> None:
    with pytest.raises(BrokenOffError):
        prune(folder, signer, step=breaking_at(step))
    assert verify_record(folder, key=signer.public).exit_code == 0
    assert set(tools(folder)) >= {"e", "f"}
    prune(folder, signer)
    assert tools(folder) == ["e", "f"]
    assert len(sealed_segments(folder)) == 2
    found = verify_record(folder, key=signer.public)
    assert found.exit_code == 0
    assert sum(told.segments for told in found.prunings) == 2


def test_what_an_interrupted_sealing_left_does_not_come_back(folder: Path, signer: Signer) -> None:
    file = min(sealed_segments(folder).values(), key=lambda one: one.day)
    with file.open() as lines:
        (folder / "hot" / file.path.name.removesuffix(".gz")).write_bytes(lines.read())
    (folder / "sealed" / "2026-99-99").mkdir()
    shutil.copy(file.path, folder / "sealed" / "2026-99-99")
    prune(folder, signer)
    seal_record(folder)
    assert tools(folder) == ["e", "f"]


def test_while_another_process_seals_nothing_is_pruned(folder: Path, signer: Signer) -> None:
    with sealing_lock(folder), pytest.raises(RecordError, match="another process"):
        prune(folder, signer)


# --- kept texts -----------------------------------------------------------------------------------

KEEPING = WriterOptions(ballast_bytes=0, content="blobs", blob_s=1e9)
USUAL = WriterOptions(ballast_bytes=0, content="blobs")


def keep_texts(folder: Path, *texts: tuple[str, int]) -> list[str]:
    """Texts of one run, kept so many days ago."""
    kept = []
    with AuditWriter(folder, options=KEEPING) as writer:
        for text, days in texts:
            kept.append(writer.keep(text) or "")
            path = blob_path(folder, kept[-1])
            os.utime(path, (path.stat().st_mtime - days * 86_400,) * 2)
        writer.write([Event("run.started", {"run_id": RECENT})])
        writer.write([Event("tool.requested", {"run_id": RECENT, "blobs": kept})])
    return kept


def texts_of(folder: Path) -> set[str]:
    return {path.name for path in (folder / "blobs").glob("??/*")}


def test_no_text_stays_longer_than_events_and_a_dry_run_counts_it(
    folder: Path, signer: Signer
) -> None:
    _, young = keep_texts(folder, ("old", 360), ("young", 10))
    kept = Retention(300, text_days=36_500, quota_bytes=1)
    would = prune(folder, signer, kept, dry_run=True)
    assert (would.texts, would.text_bytes, len(texts_of(folder))) == (1, 3, 2)
    did = prune(folder, signer, kept)
    assert (did.texts, did.days, did.segments) == (1, would.days, would.segments)
    assert texts_of(folder) == {young}
    assert prune(folder, signer, Retention(300, text_days=5)).texts == 1


def test_texts_of_a_held_run_stay_until_it_is_let_go(
    folder: Path, signer: Signer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SASHIZU_HOME", str(tmp_path / "home"))
    (digest,) = keep_texts(folder, ("old", 0))
    path = blob_path(folder, digest)
    os.utime(path, (path.stat().st_mtime - 400 * 86_400,) * 2)
    (folder / "blobs" / "swept").unlink()
    held = CliRunner().invoke(app, ["hold", "last", "--store", str(folder)])
    assert "hold it again when it has" in held.stderr
    assert read_holds(folder)[RECENT].texts == (digest,)
    AuditWriter(folder, options=USUAL).close()
    assert prune(folder, signer).texts == 0
    assert texts_of(folder) == {digest}
    (folder / "holds.json").rename(folder / "kept")
    (folder / "holds.json").write_text("{")
    assert Blobs(folder, room_bytes=0, keep_s=0).sweep() == 0, "nobody knows what is held"
    (folder / "kept").replace(folder / "holds.json")
    change_hold(folder, RECENT, "user:me", held=False)
    assert prune(folder, signer).texts == 1


# --- room -----------------------------------------------------------------------------------------


def test_beyond_its_bound_the_oldest_days_go_but_none_below_the_floor(
    folder: Path, signer: Signer
) -> None:
    keep_all = Retention(600, quota_bytes=measure(folder).total + 1)
    assert prune(folder, signer, keep_all).segments == 0
    a_little = Retention(600, quota_bytes=measure(folder).total - 1)
    report = prune(folder, signer, a_little)
    assert (report.segments, report.over_bytes) == (1, 0)
    assert tools(folder) == list("cdef")
    report = prune(folder, signer, Retention(600, quota_bytes=1))
    assert report.segments == 2
    assert report.over_bytes > 0
    assert tools(folder) == ["f"]
    assert verify_record(folder, key=signer.public).exit_code == 0


async def test_a_record_that_is_full_takes_no_run_and_one_that_is_nearly_so_says_it(
    tmp_path: Path,
) -> None:
    folder = tmp_path / "audit"
    settings = AuditSettings(dir=str(folder), quota_mib=10, ballast_mib=0)
    async with open_sink(settings):
        pass
    (folder / "blobs").mkdir(exist_ok=True)
    with (folder / "blobs" / "x").open("wb") as file:
        file.truncate(9 * 1024 * 1024)
    async with open_sink(settings):
        pass
    (row,) = AuditStore(folder).query("FROM events WHERE kind = 'audit.quota'").dicts()
    assert json.loads(row["attrs"]) == {"quota_mib": 10, "percent": 90}
    with (folder / "blobs" / "x").open("ab") as file:
        file.truncate(11 * 1024 * 1024)
    with pytest.raises(RecordError, match="audit prune"):
        async with open_sink(settings):
            pass


async def test_a_run_that_ends_seals_when_much_waits(tmp_path: Path) -> None:
    folder = tmp_path / "audit"
    settings = AuditSettings(dir=str(folder), seal_mib=1, ballast_mib=0)
    async with open_sink(settings) as sink:
        sink.write([Event("tool.requested", {"tool": "t"})])
    assert not sealed_segments(folder)
    async with open_sink(settings) as sink:
        for _ in range(25):
            sink.write([Event("tool.requested", {"attrs": {"pad": "x" * 60_000}})])
    assert len(sealed_segments(folder)) == 2
    assert not seal_if_due(settings)


async def test_a_run_that_ends_seals_when_many_small_files_wait(tmp_path: Path) -> None:
    folder = tmp_path / "audit"
    settings = AuditSettings(dir=str(folder), ballast_mib=0)
    for _ in range(64):
        write(folder, 0, "t")
    async with open_sink(settings):
        pass
    assert len(sealed_segments(folder)) == 65


# --- commands -------------------------------------------------------------------------------------


def call(*words: str) -> object:
    result = CliRunner().invoke(app, [*words, "--json"], catch_exceptions=False)
    assert result.exit_code == 0, result.output
    return json.loads(result.stdout)


def test_runs_are_held_and_pruned_by_command(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SASHIZU_HOME", str(tmp_path / "home"))
    started = Event("run.started", {"run_id": RECENT, "attrs": {"agents": []}})
    with AuditWriter(folder) as writer:
        writer.write([started])
    place = ("--store", str(folder))
    assert call("hold", *place) == []
    assert call("hold", "last", "--reason", "court", *place) == {
        "run_id": RECENT,
        "held": True,
        "changed": True,
    }
    (held,) = call("hold", *place)  # type: ignore[misc]
    assert (held["run_id"], held["reason"]) == (RECENT, "court")
    assert set(read_holds(folder)) == {RECENT}
    would = call("prune", "--dry-run", *place)
    assert isinstance(would, dict)
    assert (would["dry_run"], would["segments"], would["held"]) == (True, 1, 1)
    assert call("hold", RECENT[:18], "--release", *place)["changed"]  # type: ignore[call-overload,index]
    done = CliRunner().invoke(app, ["prune", *place])
    assert done.stdout.startswith("dropped 2 segments with 8 events of ")
    told = CliRunner().invoke(app, ["verify", *place]).stdout
    assert "pruned: 8 events in 2 segments of" in told
    refused = CliRunner().invoke(app, ["prune", "--keep", "3", *place])
    assert isinstance(refused.exception, UsageError)
    assert date.fromisoformat(str(would["before_day"])) < TODAY
