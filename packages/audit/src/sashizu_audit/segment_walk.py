"""Reads one segment line by line and tells what is not as it was written, and where.

A changed, missing, repeated or moved line is told apart by the numbers that lines carry; the walk
goes on behind it, so that one change is one finding.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Iterator, Mapping
from functools import partial
from hashlib import sha256
from time import time
from typing import Any

import orjson

from sashizu_audit.chain import FIRST_PREVIOUS, line_length, link, split_line
from sashizu_audit.disk import is_locked
from sashizu_audit.findings import Grade, WriterScan
from sashizu_audit.segments import SegmentFile
from sashizu_audit.unpacking import Ahead

__all__ = ["SegmentWalk", "attrs_of"]

_BEGUN_S = 10.0
"""Seconds within which a writer that has made its file has surely written its first line."""

_LONGEST = 64 * 1024 * 1024
"""Bytes without a newline that a crash may leave; what is longer was made to fill memory."""

_BEGINNING = 400
"""Bytes in which lie all that the writer puts before the columns of an event."""

_END = -len(b',"h":"' + FIRST_PREVIOUS + b'"}\n')

_SEQ = re.compile(rb'"seq":(\d{1,19}),"kind":"')
_WATCHED = tuple(
    f'{kind}"'.encode()
    for kind in (
        *("writer.closed", "writer.spawned", "writer.child_closed", "writer.recovered"),
        *("audit.checkpointed", "audit.sealed"),
    )
)


class SegmentWalk:
    """The walk through one file."""

    def __init__(
        self,
        scan: WriterScan,
        file: SegmentFile,
        wanted: Collection[int],
        redacted: Mapping[int, str],
        store_id: str,
        files: Mapping[int, SegmentFile],
        ahead: Ahead,
    ) -> None:
        self._scan = scan
        self._files = files
        self._ahead = ahead
        self._file = file
        self._path = file.path
        self._number = file.number
        self._wanted = wanted
        self._redacted = redacted
        self._store_id = store_id
        self._ended = ""  # why the file was closed, while nothing follows
        self._read_to = 0
        self.unfinished = False  # its writer was about to go on in the next one
        self._last_stated = b""  # the `h` of the line before in this file, whether right or not

    def read(self, *, is_last: bool) -> None:
        scan = self._scan
        # A writer locks its file before the first byte: an empty one must not be touched.
        found = self._path.stat()
        if found.st_size == 0:
            lost = not self._file.sealed and not self._goes_on()
            grade: Grade = "torn" if lost else "damage"
            if is_last and lost and time() - found.st_mtime < _BEGUN_S:
                grade = "note"  # its writer may be about to begin
            scan.find(grade, self._path, 0, "the file is empty: not one event reached it")
            return
        alive = is_last and not self._file.sealed and is_locked(self._path)
        try:
            torn, whole = self._walk()
        except OSError as error:
            if not self._file.sealed or isinstance(error, FileNotFoundError):
                raise
            scan.find("damage", self._path, 0, f"it cannot be unpacked: {error}")
            return
        self._judge_end(is_last, alive, torn, whole)

    def _walk(self) -> tuple[int, bool]:
        """Every line; how many bytes a crash left, and whether the last newline is there."""
        scan = self._scan
        place, whole = 0, True
        with self._ahead.open(self._file) as file:
            lines = iter(partial(file.readline, _LONGEST), b"")
            while True:
                place, raw = self._pass_plain(lines, place)
                if not raw:
                    return 0, whole
                self._read_to += len(raw)
                if len(raw) >= _LONGEST:
                    scan.find("damage", self._path, place, "it is longer than any line can be")
                    return 0, True
                whole = raw.endswith(b"\n")
                # Of the last line a crash may have taken the newline alone.
                line = raw[:-1] if whole else raw[: line_length(raw)]
                only_zeros = not whole and not raw[len(line) :].strip(b"\0")
                if not whole and (not self._fits(line) or (line != raw and only_zeros)):
                    return len(raw), whole
                self._line(place, line)
                if not whole and line != raw:
                    scan.find(
                        "damage", self._path, place, "it was changed, or added to, at its end"
                    )

    def _pass_plain(self, lines: Iterator[bytes], place: int) -> tuple[int, bytes]:
        """Take lines that are as they should be and say nothing that is asked for.

        Those are nearly all. Returns the first other one and its place; an empty one at the end.
        """
        scan, wanted = self._scan, self._wanted
        head, seq, read, at = scan.head, scan.seq + 1, 0, 0
        before = b'"writer_id":"%b","seq":' % scan.writer_id.encode()
        try:
            for raw in lines:
                place += 1
                covered, end = raw[:_END], raw[_END:]
                mark = b'%b%d,"kind":"' % (before, seq)
                if not covered.startswith(mark, at):  # where it is in the line before
                    at = covered.find(mark, 0, _BEGINNING)
                h = sha256(head + covered).hexdigest().encode()
                if (
                    at < 0
                    or end != b',"h":"%b"}\n' % h
                    or covered.startswith(_WATCHED, at + len(mark))
                    or not covered.startswith(b"{")
                    or seq in wanted
                    or place == 1
                ):
                    return place, raw
                head, seq, read = h, seq + 1, read + len(raw)
        finally:  # also where the rest cannot be unpacked
            if read:
                scan.events += seq - scan.seq - 1
                scan.seq, scan.head = seq - 1, head
                self._last_stated, self._ended = head, ""
                self._read_to += read
        return place, b""

    def _judge_end(self, is_last: bool, alive: bool, torn: int, whole: bool) -> None:
        scan, path = self._scan, self._path
        if self._ended and not whole:
            scan.find("damage", path, 0, "bytes after its last line were cut off or added")
        elif not self._ended and not is_last and self._is_rolling():
            scan.alive = self.unfinished = True
        elif not self._ended and not is_last:
            self._judge_lost_end()
        if not is_last:
            return
        scan.alive = alive
        scan.closed = self._ended == "closed"
        if self._ended or alive:
            if self._ended == "rolled" and not alive:
                following = self._file.folder / "hot" / f"{scan.writer_id}.{self._number + 1}.jsonl"
                if not following.exists():  # else it was begun after the files were listed
                    reason = f"its writer went on in {following.name}, which is missing"
                    scan.find("unchecked", path, 0, reason)
        elif torn:
            reason = f"its last {torn} bytes are no whole line: a crash left them"
            scan.find("torn", path, 0, reason)
        else:
            scan.find("note", path, 0, "its writer ended without closing it, as when it is killed")

    def _judge_lost_end(self) -> None:
        """Say that lines are missing: a power cut may take those of both files at once."""
        if self._goes_on():
            reason = "its last lines are missing; its writer went on after it"
            self._scan.find("damage", self._path, 0, reason)
        else:
            reason = "a crash left its end unwritten, and nothing of what followed"
            self._scan.find("torn", self._path, 0, reason)

    def _goes_on(self) -> bool:
        """Whether a later file of this writer holds a line, so that this one had its end."""
        later = (file for number, file in self._files.items() if number > self._number)
        return any(map(_holds_a_line, later))

    def _is_rolling(self) -> bool:
        """Whether the next file was there before the last line of this one was read."""
        if self._file.sealed:
            return False
        return is_locked(self._path) or self._path.stat().st_size != self._read_to

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
        at = body.find(mark, 0, _BEGINNING)
        if at >= 0 and (link(scan.head, body) == stated or self._lawful(expected, line)):
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

    def _lawful(self, seq: int, line: bytes) -> bool:
        """Whether a line is what it was made by a redaction."""
        told = self._redacted.get(seq)
        return told is not None and sha256(line).hexdigest() == told

    def _accept(self, place: int, body: bytes, stated: bytes, expected: int) -> bool:
        """Say what is wrong with a line, if anything; returns whether the chain goes on with it."""
        scan = self._scan
        found = _SEQ.search(body, 0, _BEGINNING)
        number = int(found[1]) if found else -1
        before, self._last_stated = self._last_stated, stated
        mine = b'"writer_id":"%b"' % scan.writer_id.encode() in body[:_BEGINNING]
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
        scan, attrs = self._scan, attrs_of(line)
        if self._number == 0:
            scan.opened = attrs
        if attrs.get("segment") != self._number:
            scan.find("damage", self._path, 1, f"it does not open segment {self._number}")
        if attrs.get("store_id") != self._store_id:
            scan.find("damage", self._path, 1, "it belongs to another record")

    def _watched(self, place: int, line: bytes) -> None:
        scan, attrs, begin = self._scan, attrs_of(line), line[:_BEGINNING]
        if b'"kind":"writer.closed"' in begin:
            self._ended = str(attrs.get("reason", "closed"))
        elif b'"kind":"writer.spawned"' in begin:
            scan.children.append(str(attrs.get("child_writer_id", "")))
        elif b'"kind":"writer.child_closed"' in begin:
            scan.ended_children.append(attrs)
        elif b'"kind":"writer.recovered"' in begin:
            scan.recoveries.append((self._path, place, attrs))
        elif b'"kind":"audit.sealed"' in begin:
            scan.sealings.append((self._path, place, _members(line)))
        else:
            scan.checkpoints.append((self._path, place, attrs))


def _holds_a_line(file: SegmentFile) -> bool:
    """Whether anything in a file may be a line, or was sealed as one."""
    if file.sealed:
        return True
    with file.open() as lines:
        return any(b"\n" in line for line in lines)


def _members(line: bytes) -> Mapping[str, Any]:
    try:
        found = orjson.loads(line)
    except orjson.JSONDecodeError:
        return {}
    return found if isinstance(found, dict) else {}


def attrs_of(line: bytes) -> Mapping[str, Any]:
    """The attrs of a line; empty if they cannot be read."""
    found = _members(line).get("attrs")
    return found if isinstance(found, dict) else {}


def _events(first: int, last: int) -> str:
    return f"event {first} is" if first == last else f"events {first} to {last} are"
