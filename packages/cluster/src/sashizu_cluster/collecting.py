"""Brings the events of a host from the database into the host's record, each exactly once.

What is taken is written down in the database before it is written to the record, and is given up
there only when the record has it on disk. Each event carries the number that it had; a collector
that begins asks the record which of them it has, so that one that died in between loses nothing and
writes nothing twice.
"""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import partial
from hashlib import sha256
from pathlib import Path
from typing import Any
from uuid import UUID

import anyio
from anyio import to_thread
from sashizu_core.errors import UsageError
from sashizu_core.events import Event
from sashizu_core.protocols import ContentSink, EventSink
from sashizu_core.specs import RecordRows

from sashizu_cluster.database import Database, Row
from sashizu_cluster.errors import ClusterError, DatabaseGone

__all__ = ["Collecting", "Collector", "Gap", "collecting", "only_collector"]

BATCH = 500
"""The most events that are taken at once."""

POLL_S = 0.2
"""How long a collector that found nothing waits, in seconds."""

AGAIN_S = (0.2, 5.0)
"""How long it waits for a server that does not answer: at first, and at most, in seconds."""

_ASK_S = 60.0

_LATE_S = 15.0
"""After how many seconds a collector that was not heard of is said to be missing."""

_ASKED = 1000
"""Of how many writers the record is asked at once."""

_KEPT = """
SELECT json_extract_string(attrs, '$.outbox.writer') AS writer,
       max(CAST(json_extract_string(attrs, '$.outbox.seq') AS BIGINT)) AS seq
FROM events WHERE json_extract_string(attrs, '$.outbox.writer') IN ({writers}) GROUP BY 1
"""

Asked = Callable[[str, int, float], RecordRows]
"""One SELECT, the most rows, the most seconds: `SinkSpec.query`."""


@dataclass(frozen=True, slots=True)
class Gap:
    """An event that is missing in the outbox although later ones of its writer are there."""

    writer: str
    name: str
    missing: int


@dataclass(frozen=True, slots=True)
class Collecting:
    """How far a host is: events that wait, events that its record has, seconds since it looked.

    `seen_s` is None where nobody ever collected for it.
    """

    host: str
    waiting: int
    collected: int
    seen_s: float | None

    @property
    def stuck(self) -> bool:
        """Whether something waits for a collector that is not there."""
        return self.waiting > 0 and (self.seen_s is None or self.seen_s > _LATE_S)


def collecting(database: Database) -> list[Collecting]:
    """Every host of the tenant, by name."""
    rows = database.rows("SELECT * FROM sashizu.outbox_stand()", again=True)
    return [
        Collecting(str(host), int(waiting), int(done), None if seen is None else float(seen))
        for host, waiting, done, seen in rows
    ]


