"""Writers that say what was acknowledged, and whether a record holds all of it."""

from __future__ import annotations

import signal
import subprocess
import sys
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from hashlib import sha256
from pathlib import Path
from typing import cast

from sashizu_audit import AuditStore, verify_record

PROGRAM = Path(__file__).parent / "agents/audit_acknowledges.py"
SEALER = """
import sys, time
from pathlib import Path
from sashizu_audit.sealing import seal_record
while True:
    if (Path(sys.argv[1]) / "store.json").exists():
        seal_record(Path(sys.argv[1]))
    time.sleep(0.5)
"""
COUNTS = """
SELECT count(*), count(DISTINCT event_id), count(DISTINCT (writer_id, seq)) FROM events
"""
HELD = """
SELECT writer_id, count(*), max(CAST(attrs->>'n' AS BIGINT)) + 1 FROM events
WHERE kind = 'tool.requested' GROUP BY writer_id
"""
NAMED = """
SELECT writer_id || ' ' || CAST(attrs->>'n' AS VARCHAR), unnest(blobs) FROM events
WHERE len(blobs) > 0
"""
ALL = 10_000_000


@dataclass
class Crew:
    """Processes that write one record, killed or not; says what each was promised."""

    folder: Path
    mode: str
    place: Path = field(default_factory=lambda: Path(tempfile.mkdtemp(prefix="acknowledged-")))
    processes: list[subprocess.Popen[bytes]] = field(default_factory=list)
    started: int = 0

    def start(self, count: int = 1) -> None:
        for _ in range(count):
            self.started += 1
            self._start([str(PROGRAM), str(self.folder), str(self._said(self.started)), self.mode])

    def start_sealer(self) -> None:
        self._start(["-c", SEALER, str(self.folder)])

    def _start(self, words: Sequence[str]) -> None:
        log = (self.place / "errors").open("ab")
        with log:
            self.processes.append(subprocess.Popen([sys.executable, *words], stderr=log))

    def _said(self, number: int) -> Path:
        return self.place / f"{number}.acknowledged"

    def kill(self, number: int) -> bool:
        """Kill one process with SIGKILL and forget it; returns whether it was sealing."""
        process = self.processes.pop(number)
        process.send_signal(signal.SIGKILL)
        process.wait()
        return SEALER in cast("list[str]", process.args)

    def look(self) -> None:
        """Raise where a process has ended by itself."""
        if any(process.poll() is not None for process in self.processes):
            raise SystemExit((self.place / "errors").read_text("utf-8"))

    def kill_all(self) -> None:
        while self.processes:
            self.kill(0)

    def acknowledged(self) -> Mapping[str, int]:
        """How many events of each writer were acknowledged so far."""
        found = {}
        for path in self.place.glob("*.acknowledged"):
            data = path.read_bytes()
            if len(data) == 44:
                found[data[:36].decode()] = int.from_bytes(data[36:], "little")
        return found


@dataclass(frozen=True)
class Outcome:
    """What became of what was acknowledged; `verdict` is the exit code of `audit verify`."""

    acknowledged: int
    found: int
    lost: int
    verdict: int
    faults: tuple[str, ...]

    def __str__(self) -> str:
        more = "".join(f"\n  {fault}" for fault in self.faults)
        return (
            f"{self.acknowledged} acknowledged, {self.found} found, {self.lost} lost, "
            f"verdict {self.verdict}{more}"
        )


def outcome(folder: Path, promised: Mapping[str, int]) -> Outcome:
    """Hold a record that nobody writes any more against what was promised."""
    store, found, lost = AuditStore(folder), 0, 0
    faults: list[str] = []
    held = {row[0]: row[1:] for row in store.query(HELD, limit=ALL).rows}
    for writer, (count, highest) in held.items():
        found += count
        if count != highest:
            faults.append(f"writer {writer} has {count} events, numbered up to {highest}")
    for writer, count in promised.items():
        missing = count - held.get(writer, (0, 0))[0]
        lost += max(0, missing)
    counts = set(store.query(COUNTS).rows[0])
    if len(counts) != 1:
        faults.append(f"events, ids and numbers differ: {sorted(counts)}")
    faults += [f"gap: {row}" for row in store.query("FROM seq_gaps WHERE missing <> 0").rows]
    for text, digest in store.query(NAMED, limit=ALL).rows:
        path = folder / "blobs" / digest[:2] / digest
        data = path.read_bytes() if path.exists() else b""
        if sha256(data).hexdigest() != digest or data.decode() != text:
            faults.append(f"the text {digest} that an event names is not there")
    report = verify_record(folder)
    if report.exit_code not in (0, 2):
        faults += [f"{one.file}:{one.line}: {one.reason}" for one in report.all_findings]
    return Outcome(sum(promised.values()), found, lost, report.exit_code, tuple(faults))
