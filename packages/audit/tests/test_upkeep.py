"""While a process writes for long, what others have ended is sealed, and silence is signed."""

from __future__ import annotations

import logging
import os
import sys
import threading
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from time import time_ns

import pytest
from sashizu_audit import AuditWriter, health, upkeep, verify_record
from sashizu_audit.checkpoints import read_digests
from sashizu_audit.keys import signer_of
from sashizu_audit.sealing import seal_record
from sashizu_audit.segments import hot_segments, sealed_segments
from sashizu_audit.settings import AuditSettings
from sashizu_audit.sink import open_sink
from sashizu_audit.spool import WriterOptions
from sashizu_audit.upkeep import LOOK_S, Program, Task, Upkeep, start_upkeep
from sashizu_audit.upkeep_program import main
from sashizu_audit.writer_lines import Clock
from sashizu_core.events import Event

SMALL = WriterOptions(ballast_bytes=0)


class Hours:
    """A clock that goes on when it is told, beginning now."""

    def __init__(self) -> None:
        self.after_s = 0.0
        begun_ns = time_ns()
        self.clock = Clock(wall_ns=lambda: begun_ns + int(self.after_s * 1e9))

    def wait(self, seconds: float) -> bool:
        """Time passes until somebody has looked seven times."""
        self.after_s += seconds
        return self.after_s > 7 * LOOK_S


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("SASHIZU_HOME", str(tmp_path / "home"))
    write(tmp_path / "audit")
    return tmp_path / "audit"