@dataclass(slots=True)
class Collector:
    """The one collector of a host; hold `only_collector` around it.

    `sink` is the host's record and `asked` asks it. `problem` is told, once, of what keeps it from
    going on, and of the end of that with an empty text.
    """

    database: Database
    host: str
    sink: EventSink
    asked: Asked
    problem: Callable[[str], None] = lambda _: None
    most: int = BATCH
    _epoch: int = 0
    _kept: dict[str, int] = field(default_factory=dict)
    _told: str = ""

    async def run(self) -> None:
        """Collect until it is cancelled.

        Raises:
            RecordError: the host's record cannot be written; what waits stays in the database.
            ClusterError: another collector has taken over, or the database refuses.
        """
        wait_s = AGAIN_S[0]
        while True:
            try:
                moved = await self.collect()
            except DatabaseGone as error:
                self._tell(str(error))
                await anyio.sleep(wait_s)
                wait_s = min(2 * wait_s, AGAIN_S[1])
                continue
            wait_s = AGAIN_S[0]
            if not moved:
                gaps = await self.gaps()
                self._tell("; ".join(_gap_told(gap) for gap in gaps))
                await anyio.sleep(POLL_S)

    async def collect(self) -> int:
        """Bring one batch into the record; how many events it has, 0 where none waits.

        Raises:
            RecordError: the record cannot be written.
            DatabaseGone: the server does not answer; call again.
            ClusterError: another collector has taken over, or the database refuses.
        """
        try:
            if not self._epoch:
                await self._begin()
            return await self._collect()
        except BaseException:
            # How far this came is asked anew; also of a database that comes back from a backup.
            self._epoch = 0
            raise

    async def _collect(self) -> int:
        rows = await self._rows("outbox_take(%s, %s, %s)", self._epoch, self.most)
        if not rows:
            return 0
        self._write([row for row in _in_order(rows) if row[1] > self._kept.get(str(row[0]), 0)])
        await self.sink.durable()
        await self._rows("outbox_moved(%s, %s)", self._epoch, again=False)
        for writer, seq, *_ in rows:
            if self._kept.get(str(writer), seq) < seq:
                del self._kept[str(writer)]
        return len(rows)

    async def gaps(self) -> list[Gap]:
        """What is missing, and waited for."""
        rows = await self._rows("outbox_gaps(%s)")
        return [Gap(str(writer), str(name), int(missing)) for writer, name, missing in rows]

    async def _begin(self) -> None:
        """Become the collector; what waits may be in the record all the same.

        The collector before may have died before it said so, or the database is of a backup.
        """
        ((epoch,),) = await self._rows("outbox_collect(%s)")
        writers = [str(UUID(str(writer))) for (writer,) in await self._rows("outbox_waiting(%s)")]
        self._kept = {}
        for first in range(0, len(writers), _ASKED):
            some = writers[first : first + _ASKED]
            query = _KEPT.format(writers=", ".join(f"'{writer}'" for writer in some))
            found = await to_thread.run_sync(self.asked, query, _ASKED, _ASK_S)
            self._kept |= {str(writer): int(seq) for writer, seq in found.rows}
        self._epoch = epoch

    def _write(self, rows: Sequence[Row]) -> None:
        """Write events, and what they name before them."""
        if not rows:
            return
        if isinstance(self.sink, ContentSink) and self.sink.keeps_content:
            for row in rows:
                for text in json.loads(row[5]).values() if row[5] else ():
                    self.sink.keep(text)
        self.sink.write([_event(row) for row in rows])

    async def _rows(self, call: str, *values: object, again: bool = True) -> list[Row]:
        query = f"SELECT * FROM sashizu.{call}"  # noqa: S608 - a function of ours
        asking = partial(self.database.rows, query, (self.host, *values), again=again)
        return await to_thread.run_sync(asking)

    def _tell(self, problem: str) -> None:
        if problem != self._told:
            self._told = problem
            self.problem(problem)


def _in_order(rows: Sequence[Row]) -> list[Row]:
    """As things happened, as far as the server's clock tells; of one writer always as it wrote."""
    latest: dict[Any, int] = {}
    keyed = []
    for row in sorted(rows, key=lambda row: (row[0], row[1])):
        at = latest[row[0]] = max(int(row[2]), latest.get(row[0], 0))
        keyed.append((at, row[0], row[1], row))
    return [row for *_, row in sorted(keyed, key=lambda each: each[:3])]


def _event(row: Row) -> Event:
    writer, seq, at_ns, kind, text, _ = row
    fields: dict[str, Any] = json.loads(text)
    number = {"writer": str(writer), "seq": int(seq), "at_ns": int(at_ns)}
    attrs: dict[str, Any] = fields.get("attrs") or {}
    # First, as what is last is cut first of an event that is too long; and nobody else's word.
    fields["attrs"] = {"outbox": number} | attrs | {"outbox": number}
    return Event(str(kind), fields)


def _gap_told(gap: Gap) -> str:
    return (
        f"event {gap.missing} of {gap.name} ({gap.writer}) is missing in the outbox, and later "
        "ones are there: somebody deleted it, or the database was restored in part. What follows "
        "it waits; restore table sashizu.outbox_event"
    )


@contextmanager
def only_collector(folder: Path, host: str) -> Iterator[None]:
    """Be the one process of this machine that collects for a host, while the block runs.

    Raises:
        UsageError: another process is.
        ClusterError: the lock cannot be made.
    """
    path = folder / "cluster" / f"collector-{UUID(bytes=_digest(host))}.lock"
    try:
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        fd = os.open(path, os.O_RDWR | os.O_CREAT | getattr(os, "O_CLOEXEC", 0), 0o600)
    except OSError as error:
        raise ClusterError(f"nobody can collect for host {host!r}: {path}: {error}") from error
    try:
        try:
            _lock(fd)
        except OSError as error:
            raise UsageError(
                f"another process collects for host {host!r} already: one is enough"
            ) from error
        yield
    finally:
        os.close(fd)


def _digest(host: str) -> bytes:
    return sha256(host.encode("utf-8", "surrogatepass")).digest()[:16]


if sys.platform == "win32":
    import msvcrt

    def _lock(fd: int) -> None:
        msvcrt.locking(fd, msvcrt.LK_NBLCK, 1)

else:
    import fcntl

    def _lock(fd: int) -> None:
        fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
