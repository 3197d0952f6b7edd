"""Work as rows of PostgreSQL: handed over, begun, told of, cancelled, ended."""

from __future__ import annotations

import json
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass
from hashlib import sha256
from typing import Any, cast

from sashizu_core.errors import UsageError
from sashizu_core.executors import Work, WorkEvent, WorkState, WorkStatus, as_json

from sashizu_cluster.database import Database, Row

__all__ = ["Begun", "News", "RunRow", "WorkBoard", "WorkerRow", "queue_of"]

LARGEST = 1_000_000
"""Bytes of JSON that a row holds itself; what is larger is a blob, and the row has its digest."""

_BLOB = "sashizu:blob"


def queue_of(labels: Collection[str], *, top: bool) -> str:
    """The queue of work that needs these labels.

    What nobody handed over from a work waits for others most of the time, and has a queue of its
    own: it must not take the places of those that it waits for.
    """
    return f"sashizu/{'runs' if top else 'agents'}/{','.join(sorted(labels))}"


@dataclass(frozen=True, slots=True)
class Begun:
    """A work that was begun, by the attempt of that number; `cancelled` says why it is to end."""

    work: Work
    state: WorkState
    attempt: int
    cancelled: str | None


@dataclass(frozen=True, slots=True)
class News:
    """What is new of a work: `told` is the number of the last thing that it told."""

    state: WorkState
    cancelled: str | None
    told: int

    @property
    def final(self) -> bool:
        return self.state not in ("waiting", "working")


@dataclass(frozen=True, slots=True)
class RunRow:
    """A run: `below` are its agents, `ended` how many of them have. Times are Unix seconds."""

    key: str
    state: str
    worker: str
    attempt: int
    error: str
    submitted: float
    changed: float
    below: int
    ended: int
    labels: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class WorkerRow:
    """A worker that holds its slot now."""

    slot: int
    name: str
    version: str
    labels: tuple[str, ...]
    at_once: int
    began: float


