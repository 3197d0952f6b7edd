"""What the files of other vendors' programs say of their agents, as plain values.

All of it comes from outside: a line that cannot be read, is too long or holds impossible numbers is
skipped and counted, a name is cut, and nothing is believed beyond what the program says of itself.
"""

from __future__ import annotations

import os
import stat
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import Any

import orjson
from sashizu_core.errors import UsageError
from sashizu_core.types import Usage
from sashizu_core.unfollowed import open_unfollowed

__all__ = [
    "Found",
    "ModelCall",
    "Session",
    "ToolCall",
    "instant",
    "lines_of",
    "name_of",
    "usage_of",
]

LONGEST_LINE = 32 * 1024 * 1024
"""Bytes of one line; pictures lie in lines as text."""

MOST_STEPS = 50_000
"""Calls of one session; all of them are recorded by one write."""

MOST_SESSIONS = 100_000
"""Sessions of one import; whoever wrote the files must not fill our memory."""

_LONGEST_NAME = 128
_MOST_TOKENS = 10**12


@dataclass(slots=True)
class ModelCall:
    """One answer of a model. `when_ns` is Unix time, 0 where nothing is told."""

    response_id: str
    provider: str
    model: str
    usage: Usage
    when_ns: int


@dataclass(slots=True)
class ToolCall:
    """One call of a tool; `status` is empty where no result is told."""

    call_id: str
    tool: str
    when_ns: int
    status: str = ""


@dataclass(slots=True)
class Session:
    """One agent, as its program tells of it. `key` names it, `parent` the one that started it."""

    key: str
    parent: str = ""
    name: str = ""
    steps: list[ModelCall | ToolCall] = field(default_factory=list)
    begun_ns: int = 0
    ended_ns: int = 0

    def add(self, step: ModelCall | ToolCall) -> bool:
        """Have it do this too; of a session that is too long one call beyond is remembered."""
        if len(self.steps) > MOST_STEPS:
            return False
        self.steps.append(step)
        return True

    def saw(self, when_ns: int) -> None:
        """Something is told of this moment."""
        if when_ns:
            self.begun_ns = min(self.begun_ns or when_ns, when_ns)
            self.ended_ns = max(self.ended_ns, when_ns)


@dataclass(slots=True)
class Found:
    """All sessions by their keys, and what could not be taken."""

    sessions: dict[str, Session] = field(default_factory=dict)
    files: int = 0
    lines: int = 0
    skipped_lines: int = 0
    skipped_files: int = 0

    def session(self, key: str, parent: str = "") -> Session | None:
        """The session of this name, a new one if need be; None where there are too many."""
        if key not in self.sessions and len(self.sessions) >= MOST_SESSIONS:
            self.skipped_lines += 1
            return None
        return self.sessions.setdefault(key, Session(key, parent))


def lines_of(place: Path, found: Found) -> Iterator[tuple[Path, Iterator[Mapping[str, Any]]]]:
    """Each `*.jsonl` file at or beneath `place` with its lines that are JSON objects.

    Links are not followed.

    Raises:
        UsageError: there is nothing at `place`.
    """
    if not place.exists():
        raise UsageError(f"there is no {str(place)!r}: name a file or a folder of sessions")
    for path in [place] if not place.is_dir() else _files_beneath(place, found):
        try:
            descriptor = open_unfollowed(path, os.O_RDONLY)
        except OSError:
            found.skipped_files += 1
            continue
        if not stat.S_ISREG(os.fstat(descriptor).st_mode):
            os.close(descriptor)
            found.skipped_files += 1
            continue
        found.files += 1
        yield path, _objects(descriptor, found)


def _files_beneath(place: Path, found: Found) -> Iterable[Path]:
    def unreadable(_error: OSError) -> None:
        found.skipped_files += 1

    paths = [
        Path(folder, name)
        for folder, _, names in os.walk(place, onerror=unreadable)
        for name in names
        if name.endswith(".jsonl")
    ]
    return sorted(paths)


def _objects(descriptor: int, found: Found) -> Iterator[Mapping[str, Any]]:
    with open(descriptor, "rb") as file:
        while line := file.readline(LONGEST_LINE):
            found.lines += 1
            if len(line) == LONGEST_LINE and not line.endswith(b"\n"):
                while line and not line.endswith(b"\n"):
                    line = file.readline(LONGEST_LINE)
                found.skipped_lines += 1
                continue
            try:
                data = orjson.loads(line)
            except orjson.JSONDecodeError:
                data = None
            if isinstance(data, dict):
                yield data
            elif line.strip():
                found.skipped_lines += 1


# --- values ---------------------------------------------------------------------------------------


def name_of(value: object) -> str:
    """A name or an id, cut; empty where it is none."""
    return value[:_LONGEST_NAME] if isinstance(value, str) else ""


def instant(value: object) -> int:
    """Unix nanoseconds of an ISO 8601 time with a zone, 0 where it is none."""
    if not isinstance(value, str):
        return 0
    try:
        moment = datetime.fromisoformat(value[:40])
        seconds = moment.timestamp() if moment.tzinfo else 0.0
    except (ValueError, OverflowError, OSError):
        return 0
    return int(seconds * 1e9) if 0 < seconds < 2**33 else 0


def usage_of(told: object, names: Mapping[str, str], *, cache_is_in_input: bool) -> Usage | None:
    """Usage from numbers under `names` (ours to theirs); None where they cannot be true.

    `Usage.input_tokens` includes what was cached; `cache_is_in_input` says whether theirs does.
    """
    if not isinstance(told, Mapping):
        return None
    numbers: dict[str, int] = {}
    for ours, theirs in names.items():
        number = told.get(theirs)
        if number is None:
            number = 0
        if type(number) is not int or not 0 <= number <= _MOST_TOKENS:
            return None
        numbers[ours] = number
    if not cache_is_in_input:
        numbers["input_tokens"] += numbers["cache_read_tokens"] + numbers["cache_write_tokens"]
    return Usage(**numbers)
