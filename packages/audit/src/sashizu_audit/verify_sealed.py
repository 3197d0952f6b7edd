"""Checks what is sealed: packed files, tables and manifest against what the record says of them."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from sashizu_audit.findings import Finding, WriterScan
from sashizu_audit.manifest import Manifest
from sashizu_audit.packing import digest, same_bytes
from sashizu_audit.segments import SegmentFile, SegmentKey, hot_segments

__all__ = ["SealedClaims", "check_sealed"]


@dataclass(frozen=True, slots=True)
class _Claim:
    """What the writer `source` says of the end of a segment, and of its packed bytes."""

    source: str
    seq: int
    h: str
    sha256: str = ""


@dataclass(slots=True)
class _TableClaim:
    sha256: str = ""
    segments: set[SegmentKey] = field(default_factory=set)


class SealedClaims:
    """What the record says about segments that were sealed or recovered, and about tables."""

    def __init__(self, scans: Iterable[WriterScan]) -> None:
        self.segments: dict[SegmentKey, list[_Claim]] = {}
        self.tables: dict[str, _TableClaim] = {}
        for scan in scans:
            for _, _, attrs in scan.recoveries:
                self._add(scan.writer_id, attrs)
            for _, _, event in scan.sealings:
                self._sealing(scan.writer_id, event)

    def _sealing(self, source: str, event: Mapping[str, Any]) -> None:
        attrs = event.get("attrs")
        told = attrs.get("segments") if isinstance(attrs, dict) else None
        path, digest = event.get("path"), event.get("sha256")
        for one in told if isinstance(told, list) else ():
            if not isinstance(one, dict):
                continue
            key = self._add(source, one)
            if key and isinstance(path, str) and isinstance(digest, str) and one.get("in_table"):
                table = self.tables.setdefault(path, _TableClaim())
                table.sha256 = digest
                table.segments.add(key)

    def _add(self, source: str, told: Mapping[str, Any]) -> SegmentKey | None:
        writer, number, seq, h = (told.get(name) for name in ("writer_id", "segment", "seq", "h"))
        if not (isinstance(writer, str) and isinstance(h, str)):
            return None
        if not (isinstance(number, int) and isinstance(seq, int)):
            return None
        claim = _Claim(source, seq, h, str(told.get("sha256", "")))
        self.segments.setdefault((writer, number), []).append(claim)
        return writer, number


def check_sealed(
    folder: Path,
    manifest: Manifest,
    files: Sequence[SegmentFile],
    claims: SealedClaims,
    scans: Mapping[str, WriterScan],
) -> list[Finding]:
    """Findings about sealed segments, tables and the manifest; those about lines go to the scans.

    Raises:
        FileNotFoundError: a sealed file is gone since it was listed.
        OSError: one cannot be read.
    """
    found: list[Finding] = []
    by_key = {file.key: file for file in files}
    for key, told in claims.segments.items():
        found += _check_end(scans.get(key[0]), key, told)
    hot = hot_segments(folder)
    for file in files:
        if file.sealed:
            found += _check_packed(file, hot.get(file.key), claims.segments.get(file.key, ()))
    if manifest.fault:
        found.append(_damage("sealed.json", f"it cannot be understood: {manifest.fault}"))
    held: dict[str, set[SegmentKey]] = {}
    for sealed in manifest.segments:
        held.setdefault(sealed.table, set()).add(sealed.key)
    for table in manifest.tables:
        told_of, its = claims.tables.get(table.path), held.get(table.path, set())
        reason = _table_fault(folder / table.path, told_of, its)
        if reason:
            more = "queries may be answered wrongly until `sashizu audit rebuild` has been run"
            found.append(_damage(table.path, f"{reason}; {more}"))
    for sealed in manifest.segments:
        if sealed.key not in by_key and sealed.key not in claims.segments:
            reason = f"it names {sealed.path}, which is not there"
            found.append(_damage("sealed.json", reason))
    return found


def _damage(file: str, reason: str) -> Finding:
    return Finding("damage", file, 0, reason)


def _check_end(
    scan: WriterScan | None, key: SegmentKey, told: Sequence[_Claim]
) -> Iterable[Finding]:
    """Whether a segment ends as it did when it was sealed."""
    name = f"{key[0]}.{key[1]}.jsonl"
    if scan is not None and scan.alive and key[1] not in scan.ends:
        return  # it was begun, ended and sealed since
    if scan is None or key[1] not in scan.ends:
        yield _damage(name, f"{told[0].source} sealed it, and it is gone")
        return
    seq, h = scan.ends[key[1]]
    for claim in told:
        if scan.alive and claim.seq > seq:
            continue  # it was read while it was written, and ended and sealed since
        if (claim.seq, claim.h) != (seq, h.decode()):
            reason = f"it ended with event {claim.seq} when {claim.source} sealed it"
            yield _damage(name, f"{reason}, and now ends otherwise")
            return


def _check_packed(
    file: SegmentFile, hot: SegmentFile | None, told: Sequence[_Claim]
) -> Iterable[Finding]:
    """Whether a packed file is the one that was made, and says the same as a hot one."""
    digests = {claim.sha256 for claim in told if claim.sha256}
    name = file.path.relative_to(file.folder).as_posix()
    if digests and digest(file.path) not in digests:
        yield _damage(name, "its bytes are not those that were sealed")
    if hot is not None:
        try:
            same = same_bytes(hot, file)
        except FileNotFoundError:
            return
        except OSError:
            return  # it cannot be unpacked, which has been told
        if not same:
            yield _damage(f"hot/{hot.path.name}", f"it is not what is sealed as {name}")


def _table_fault(path: Path, told: _TableClaim | None, held: set[SegmentKey]) -> str:
    """Why a table is not what was made; a table that is gone is no fault: lines are read then."""
    try:
        found = digest(path)
    except FileNotFoundError:
        return ""
    if told is None:
        return "the record does not know it"
    if found != told.sha256:
        return "it is not the table that was made"
    if held != told.segments:
        return "the manifest says that other segments are in it"
    return ""