def write(folder: Path, size: int = 10) -> None:
    with AuditWriter(folder, options=SMALL) as writer:
        for _ in range(max(1, size // 60_000)):
            pad = {"pad": "x" * min(size, 60_000)}
            writer.write([Event("tool.requested", {"tool": "t", "attrs": pad})])


def store_id(folder: Path) -> str:
    with AuditWriter(folder, options=SMALL) as writer:
        return writer.store_id


def settings(folder: Path, seal_mib: int = 64) -> AuditSettings:
    return AuditSettings(dir=str(folder), ballast_mib=0, seal_mib=seal_mib)


def nothing(_folder: Path, _tasks: Sequence[Task]) -> str:
    return ""


def looking(folder: Path, hours: Hours, *, seal_mib: int = 64) -> Callable[[], list[Task]]:
    own = store_id(folder)
    return Upkeep(settings(folder, seal_mib), own, nothing, hours.wait, hours.clock).due


def test_what_ended_a_minute_ago_is_due_and_what_seals_it_leaves_nothing_due(folder: Path) -> None:
    hours = Hours()
    due = looking(folder, hours)
    assert due() == []
    hours.after_s = LOOK_S + 1
    assert due() == ["seal"]
    seal_record(folder)
    assert hot_segments(folder)  # what says that it was sealed
    hours.after_s = 3 * LOOK_S
    assert due() == []


def test_much_is_due_at_once_and_without_seal_mib_nothing_is(folder: Path) -> None:
    write(folder, 1_100_000)
    assert looking(folder, Hours(), seal_mib=1)() == ["seal"]
    assert looking(folder, Hours(), seal_mib=0)() == []


def test_what_is_being_written_is_not_due(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SASHIZU_HOME", str(tmp_path / "home"))
    hours = Hours()
    with AuditWriter(tmp_path / "audit", options=SMALL) as writer:
        writer.write([Event("tool.requested", {"tool": "t"})])
        hours.after_s = 3000.0
        look = Upkeep(
            settings(tmp_path / "audit"), writer.store_id, nothing, hours.wait, hours.clock
        )
        assert look.due() == []


def test_silence_is_signed_each_hour_if_there_is_a_key(folder: Path) -> None:
    hours = Hours()
    due = looking(folder, hours, seal_mib=0)
    hours.after_s = 7200.0
    assert due() == []
    keys = Path(os.environ["SASHIZU_HOME"]) / "keys"
    public = signer_of(folder, keys, store_id(folder)).public
    assert due() == ["sign"]
    for made in (1, 2, 3):
        assert main([str(folder), "sign"], hours.clock) == 0
        hours.after_s = 0.0
        assert main([str(folder), "sign"], hours.clock) == 0  # somebody else who looks after it
        assert len(read_digests(folder).leaves) == made
        hours.after_s = 3500.0
        assert due() == []
        hours.after_s = 3700.0
        assert due() == ["sign"]
    assert verify_record(folder, key=public).exit_code == 0


def test_the_doctor_misses_what_should_have_been_signed_while_somebody_writes(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    keys = Path(os.environ["SASHIZU_HOME"]) / "keys"
    now_s = time_ns() / 1e9

    def state() -> tuple[str, bool]:
        found = {one.check: one for one in health.examine(folder, settings(folder), keys)}
        return found["checkpoints"].state, "signs every hour" in found["checkpoints"].text

    monkeypatch.setattr(health, "_jail", lambda _: iter(()))
    assert main([str(folder), "sign"]) == 0
    with AuditWriter(folder, options=SMALL):
        assert state() == ("ok", False)
        monkeypatch.setattr(health, "time", lambda: now_s + 3 * 3600)
        assert state() == ("notice", True)
    assert state() == ("ok", False)  # nobody was there who could have


def test_each_look_has_done_what_is_due_and_tells_a_failure_once(
    folder: Path, caplog: pytest.LogCaptureFixture
) -> None:
    hours, done = Hours(), []
    answers: Iterator[str] = iter(["the disk is full", "the disk is full", "", "no room again"])

    def work(at: Path, tasks: Sequence[Task]) -> str:
        assert at == folder
        done.append((hours.after_s, tasks))
        return next(answers, "")

    with caplog.at_level(logging.WARNING):
        Upkeep(settings(folder), store_id(folder), work, hours.wait, hours.clock).run()
    assert done == [(LOOK_S * n, ["seal"]) for n in range(1, 8)]
    told = [record.getMessage() for record in caplog.records]
    assert told == [
        "the record is not looked after: the disk is full",
        "the record is not looked after: no room again",
    ]


def test_a_record_that_cannot_be_looked_at_ends_no_upkeep(
    folder: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    looks = iter([False, False, True])

    def broken(_folder: Path) -> list[object]:
        raise PermissionError("no access")

    monkeypatch.setattr(upkeep, "_waiting", broken)
    with caplog.at_level(logging.WARNING):
        Upkeep(settings(folder), store_id(folder), nothing, lambda _: next(looks)).run()
    assert [record.getMessage() for record in caplog.records] == [
        "the record is not looked after: no access"
    ]


def test_nobody_who_writes_waits_for_who_seals(folder: Path) -> None:
    at_it, go_on = threading.Event(), threading.Event()

    def work(_folder: Path, _tasks: Sequence[Task]) -> str:
        at_it.set()
        assert go_on.wait(60)
        return ""

    looks = iter([False, True])
    hours = Hours()
    hours.after_s = 100.0
    look = Upkeep(settings(folder), store_id(folder), work, lambda _: next(looks), hours.clock)
    thread = threading.Thread(target=look.run)
    with AuditWriter(folder, options=SMALL) as writer:
        thread.start()
        assert at_it.wait(60)
        writer.write([Event("tool.requested", {"tool": "meanwhile"})])
        writer.flush()
        go_on.set()
        thread.join()


def test_the_program_seals_and_signs_and_says_what_failed(
    folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main([str(folder), "seal", "sign"]) == 0
    assert sealed_segments(folder)
    assert len(read_digests(folder).leaves) == 1
    assert main([str(tmp_path / "nothing"), "seal"]) == 1
    assert "holds no record" in capsys.readouterr().err


def test_the_program_is_started_and_what_it_says_is_heard(tmp_path: Path) -> None:
    said = Program()(tmp_path / "nothing", ["seal"])
    assert "holds no record" in said
    assert "Traceback" not in said


@pytest.mark.skipif(sys.platform == "win32", reason="the program is a script")
def test_work_that_is_under_way_ends_with_the_writer(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    script = tmp_path / "slow"
    script.write_text(f"#!/bin/sh\ntouch {tmp_path}/begun\nexec sleep 600\n")
    script.chmod(0o700)
    begun = threading.Event()
    monkeypatch.setattr(upkeep.sys, "executable", str(script))
    monkeypatch.setattr(upkeep, "_GRACE_S", 0.01)
    monkeypatch.setattr(upkeep, "LOOK_S", 0.01)
    start = upkeep.subprocess.Popen

    def started(*words: object, **options: object) -> object:
        begun.set()
        return start(*words, **options)

    monkeypatch.setattr(upkeep.subprocess, "Popen", started)
    write(folder)
    stop = start_upkeep(settings(folder), store_id(folder))
    assert begun.wait(60)
    stop()
    assert not [one for one in threading.enumerate() if one.name == "sashizu-upkeep"]


async def test_a_record_is_looked_after_while_its_sink_is_open(folder: Path) -> None:
    def at_it() -> list[str]:
        return [one.name for one in threading.enumerate() if one.name == "sashizu-upkeep"]

    async with open_sink(settings(folder)) as sink:
        assert len(at_it()) == 1
        handoff = sink.child_handoff()
        async with open_sink(settings(folder), parent=handoff):
            assert len(at_it()) == 1  # whoever started it looks after the record
    assert at_it() == []
