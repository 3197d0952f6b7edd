"""Reads every line of one writer and tells what is not as it was written, and where.

A changed, missing, repeated or moved line is told apart by the numbers that lines carry; the walk
goes on behind it, so that one change is one finding.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from time import time
from typing import Any, Literal

import orjson

from sashizu_audit.chain import FIRST_PREVIOUS, line_length, link, split_line
from sashizu_audit.disk import is_locked

__all__ = ["Finding", "Grade", "WriterScan", "opening_attrs", "scan_writer"]

Grade = Literal["damage", "unchecked", "torn", "note"]
"""How bad: changed or removed; not to be told; left by a crash; worth knowing."""

_BEGINNING_S = 10.0
"""Seconds within which a writer that has made its file has surely written its first line."""

_SEQ = re.compile(rb'"seq":(\d{1,19}),"kind":"')
_WATCHED = (
    b'writer.closed"',
    b'writer.spawned"',
    b'writer.child_closed"',
    b'audit.checkpointed"',
)


@dataclass(frozen=True, slots=True)
class Finding:
    """Something about a file of the record. `line` counts from 1; 0 is the file as a whole."""

    grade: Grade
    file: str
    line: int
    reason: str


@dataclass(slots=True)
class WriterScan:
    """What the files of one writer hold.

    `seq` and `head` are the number and the `h` of its last whole line, -1 and 64 zeros if there is
    none. `seen` has the `h` of the lines that were asked for. `alive` says that it was being
    written when it was read, `closed` that its writer ended it. `opened` are the attrs of its first
    line, `children` the writers it announced, `ended_children` the attrs of those that it saw end,
    `checkpoints` the attrs of `audit.checkpointed`.
    """

    writer_id: str
    events: int = 0
    segments: int = 0
    seq: int = -1
    head: bytes = FIRST_PREVIOUS
    alive: bool = False
    closed: bool = False
    opened: Mapping[str, Any] = field(default_factory=dict)
    seen: dict[int, bytes] = field(default_factory=dict)
    children: list[str] = field(default_factory=list)
    ended_children: list[Mapping[str, Any]] = field(default_factory=list)
    checkpoints: list[tuple[Path, int, Mapping[str, Any]]] = field(default_factory=list)
    findings: list[Finding] = field(default_factory=list)

    def find(self, grade: Grade, path: Path, line: int, reason: str) -> None:
        self.findings.append(Finding(grade, path.name, line, reason))


def opening_attrs(path: Path) -> Mapping[str, Any]:
    """The attrs of the first line of a segment; empty if they cannot be read.

    Raises:
        OSError: the file cannot be read.
    """
    with path.open("rb") as file:
        return _attrs(file.readline())


def scan_writer(
    writer_id: str, paths: Mapping[int, Path], wanted: Collection[int], store_id: str
) -> WriterScan:
    """Read the segments of a writer, by number; `wanted` are the events whose `h` is asked for.

    Raises:
        OSError: a file cannot be read.
    """
    scan = WriterScan(writer_id)
    last = max(paths)
    for number in range(last + 1):
        path = paths.get(number)
        if path is None:
            gone = next(iter(paths.values())).with_name(f"{writer_id}.{number}.jsonl")
            scan.find("damage", gone, 0, "the file is missing; a later one of its writer is there")
            continue
        scan.segments += 1
        _Segment(scan, path, number, wanted, store_id).read(is_last=number == last)
    return scan


class _Segment:
    """The walk through one file."""

    def __init__(
        self, scan: WriterScan, path: Path, number: int, wanted: Collection[int], store_id: str
    ) -> None:
        self._scan = scan
        self._path = path
        self._number = number
        self._wanted = wanted
        self._store_id = store_id
        self._ended = ""  # why the file was closed, while nothing follows
        self._last_stated = b""  # the `h` of the line before in this file, whether right or not

    def read(self, *, is_last: bool) -> None:
        scan = self._scan
        # A writer locks its file before the first byte: an empty one must not be touched.
        found = self._path.stat()
        if found.st_size == 0:
            grade: Grade = "torn" if is_last else "damage"
            if is_last and time() - found.st_mtime < _BEGINNING_S:
                grade = "note"  # its writer may be about to begin
            scan.find(grade, self._path, 0, "the file is empty: not one event reached it")
            return
        alive = is_last and is_locked(self._path)
        torn = b""
        whole = True
        with self._path.open("rb") as file:
            for place, raw in enumerate(file, 1):
                whole = raw.endswith(b"\n")
                # Of the last line a crash may have taken the newline alone.
                line = raw[:-1] if whole else raw[: line_length(raw)]
                if not whole and not self._fits(line):
                    torn = raw
                    break
                self._line(place, line)
                if not whole and line != raw:
                    scan.find(
                        "damage", self._path, place, "it was changed, or added to, at its end"
                    )
        self._judge_end(is_last, alive, len(torn), whole)

    def _judge_end(self, is_last: bool, alive: bool, torn: int, whole: bool) -> None:
        scan, path = self._scan, self._path
        if self._ended and not whole:
            scan.find("damage", path, 0, "bytes after its last line were cut off or added")
        elif not self._ended and not is_last:
            scan.find("damage", path, 0, "its last lines are missing; its writer went on after it")
        if not is_last:
            return
        scan.alive = alive
        scan.closed = self._ended == "closed"
        if self._ended or alive:
            if self._ended == "rolled" and not alive:
                following = path.with_name(f"{scan.writer_id}.{self._number + 1}.jsonl")
                if not following.exists():  # else it was begun after the files were listed
                    reason = f"its writer went on in {following.name}, which is missing"
                    scan.find("unchecked", path, 0, reason)
        elif torn:
            reason = f"its last {torn} bytes are no whole line: a crash left them"
            scan.find("torn", path, 0, reason)
        else:
            scan.find("note", path, 0, "its writer ended without closing it, as when it is killed")

    # --- lines ------------------------------------------------------------------------------------

    def _fits(self, line: bytes) -> bool:
        parts = split_line(line)
        return parts is not None and link(self._scan.head, parts[0]) == parts[1]

    def _line(self, place: int, line: bytes) -> None:
        scan = self._scan
        scan.events += 1
        self._ended = ""
        parts = split_line(line)
        if parts is None:
            scan.find("damage", self._path, place, "is no event: it was changed or added")
            return
        body, stated = parts
        expected = scan.seq + 1
        mark = b'"writer_id":"%b","seq":%d,"kind":"' % (scan.writer_id.encode(), expected)
        at = body.find(mark, 0, 400)
        if link(scan.head, body) == stated and at >= 0:
            scan.seq = expected
        elif not self._accept(place, body, stated, expected):
            return
        scan.head = self._last_stated = stated
        if scan.seq in self._wanted:
            scan.seen[scan.seq] = stated
        if place == 1:
            self._first(line)
        elif at >= 0 and body.startswith(_WATCHED, at + len(mark)):
            self._watched(place, line)

    def _accept(self, place: int, body: bytes, stated: bytes, expected: int) -> bool:
        """Say what is wrong with a line, if anything; returns whether the chain goes on with it."""
        scan = self._scan
        found = _SEQ.search(body, 0, 400)
        number = int(found[1]) if found else -1
        before, self._last_stated = self._last_stated, stated
        mine = b'"writer_id":"%b"' % scan.writer_id.encode() in body[:400]
        continues = link(scan.head, body) == stated
        if before and not continues and mine and link(before, body) == stated:
            scan.seq = max(number, 0)  # the line before was odd and has been told
            return True
        if not mine:
            reason = "comes from another writer"
        elif number > expected:
            reason = f"{_events(expected, number - 1)} missing before it"
        elif 0 <= number < expected:
            reason = f"event {number} is repeated, or was moved here"
        elif continues:
            reason = f"it is not numbered {expected}: the chain was computed anew"
        else:
            reason = "it was changed after it was written"
        scan.find("damage", self._path, place, reason)
        if 0 <= number < expected and mine:
            return False
        scan.seq = max(number, expected) if mine else expected
        return True

    def _first(self, line: bytes) -> None:
        scan, attrs = self._scan, _attrs(line)
        if self._number == 0:
            scan.opened = attrs
        if attrs.get("segment") != self._number:
            scan.find("damage", self._path, 1, f"it does not open segment {self._number}")
        if attrs.get("store_id") != self._store_id:
            scan.find("damage", self._path, 1, "it belongs to another record")

    def _watched(self, place: int, line: bytes) -> None:
        scan, attrs = self._scan, _attrs(line)
        if b'"kind":"writer.closed"' in line[:400]:
            self._ended = str(attrs.get("reason", "closed"))
        elif b'"kind":"writer.spawned"' in line[:400]:
            scan.children.append(str(attrs.get("child_writer_id", "")))
        elif b'"kind":"writer.child_closed"' in line[:400]:
            scan.ended_children.append(attrs)
        else:
            scan.checkpoints.append((self._path, place, attrs))


def _attrs(line: bytes) -> Mapping[str, Any]:
    try:
        found = orjson.loads(line)["attrs"]
    except (orjson.JSONDecodeError, KeyError, TypeError):
        return {}
    return found if isinstance(found, dict) else {}


def _events(first: int, last: int) -> str:
    return f"event {first} is" if first == last else f"events {first} to {last} are"
