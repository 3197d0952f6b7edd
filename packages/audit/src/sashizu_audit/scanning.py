"""Looks for secrets that got into the record all the same: in lines, and in kept texts.

Writers take secrets out before they write. This finds what has become known since: formats that
were unknown then, patterns and values that were named later.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import orjson
from sashizu_core.redaction import Redactor

from sashizu_audit.segments import SegmentFile, find_segments

__all__ = ["Leak", "clean_line", "dirty_lines", "scan_record"]

_ENVELOPE = ("v", "event_id", "ts_ns", "mono_ns", "writer_id", "seq", "kind", "h")
_OWN = ("writer.", "audit.")
"""Kinds that hold digests and nothing from outside; verification rests on them."""


@dataclass(frozen=True, slots=True)
class Leak:
    """Where secrets are; never what they are.

    `file` is relative to the folder, `line` counts from 1 (0 for a kept text), `columns` are those
    that hold them, `secrets` how many there are.
    """

    file: str
    line: int
    writer_id: str
    seq: int
    columns: tuple[str, ...]
    secrets: int


def scan_record(folder: Path, redactor: Redactor) -> Iterator[Leak]:
    """Every line and kept text that holds a secret. Blocks, and takes its time.

    Raises:
        OSError: a file cannot be read.
    """
    for file in find_segments(folder):
        name = file.path.relative_to(folder).as_posix()
        for number, line, event, clean in dirty_lines(file, redactor):
            del line
            columns = tuple(column for column in event if clean.get(column) != event[column])
            secrets = int(clean.get("redactions", 0)) - int(event.get("redactions", 0))
            yield Leak(name, number, file.writer_id, int(event.get("seq", -1)), columns, secrets)
    for path in sorted((folder / "blobs").glob("[0-9a-f][0-9a-f]/*")):
        try:
            text = path.read_text("utf-8", "replace")
        except FileNotFoundError:
            continue  # swept meanwhile
        _, count = redactor.counted(text)
        if count:
            yield Leak(path.relative_to(folder).as_posix(), 0, "", -1, (), count)


def dirty_lines(
    file: SegmentFile, redactor: Redactor
) -> Iterator[tuple[int, bytes, Mapping[str, Any], Mapping[str, Any]]]:
    """Lines of a segment that hold secrets: number, bytes, and columns before and after."""
    with file.open() as lines:
        for number, raw in enumerate(lines, 1):
            try:
                event = orjson.loads(raw)
            except orjson.JSONDecodeError:
                continue
            if not isinstance(event, dict) or str(event.get("kind", "")).startswith(_OWN):
                continue
            clean = clean_fields(event, redactor)
            if clean != event:
                yield number, raw, event, clean


def clean_fields(event: Mapping[str, Any], redactor: Redactor) -> Mapping[str, Any]:
    """The columns of an event without secrets; what the writer set stays."""
    outside = {name: value for name, value in event.items() if name not in _ENVELOPE}
    clean = redactor.fields(outside)
    return event if clean is outside else {**event, **clean}


def clean_line(clean: Mapping[str, Any]) -> bytes:
    """The columns of an event as a line without its newline; its `h` stays, as the last member."""
    members = {name: value for name, value in clean.items() if name != "h"}
    return orjson.dumps({**members, "h": clean["h"]})