class WorkBoard:
    """The works of one tenant. Thread-safe; blocks.

    Every method raises `DatabaseGone` where the server does not answer, and `ClusterError` where it
    refuses.
    """

    def __init__(self, database: Database, version: str) -> None:
        self._database = database
        self.version = version

    @property
    def dsn(self) -> str:
        return self._database.dsn

    @property
    def tenant(self) -> str:
        """Whose works these are."""
        return self._database.tenant()

    # --- who hands over ---------------------------------------------------------------------------

    def submit(self, work: Work) -> bool:
        """Take work; False if it is there already.

        Raises:
            UsageError: the payload is no JSON, or no further work is taken.
        """
        payload = as_json(work.payload, f"the payload of {work.operation!r}")
        (answer,) = self._database.row(
            "SELECT sashizu.work_submit(%s, %s, %s, %s, %s, %s, %s, %s)",
            (
                work.key,
                work.parent,
                work.operation,
                self._packed(payload),
                sorted(work.labels),
                queue_of(work.labels, top=not work.parent),
                self.version,
                work.deadline,
            ),
        )
        if answer == "draining":
            raise UsageError(
                "no further work is taken: this cluster is being drained "
                "('sashizu cluster drain --end' takes work again)"
            )
        return str(answer) == "new"

    def enqueued(self, key: str) -> None:
        """The engine has heard of it."""
        self._database.rows("SELECT sashizu.work_enqueued(%s)", (key,))

    def unheard(self) -> list[tuple[str, str]]:
        """Key and queue of work that the engine has not heard of for seconds."""
        rows = self._database.rows("SELECT * FROM sashizu.work_unheard(%s)", (self.version,))
        return [(str(key), str(queue)) for key, queue in rows]

    def status(self, key: str) -> WorkStatus:
        """How far it is.

        Raises:
            UsageError: there is no such work.
        """
        rows = self._database.rows("SELECT * FROM sashizu.work_stand(%s)", ([key],))
        if not rows:
            raise _unknown(key)
        _, state, result, error, worker, _, _ = rows[0]
        return WorkStatus(key, state, self._unpacked(result), error, worker)

    def news(self, keys: Sequence[str]) -> dict[str, News]:
        """What is new of those that are there."""
        rows = self._database.rows("SELECT * FROM sashizu.work_news(%s)", (list(keys),))
        return {
            key: News(cast(WorkState, state), cancelled, told)
            for key, state, cancelled, told in rows
        }

    def events(self, key: str, after: int) -> list[WorkEvent]:
        """What it told after that number; the first of it, where it is much."""
        rows = self._database.rows("SELECT * FROM sashizu.work_told(%s, %s)", (key, after))
        return [WorkEvent(seq, self._unpacked(value)) for seq, value in rows]

    def signal(self, key: str, name: str, payload: Any, idem: str) -> None:
        """Send something; the same `idem` twice is one signal.

        Raises:
            UsageError: there is no such work, or the payload is no JSON.
        """
        text = self._packed(as_json(payload, f"the payload of the signal {name!r}"))
        (there,) = self._database.row(
            "SELECT sashizu.work_signal(%s, %s, %s, %s)", (key, name, idem, text)
        )
        if not there:
            raise _unknown(key)

    def cancel(self, key: str, reason: str) -> list[str]:
        """Cancel it and all beneath it; returns the keys of those that ended with that.

        Raises:
            UsageError: there is no such work.
        """
        rows = self._database.rows(
            "SELECT * FROM sashizu.work_cancel(%s, %s)", (key, _storable(reason or "cancelled"))
        )
        if not rows:
            raise _unknown(key)
        return [str(each) for each, state in rows if state == "cancelled"]

    def drain(self, *, draining: bool) -> None:
        """Take no further work, or take it again."""
        self._database.rows("SELECT sashizu.work_drain(%s)", (draining,))

    def counts(self) -> tuple[bool, int, int]:
        """Whether it is being drained, how many works wait, and how many are at work."""
        draining, waiting, working = self._database.row("SELECT * FROM sashizu.work_counts()")
        return bool(draining), int(waiting), int(working)

    def runs(self, operation: str, most: int) -> list[RunRow]:
        """The newest runs first."""
        rows = self._database.rows("SELECT * FROM sashizu.work_runs(%s, %s)", (operation, most))
        return [_run(row) for row in rows]

    def forget(self, before: float, engine: Callable[[list[str]], None]) -> int:
        """Forget work that ended before that time, in Unix seconds; returns how many.

        `engine` is told each portion first: what it keeps of work that nobody knows is never found.
        """
        total = 0
        while True:
            rows = self._database.rows("SELECT * FROM sashizu.work_forgettable(%s)", (before,))
            keys = [str(key) for (key,) in rows]
            engine(keys)
            gone = int(self._database.row("SELECT sashizu.work_forget(%s)", (keys,))[0])
            total += gone
            if not gone:
                self._database.rows("SELECT sashizu.work_blob_forget(%s)", (before,))
                return total

    def workers(self, namespace: int) -> list[WorkerRow]:
        """The workers that hold a slot now."""
        rows = self._database.rows("SELECT * FROM sashizu.workers(%s)", (namespace,))
        return [
            WorkerRow(slot, name, version, tuple(labels), at_once, began)
            for slot, name, version, labels, at_once, began in rows
        ]

    # --- who works --------------------------------------------------------------------------------

    def begin(self, key: str, worker: str) -> Begun | None:
        """Begin an attempt; None where there is no such work any more."""
        rows = self._database.rows("SELECT * FROM sashizu.work_begin(%s, %s)", (key, worker))
        if not rows:
            return None
        state, attempt, operation, payload, parent, labels, deadline, cancelled = rows[0]
        try:
            values = self._unpacked(payload)
        except (UsageError, ValueError, RecursionError) as error:
            said = f"what was handed over is not to be read: {error}"
            self.end(attempt, WorkStatus(key, "error", error=said, worker=worker))
            return None
        work = Work(key, operation, values, parent, frozenset(labels), deadline)
        return Begun(work, state, attempt, cancelled)

    def end(self, attempt: int, status: WorkStatus) -> bool:
        """Store what became of a work; False where another attempt has begun since."""
        (stored,) = self._database.row(
            "SELECT sashizu.work_end(%s, %s, %s, %s, %s)",
            (
                status.key,
                attempt,
                status.state,
                self._packed(status.result),
                _storable(status.error),
            ),
        )
        return bool(stored)

    def tell(self, key: str, attempt: int, value: Any) -> bool:
        """Store what a work tells; False where another attempt has begun since."""
        (seq,) = self._database.row(
            "SELECT sashizu.work_tell(%s, %s, %s)",
            (key, attempt, self._packed(as_json(value, "progress"))),
        )
        return seq is not None

    def signalled(self, key: str, name: str, skip: int) -> tuple[Any] | None:
        """The next signal of that name, after the first ones; None while there is none."""
        rows = self._database.rows(
            "SELECT * FROM sashizu.work_signals(%s, %s, %s)", (key, name, skip)
        )
        return (self._unpacked(rows[0][0]),) if rows else None

    def queues(self, keys: Sequence[str]) -> dict[str, list[str]]:
        """Works by the queue that they belong to."""
        found: dict[str, list[str]] = {}
        rows = self._database.rows("SELECT * FROM sashizu.work_queues(%s)", (list(keys),))
        for key, queue in rows:
            found.setdefault(str(queue), []).append(str(key))
        return found

    def gone(self, namespace: int) -> list[int]:
        """The slots that somebody had, and nobody has now."""
        rows = self._database.rows("SELECT * FROM sashizu.workers_gone(%s)", (namespace,))
        return [int(slot) for (slot,) in rows]

    def expire(self) -> list[str]:
        """End what waited beyond its deadline; returns the keys."""
        rows = self._database.rows("SELECT * FROM sashizu.work_expire()")
        return [str(key) for (key,) in rows]

    def here(self, slot: int, name: str, labels: Collection[str], at_once: int) -> None:
        """Say who has a slot."""
        self._database.rows(
            "SELECT sashizu.worker_here(%s, %s, %s, %s, %s)",
            (slot, name, self.version, sorted(labels), at_once),
        )

    # --- large values -----------------------------------------------------------------------------

    def packed(self, value: Any) -> Any:
        """The value, or what stands for it where it is large; the value itself is then stored."""
        text = json.dumps(value)
        if len(text) <= LARGEST:
            return value
        digest = sha256(text.encode()).hexdigest()
        self._database.rows("SELECT sashizu.work_blob_put(%s, %s)", (digest, text))
        return {_BLOB: digest}

    def unpacked(self, value: Any) -> Any:
        """The value that `packed` was given.

        Raises:
            UsageError: it was forgotten.
        """
        if not isinstance(value, dict) or set(value) != {_BLOB}:
            return value
        (text,) = self._database.row("SELECT sashizu.work_blob_get(%s)", (value[_BLOB],))
        if text is None:
            raise UsageError(f"the blob {value[_BLOB][:12]} is not kept any more")
        return json.loads(text)

    def _packed(self, value: Any) -> str:
        return json.dumps(self.packed(value))

    def _unpacked(self, text: str | None) -> Any:
        return None if text is None else self.unpacked(json.loads(text))


def _run(row: Row) -> RunRow:
    key, state, worker, attempt, error, submitted, changed, below, ended, labels = row
    return RunRow(
        key, state, worker, attempt, error, submitted, changed, below, ended, tuple(labels)
    )


def _storable(text: str) -> str:
    """A text as a column can have it: errors may quote anything."""
    return text.encode("utf-8", "backslashreplace").decode().replace("\0", "\\0")


def _unknown(key: str) -> UsageError:
    return UsageError(f"there is no work {key!r} here ('sashizu cluster runs' shows what there is)")
