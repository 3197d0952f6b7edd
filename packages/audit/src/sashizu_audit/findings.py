"""What a check finds out: findings, and what the files of one writer hold."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from sashizu_audit.chain import FIRST_PREVIOUS

__all__ = ["Finding", "Grade", "WriterScan"]

Grade = Literal["damage", "unchecked", "torn", "note"]
"""How bad: changed or removed; not to be told; left by a crash; worth knowing."""


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
    `sealings` and `recoveries` are its `audit.sealed` and `writer.recovered`. `ends` has the number
    and the `h` of the last event of each segment; `pruned` counts those that are gone lawfully.
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
    sealings: list[tuple[Path, int, Mapping[str, Any]]] = field(default_factory=list)
    recoveries: list[tuple[Path, int, Mapping[str, Any]]] = field(default_factory=list)
    ends: dict[int, tuple[int, bytes]] = field(default_factory=dict)
    pruned: int = 0
    findings: list[Finding] = field(default_factory=list)

    def find(self, grade: Grade, path: Path, line: int, reason: str) -> None:
        self.findings.append(Finding(grade, path.name, line, reason))
