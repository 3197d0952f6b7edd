"""Checks a whole record: every chain, what writers say of one another, and checkpoints.

A chain finds changed, removed, repeated and moved lines. What it cannot find, a cut end, a chain
that was computed anew, files that are gone, is found by whoever else knew that head: a forked
child, the writer that announced another one, and signed checkpoints.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import orjson
from sashizu_core.errors import UsageError

from sashizu_audit.checkpoints import read_digests
from sashizu_audit.dropped import PruningTold
from sashizu_audit.findings import Finding, Grade, WriterScan
from sashizu_audit.manifest import read_manifest
from sashizu_audit.notes import Checkpoint, PublicKey
from sashizu_audit.scan import scan_writer
from sashizu_audit.segments import by_writer, find_segments
from sashizu_audit.verify_notes import NoteChecks
from sashizu_audit.verify_others import cross_check, told_beforehand
from sashizu_audit.verify_sealed import SealedClaims, check_sealed

__all__ = ["RecordReport", "WriterReport", "record_id", "verify_record"]

_TRIES = 5


@dataclass(frozen=True, slots=True)
class WriterReport:
    """What was found of one writer.

    `verdict` is `intact`, `damaged`, `unchecked` (files that would tell are missing), `torn` (a
    crash left half a line), `missing` (announced, but it left no file), or `pruned` (intact, and
    all of it dropped lawfully). `last` is the number of its last event, -1 if there is none;
    `alive` says that it was being written.
    """

    writer_id: str
    verdict: str
    events: int
    segments: int
    last: int
    head: str
    alive: bool
    closed: bool
    findings: tuple[Finding, ...]


@dataclass(frozen=True, slots=True)
class RecordReport:
    """What was found of a record.

    `signed` counts the digests that a checked signature covers, `prunings` are those that they tell
    of, `redacted` counts lines that were taken out lawfully, `sealed` segments that are sealed.
    """

    store_id: str
    writers: tuple[WriterReport, ...]
    findings: tuple[Finding, ...]
    signed: int
    sealed: int = 0
    prunings: tuple[PruningTold, ...] = ()
    redacted: int = 0

    @property
    def events(self) -> int:
        return sum(writer.events for writer in self.writers)

    @property
    def all_findings(self) -> tuple[Finding, ...]:
        """Those about writers and those about checkpoints."""
        return (*self.findings, *(f for writer in self.writers for f in writer.findings))

    @property
    def exit_code(self) -> int:
        """0 intact, 1 changed or removed, 2 torn by a crash only, 3 not to be told."""
        grades = {finding.grade for finding in self.all_findings}
        for grade, code in (("damage", 1), ("unchecked", 3), ("torn", 2)):
            if grade in grades:
                return code
        return 0


def record_id(folder: Path) -> str:
    """The id of the record in a folder.

    Raises:
        UsageError: there is none.
    """
    try:
        return str(orjson.loads((folder / "store.json").read_bytes())["store_id"])
    except (OSError, orjson.JSONDecodeError, KeyError, TypeError) as error:
        raise UsageError(
            f"{str(folder)!r} holds no record that can be checked: its store.json is missing or "
            "unreadable"
        ) from error


def verify_record(
    folder: Path, *, key: PublicKey | None = None, anchors: Sequence[Checkpoint] = ()
) -> RecordReport:
    """Check the record in a folder; it may be written, sealed and pruned meanwhile. Blocks.

    `key` checks the signatures of checkpoints, `anchors` are checkpoints that were kept elsewhere.

    Raises:
        UsageError: there is no record.
        OSError: a file of it cannot be read.
    """
    store_id = record_id(folder)
    for _ in range(_TRIES):
        generation = read_manifest(folder).generation
        try:
            report = _verify(folder, store_id, key, anchors)
        except FileNotFoundError:
            if read_manifest(folder).generation == generation and _folder_is_quiet(folder):
                raise
            continue
        if report.exit_code in (0, 2) or read_manifest(folder).generation == generation:
            return report  # else files were moved while they were read
    return _verify(folder, store_id, key, anchors)


def _folder_is_quiet(folder: Path) -> bool:
    from sashizu_audit.seal_lock import sealing_lock

    with sealing_lock(folder) as mine:
        return mine


def _verify(
    folder: Path, store_id: str, key: PublicKey | None, anchors: Sequence[Checkpoint]
) -> RecordReport:
    # In this order: whatever a checkpoint knows was on disk before the segments are read, and what
    # the manifest names was recorded before.
    digests = read_digests(folder)
    manifest = read_manifest(folder)
    files = find_segments(folder)
    paths = by_writer(files)
    check = NoteChecks(folder, digests, store_id, key)
    check.own_note()
    for anchor in anchors:
        check.anchor(anchor)
    dropped = check.dropped()
    claims = told_beforehand(digests, paths)
    scans = {
        writer_id: scan_writer(
            writer_id,
            paths.get(writer_id, {}),
            dropped.of(writer_id),
            dropped.lines.get(writer_id, {}),
            claims.wanted(writer_id),
            store_id,
        )
        for writer_id in sorted({*paths, *dropped.segments})
    }
    for scan in scans.values():
        check.recorded(scan)
    sealed = check_sealed(folder, manifest, files, SealedClaims(scans.values()), scans)
    lost = cross_check(folder, scans, claims)
    missing = [
        WriterReport(writer_id, "missing", 0, 0, -1, "", False, False, tuple(findings))
        for writer_id, findings in lost.items()
    ]
    reports = [_report(scan) for scan in scans.values()]
    return RecordReport(
        store_id,
        (*reports, *missing),
        (*check.findings, *sealed),
        check.signed,
        sum(file.sealed for file in files),
        tuple(dropped.prunings),
        sum(len(lines) for lines in dropped.lines.values()),
    )


def _report(scan: WriterScan) -> WriterReport:
    grades = {finding.grade for finding in scan.findings}
    verdicts: Sequence[tuple[Grade, str]] = (
        ("damage", "damaged"),
        ("unchecked", "unchecked"),
        ("torn", "torn"),
    )
    whole = "intact" if scan.segments or not scan.pruned else "pruned"
    verdict = next((word for grade, word in verdicts if grade in grades), whole)
    return WriterReport(
        scan.writer_id,
        verdict,
        scan.events,
        scan.segments,
        scan.seq,
        scan.head.decode(),
        scan.alive,
        scan.closed,
        tuple(scan.findings),
    )
