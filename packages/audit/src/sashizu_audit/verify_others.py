"""Checks each writer against what others know of it.

What a chain cannot find, a cut end, a chain that was computed anew, files that are gone, is found
by whoever else knew that head: a forked child, the writer that announced another one, and signed
checkpoints.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from sashizu_audit.checkpoints import Digests
from sashizu_audit.findings import Finding, Grade, WriterScan
from sashizu_audit.scan import opening_attrs
from sashizu_audit.segments import SegmentFile

__all__ = ["Claims", "cross_check", "told_beforehand"]


@dataclass(frozen=True, slots=True)
class _Claim:
    seq: int
    h: str
    source: str
    certain: bool  # else a power cut may have taken the event after it was told of


class Claims:
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


def told_beforehand(digests: Digests, paths: Mapping[str, Mapping[int, SegmentFile]]) -> Claims:
    """What checkpoints and forked children say, before any line is read."""
    claims = Claims()
    for number, head in digests.heads():
        source = f"checkpoint {number + 1}"
        claims.add(head.writer_id, head.seq, head.h, source, certain=True)
    for writer_id, segments in paths.items():
        if 0 in segments:
            claims.add_fork(writer_id, opening_attrs(segments[0]).get("forked_from"))
    return claims


def cross_check(
    folder: Path, scans: Mapping[str, WriterScan], claims: Claims
) -> Mapping[str, list[Finding]]:
    """Add to scans what others know better; returns what is said of writers that left nothing."""
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
    return lost


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
