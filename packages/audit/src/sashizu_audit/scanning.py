"""Looks for secrets that got into the record all the same: in lines, in kept texts, in holds.

Writers take secrets out before they write. This finds what has become known since: formats that
were unknown then, patterns and values that were named later.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import orjson
from sashizu_core.redaction import Redactor

from sashizu_audit.holds import clean_reasons
from sashizu_audit.segments import SegmentFile, find_segments

__all__ = ["DirtyLine", "Leak", "dirty_lines", "dirty_texts", "leaks_in", "scan_record"]

_ENVELOPE = ("v", "event_id", "ts_ns", "mono_ns", "writer_id", "seq", "kind", "h")
_OWN = ("writer.", "audit.")
"""Kinds that hold digests and nothing from outside; verification rests on them."""


@dataclass(frozen=True, slots=True)
class Leak:
    """Where secrets are; never what they are.

    `file` is relative to the folder, `line` counts from 1 (0 for what has none), `columns` are
    those that hold them, `secrets` how many there are. Of a file that cannot be read `fault` says
    why: whether it holds any, nobody knows.
    """

    file: str
    line: int
    writer_id: str
    seq: int
    columns: tuple[str, ...]
    secrets: int
    fault: str = ""


@dataclass(frozen=True, slots=True)
class DirtyLine:
    """A line that holds secrets, and what it is without them; neither has a newline.

    `seq` is the number of its event; -1 where it is none, as what a crash left of a line.
    """

    number: int
    seq: int
    columns: tuple[str, ...]
    secrets: int
    clean: bytes


def scan_record(folder: Path, redactor: Redactor) -> Iterator[Leak]:
    """Every line, kept text and hold that has a secret, and what cannot be read. Blocks for long.

    Raises:
        OSError: the record cannot be looked at.
        RecordError: what is held cannot be read.
    """
    yield from leaks_in(find_segments(folder), redactor)
    for path, count in dirty_texts(folder, redactor):
        yield Leak(path.relative_to(folder).as_posix(), 0, "", -1, (), count)
    if count := clean_reasons(folder, redactor, dry_run=True):
        yield Leak("holds.json", 0, "", -1, ("reason",), count)


def leaks_in(files: Iterable[SegmentFile], redactor: Redactor) -> Iterator[Leak]:
    """The lines of these segments that hold secrets; one that is sealed meanwhile is left out."""
    for file in files:
        name = file.path.relative_to(file.folder).as_posix()
        try:
            for one in dirty_lines(file, redactor):
                at = file.writer_id, one.seq
                yield Leak(name, one.number, *at, one.columns, one.secrets)
        except FileNotFoundError:
            continue
        except OSError as error:
            yield Leak(name, 0, file.writer_id, -1, (), 0, str(error.strerror or error))


def dirty_texts(folder: Path, redactor: Redactor) -> Iterator[tuple[Path, int]]:
    """Kept texts that hold secrets, and how many each does.

    Raises:
        OSError: one cannot be read.
    """
    for path in sorted((folder / "blobs").glob("[0-9a-f][0-9a-f]/*")):
        try:
            text = path.read_text("utf-8", "replace")
        except FileNotFoundError:
            continue  # swept meanwhile
        if count := redactor.counted(text)[1]:
            yield path, count


def dirty_lines(file: SegmentFile, redactor: Redactor) -> Iterator[DirtyLine]:
    """Lines of a segment that hold secrets.

    Raises:
        OSError: it cannot be read.
    """
    with file.open() as lines:
        for number, raw in enumerate(lines, 1):
            line = raw.removesuffix(b"\n")
            try:
                event = orjson.loads(line)
            except orjson.JSONDecodeError:
                event = None
            if not isinstance(event, dict) or "h" not in event:
                if found := _of_no_event(line, redactor):
                    yield DirtyLine(number, -1, (), *found)
            elif not str(event.get("kind", "")).startswith(_OWN):
                clean = _clean_fields(event, redactor)
                if clean != event:
                    columns = tuple(name for name in event if clean.get(name) != event[name])
                    secrets = _number(clean, "redactions") - _number(event, "redactions")
                    seq = _number(event, "seq", -1)
                    yield DirtyLine(number, seq, columns, secrets, _clean_line(clean))


def _of_no_event(line: bytes, redactor: Redactor) -> tuple[int, bytes] | None:
    """How many secrets there are in what is no event, and what is left without them, if any are."""
    text = line.decode("utf-8", "backslashreplace")
    clean, count = redactor.counted(text)
    unescaped = clean.replace('\\"', '"').replace("\\\\", "\\").replace("\\/", "/")
    if hidden := redactor.counted(unescaped)[1]:
        return count + hidden, b""  # where it is within escapes, nobody can tell
    return (count, clean.encode()) if count else None


def _number(event: Mapping[str, Any], name: str, other: int = 0) -> int:
    found = event.get(name)
    return found if isinstance(found, int) else other


def _clean_fields(event: Mapping[str, Any], redactor: Redactor) -> Mapping[str, Any]:
    """The columns of an event without secrets; what the writer set stays."""
    outside = {name: value for name, value in event.items() if name not in _ENVELOPE}
    clean = redactor.fields(outside)
    return event if clean is outside else {**event, **clean}


def _clean_line(clean: Mapping[str, Any]) -> bytes:
    """The columns of an event as a line; its `h` stays, as the last member."""
    members = {name: value for name, value in clean.items() if name != "h"}
    return orjson.dumps({**members, "h": clean["h"]})
