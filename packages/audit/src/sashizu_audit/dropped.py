"""What was taken out of the record lawfully: told in digests, and so under a signature.

A digest may hold, beside the heads of writers,

```json
{"pruned": {"before_day": "2025-10-17", "keep_days": 400,
            "segments": [{"writer_id": "...", "segment": 0, "day": "2025-10-01", "events": 12,
                          "first_seq": 0, "last_seq": 11, "previous_h": "...", "h": "..."}]},
 "redacted": [{"writer_id": "...", "segment": 0, "seq": 7, "line_sha256": "..."}]}
```

A segment that was pruned is gone, and its chain goes on from its `h`. A line that was redacted
keeps its `h`, and is the one with that SHA-256 (without its newline).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, date, datetime
from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field, ValidationError

__all__ = ["FLOOR_DAYS", "Dropped", "Pruned", "PruningTold", "read_dropped"]

FLOOR_DAYS = 183
"""Days that a record is kept at least, unless somebody insists."""

_Hash = Annotated[str, Field(pattern="^[0-9a-f]{64}$")]


class _Row(BaseModel):
    model_config = ConfigDict(extra="ignore", frozen=True)


class Pruned(_Row):
    """A segment that was dropped: what its first and last event were."""

    writer_id: str
    segment: int = Field(ge=0)
    day: date
    events: int = Field(ge=0)
    first_seq: int = Field(ge=0)
    last_seq: int = Field(ge=0)
    previous_h: _Hash
    h: _Hash


class _Pruning(_Row):
    before_day: date
    keep_days: int
    segments: list[Pruned]


class _Redacted(_Row):
    writer_id: str
    segment: int
    seq: int
    line_sha256: _Hash


class _Digest(_Row):
    made_ns: int = 0
    pruned: _Pruning | None = None
    redacted: list[_Redacted] = []


@dataclass(frozen=True, slots=True)
class PruningTold:
    """One pruning, as its digest tells it. `youngest_days` is how old the newest of it was."""

    digest: int
    made: date
    segments: int
    events: int
    first_day: date
    last_day: date

    @property
    def youngest_days(self) -> int:
        return (self.made - self.last_day).days


@dataclass(slots=True)
class Dropped:
    """Everything that digests say was taken out.

    `segments` are by writer and number, `lines` the SHA-256 of redacted ones by writer and number
    of the event.
    """

    segments: dict[str, dict[int, Pruned]] = field(default_factory=dict)
    lines: dict[str, dict[int, str]] = field(default_factory=dict)
    prunings: list[PruningTold] = field(default_factory=list)

    def of(self, writer_id: str) -> Mapping[int, Pruned]:
        """The segments of this writer that are gone, by number."""
        return self.segments.get(writer_id, {})


def read_dropped(leaves: Sequence[bytes]) -> Dropped:
    """What these digests say; one that is none is passed over, for its signature tells."""
    found = Dropped()
    for number, leaf in enumerate(leaves):
        if b'"pruned"' not in leaf and b'"redacted"' not in leaf:
            continue
        try:
            digest = _Digest.model_validate_json(leaf)
        except ValidationError:
            continue
        if digest.pruned is not None and digest.pruned.segments:
            segments = digest.pruned.segments
            for one in segments:
                found.segments.setdefault(one.writer_id, {})[one.segment] = one
            days = [one.day for one in segments]
            made = datetime.fromtimestamp(digest.made_ns / 1e9, UTC).date()
            events = sum(one.events for one in segments)
            told = PruningTold(number, made, len(segments), events, min(days), max(days))
            found.prunings.append(told)
        for line in digest.redacted:
            found.lines.setdefault(line.writer_id, {})[line.seq] = line.line_sha256
    return found
