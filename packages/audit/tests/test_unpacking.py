"""What is unpacked ahead is what a sealed segment holds, and nothing else."""

from __future__ import annotations

import gzip
from pathlib import Path

import pytest
from sashizu_audit import unpacking
from sashizu_audit.segments import SegmentFile
from sashizu_audit.unpacking import Ahead

WRITER = "01a1ff63-8eeb-7158-be74-7250395caf95"
DAY = "2026-11-20"


def segments(folder: Path, *contents: bytes) -> list[SegmentFile]:
    found = []
    for number, content in enumerate(contents):
        path = folder / f"{WRITER}.{number}.jsonl.gz"
        path.write_bytes(content)
        found.append(SegmentFile(WRITER, number, path, DAY))
    return found


def read(files: list[SegmentFile]) -> list[bytes | str]:
    """The bytes of each, or why it cannot be read."""
    found: list[bytes | str] = []
    with Ahead(files) as ahead:
        for file in files:
            try:
                with ahead.open(file) as lines:
                    found.append(lines.read())
            except OSError as error:
                found.append(str(error))
    return found


def test_segments_are_read_as_they_are_one_by_one(tmp_path: Path) -> None:
    one, two = gzip.compress(b"one\n"), gzip.compress(b"two\n" * 9)
    odd = [one, two, one + two, two[:-3], b"none", one[:-8] + two[-8:], b"", two + b"\0" * 9, one]
    files = segments(tmp_path, *odd)
    expected = [read([file]) for file in files]  # of one alone nothing is unpacked ahead
    assert read(files) == [found for (found,) in expected]
    assert sum(isinstance(found, str) for (found,) in expected) == 3
    assert expected[2] == [b"one\n" + b"two\n" * 9]


def test_a_segment_that_would_fill_memory_is_not_unpacked_ahead(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(unpacking, "_MOST_BYTES", 1_000)
    ahead_of: list[bytes | None] = []
    for content in (b"x" * 100, b"x" * 1_001):
        (file,) = segments(tmp_path, gzip.compress(content))
        ahead_of.append(unpacking._unpacked(file))
    assert ahead_of == [b"x" * 100, None]
