"""Checks a whole record: every chain, what writers say of one another, and checkpoints.

A chain finds changed, removed, repeated and moved lines. What it cannot find, a cut end, a chain
that was computed anew, files that are gone, is found by whoever else knew that head: a forked
child, the writer that announced another one, and signed checkpoints.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import orjson
from sashizu_core.errors import UsageError

from sashizu_audit.checkpoints import Digests, read_digests
from sashizu_audit.dropped import PruningTold
from sashizu_audit.manifest import read_manifest
from sashizu_audit.notes import Checkpoint, PublicKey
from sashizu_audit.scan import Finding, Grade, WriterScan, opening_attrs, scan_writer
from sashizu_audit.segments import SegmentFile, by_writer, find_segments
from sashizu_audit.verify_notes import NoteChecks
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
    from sashizu_audit.sealing import sealing_lock

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
    claims = _told_beforehand(digests, paths)
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
    missing = _cross_check(folder, scans, claims)
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


def _told_beforehand(digests: Digests, paths: Mapping[str, Mapping[int, SegmentFile]]) -> _Claims:
    """What checkpoints and forked children say, before any line is read."""
    claims = _Claims()
    for number, head in digests.heads():
        source = f"checkpoint {number + 1}"
        claims.add(head.writer_id, head.seq, head.h, source, certain=True)
    for writer_id, segments in paths.items():
        if 0 in segments:
            claims.add_fork(writer_id, opening_attrs(segments[0]).get("forked_from"))
    return claims


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


# --- what others know of a writer -----------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class _Claim:
    seq: int
    h: str
    source: str
    certain: bool  # else a power cut may have taken the event after it was told of


class _Claims:
    """Who says that an event of some writer had which `h`."""

    def __init__(self) -> None:
        self._by_writer: dict[str, list[_Claim]] = {}

    def add(self, writer_id: str, seq: int, h: str, source: str, *, certain: bool) -> None:
        self._by_writer.setdefault(writer_id, []).append(_Claim(seq, h, source, certain))

    def add_fork(self, child: str, origin: object) -> None:
        if isinstance(origin, Mapping) and isinstance(origin.get("seq"), int):
            parent, h = str(origin.get("writer_id")), str(origin.get("h"))
            source = f"its forked child {child}"
            self.add(parent, origin["seq"] - 1, h, source, certain=False)

    def wanted(self, writer_id: str) -> frozenset[int]:
        return frozenset(claim.seq for claim in self._by_writer.get(writer_id, ()))

    def items(self) -> Sequence[tuple[str, _Claim]]:
        return [(writer, claim) for writer, all_ in self._by_writer.items() for claim in all_]


def _cross_check(
    folder: Path, scans: Mapping[str, WriterScan], claims: _Claims
) -> Sequence[WriterReport]:
    """Add to scans what others know better; returns the writers of which nothing is left."""
    lost: dict[str, list[Finding]] = {}
    for writer_id, claim in claims.items():
        scan = scans.get(writer_id)
        file = f"{writer_id}.0.jsonl"
        if scan is None:
            grade: Grade = "damage" if claim.certain else "unchecked"
            reason = f"{claim.source} knows it up to event {claim.seq}; its files are gone"
            lost.setdefault(writer_id, []).append(Finding(grade, file, 0, reason))
        else:
            _judge_claim(folder, scan, claim)
    parents = {child: scan for scan in scans.values() for child in scan.children}
    never = {
        attrs.get("child_writer_id")
        for scan in scans.values()
        for attrs in scan.ended_children
        if attrs.get("seq") is None
    }
    for child, parent in parents.items():
        if child not in scans and child not in lost and child not in never:
            first = folder / "hot" / f"{child}.0.jsonl"
            if not parent.alive and not first.exists():  # else it was begun after the listing
                reason = f"{parent.writer_id} announced it; it never began, or its files are gone"
                lost.setdefault(child, []).append(Finding("unchecked", first.name, 0, reason))
    for parent in scans.values():
        for attrs in parent.ended_children:
            _judge_end(folder, parent, attrs, scans, lost)
    for writer_id, scan in scans.items():
        told = scan.opened.get("parent_writer_id")
        if told is not None and writer_id not in parents and not _is_pruned(scans.get(str(told))):
            reason = f"its parent {str(told)[:64]} does not announce it: lines of that are gone"
            path = folder / "hot" / f"{writer_id}.0.jsonl"
            scan.find("unchecked", path, 1, f"{reason}, or one handoff was used twice")
    return [
        WriterReport(writer_id, "missing", 0, 0, -1, "", False, False, tuple(findings))
        for writer_id, findings in lost.items()
    ]


def _judge_end(
    folder: Path,
    parent: WriterScan,
    attrs: Mapping[str, Any],
    scans: Mapping[str, WriterScan],
    lost: dict[str, list[Finding]],
) -> None:
    """Hold the end of a child's record against what its parent wrote down when it ended."""
    child, seq, h = (attrs.get(name) for name in ("child_writer_id", "seq", "h"))
    source = f"its parent {parent.writer_id}"
    scan = scans.get(str(child))
    if not isinstance(seq, int):
        return  # it never began
    if scan is None:
        reason = f"{source} saw it end with event {seq}; its files are gone"
        file = f"{str(child)[:64]}.0.jsonl"
        lost.setdefault(str(child), []).append(Finding("damage", file, 0, reason))
    elif scan.seq < seq:
        _judge_claim(folder, scan, _Claim(seq, str(h), source, certain=True))
    elif scan.seq > seq:
        path = folder / "hot" / f"{scan.writer_id}.{max(scan.segments - 1, 0)}.jsonl"
        reason = f"{source} saw it end with event {seq}: what follows was added"
        scan.find("damage", path, 0, reason)
    elif scan.seq == seq and scan.head.decode() != h:
        path = folder / "hot" / f"{scan.writer_id}.{max(scan.segments - 1, 0)}.jsonl"
        reason = f"event {seq} is not the one that {source} knows: the chain was computed anew"
        scan.find("damage", path, 0, reason)


def _is_pruned(scan: WriterScan | None) -> bool:
    """Whether lines of a writer are gone lawfully, so that nobody knows what they told."""
    return scan is not None and scan.pruned > 0


def _judge_claim(folder: Path, scan: WriterScan, claim: _Claim) -> None:
    last = folder / "hot" / f"{scan.writer_id}.{max(scan.segments - 1, 0)}.jsonl"
    if claim.seq > scan.seq:
        grade: Grade = "damage" if claim.certain or scan.closed else "unchecked"
        gone = f"events {scan.seq + 1} to {claim.seq} were cut off"
        scan.find(grade, last, 0, f"{gone}: {claim.source} knows it up to event {claim.seq}")
    elif claim.seq not in scan.seen:
        return  # the event is missing, and has been told
    elif scan.seen[claim.seq].decode() != claim.h:
        reason = f"event {claim.seq} is not the one that {claim.source} knows"
        scan.find("damage", last, 0, f"{reason}: the chain was computed anew")
