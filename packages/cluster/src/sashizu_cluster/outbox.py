"""Writes events into the database of the cluster, in the transaction of the step they tell of.

The collector of the host brings them into the host's record; see `sashizu_cluster.collecting`.
"""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass
from hashlib import sha256
from uuid import UUID, uuid4

import psycopg
from anyio.lowlevel import checkpoint
from sashizu_core.errors import RecordError, nearest
from sashizu_core.events import COLUMNS, KINDS, Event

from sashizu_cluster.database import Database
from sashizu_cluster.errors import ClusterError

__all__ = ["Outbox"]

_SET_BY_SINK = frozenset({"v", "event_id", "ts_ns", "mono_ns", "writer_id", "seq", "kind", "h"})

_FIELDS = frozenset(COLUMNS) - _SET_BY_SINK

_MOST_TEXT = 64 * 1024 * 1024
"""Bytes of texts that may wait for an event which names them."""


@dataclass(frozen=True, slots=True)
class _Transaction:
    """A transaction of somebody's, and the writer that nobody else uses meanwhile."""

    connection: psycopg.Connection
    writer: str


class Outbox:
    """The sink of a worker; a `ContentSink`. Thread-safe; blocks while it writes.

    `host` names whose collector brings the events on, `name` who writes them. Outside of `within`
    each call is a transaction of its own.
    """

    persistent = True
    keeps_content = True

    def __init__(self, database: Database, host: str, name: str) -> None:
        self._database = database
        self._host = host
        self._name = name
        self._lock = threading.Lock()
        self._own = ""
        self._last = 0
        self._free: list[str] = []
        self._texts: dict[str, str] = {}
        self._bytes = 0
        self._current: ContextVar[_Transaction | None] = ContextVar("transaction", default=None)

    @contextmanager
    def within(self, connection: psycopg.Connection) -> Iterator[None]:
        """Have what this task writes in the block be part of a transaction of `connection`.

        The transaction has to end inside the block: numbers of events are taken in it, and until it
        ends nobody else may take any of the same writer.

        Raises:
            RecordError: no writer can be opened.
        """
        with self._lock:
            writer = self._free.pop() if self._free else ""
        token = self._current.set(_Transaction(connection, writer or self._opened()))
        try:
            yield
        finally:
            transaction = self._current.get()
            self._current.reset(token)
            if transaction is not None:
                with self._lock:
                    self._free.append(transaction.writer)

    # --- EventSink --------------------------------------------------------------------------------

    def write(self, events: Sequence[Event]) -> None:
        """Take events, in order, all or none. They are kept when their transaction is.

        Raises:
            RecordError: they were not taken.
        """
        if not events:
            return
        lines = [_line(event) for event in events]
        texts, named = self._named(events)
        transaction = self._current.get()
        if transaction is not None:
            self._put(transaction.writer, events, lines, texts, transaction.connection)
        else:
            with self._lock:
                if not self._own:
                    self._own, self._last = self._opened(), 0
                self._put(self._own, events, lines, texts, None)
        self._forget(named)

    def keep(self, text: str) -> str | None:
        """Keep a text for the next event that names it; it has to be without secrets.

        Returns the SHA-256 in hexadecimal, or None where too much waits already.
        """
        data = text.encode("utf-8", "surrogatepass")
        digest = sha256(data).hexdigest()
        with self._lock:
            if digest not in self._texts:
                if self._bytes + len(data) > _MOST_TEXT:
                    return None
                self._texts[digest] = text
                self._bytes += len(data)
        return digest

    async def durable(self) -> None:
        """Return at once: a transaction is on the server's disk before its commit returns."""
        await checkpoint()

    def child_handoff(self) -> Mapping[str, str]:
        """What a child process needs: whose collector brings its events on."""
        return {"cluster_host": self._host}

    # ----------------------------------------------------------------------------------------------

    def _opened(self) -> str:
        writer = str(uuid4())
        try:
            self._database.rows(
                "SELECT sashizu.outbox_open(%s, %s, %s)",
                (UUID(writer), self._host, self._name),
                again=True,
            )
        except ClusterError as error:
            raise RecordError(f"nothing can be recorded: {error}") from error
        return writer

    def _put(
        self,
        writer: str,
        events: Sequence[Event],
        lines: Sequence[str],
        texts: Sequence[str],
        connection: psycopg.Connection | None,
    ) -> None:
        kinds = [event.kind for event in events]
        after = self._last if connection is None else None
        try:
            (last,) = self._database.row(
                "SELECT sashizu.outbox_put(%s, %s, %s, %s, %s)",
                (UUID(writer), after, kinds, list(lines), list(texts)),
                connection=connection,
                again=True,
            )
        except ClusterError as error:
            if connection is None:
                self._own = ""  # whether it was written is not known: begin anew
            raise RecordError(f"nothing can be recorded, so nothing is done: {error}") from error
        if connection is None:
            self._last = int(last)

    def _named(self, events: Sequence[Event]) -> tuple[list[str], set[str]]:
        """The texts that travel with each event, as JSON, and the digests of all of them."""
        found: list[str] = []
        seen: set[str] = set()
        with self._lock:
            for event in events:
                digests = [d for d in _digests(event.fields) if d in self._texts and d not in seen]
                seen.update(digests)
                found.append(json.dumps({d: self._texts[d] for d in digests}) if digests else "")
        return found, seen

    def _forget(self, digests: set[str]) -> None:
        """Texts of a transaction that is rolled back are kept anew by who writes the step again."""
        with self._lock:
            for digest in digests:
                text = self._texts.pop(digest, None)
                if text is not None:
                    self._bytes -= len(text.encode("utf-8", "surrogatepass"))


def _digests(fields: Mapping[str, object]) -> list[str]:
    """The SHA-256 of texts that an event names."""
    found = [fields.get("args_sha256"), fields.get("result_sha256")]
    blobs = fields.get("blobs")
    if isinstance(blobs, Sequence) and not isinstance(blobs, str):
        found += blobs
    return [each for each in found if isinstance(each, str)]


def _line(event: Event) -> str:
    """The fields of an event as JSON in ASCII, which a database keeps whatever they hold.

    Raises:
        RecordError: a kind or a column is unknown, or a value is none of JSON.
    """
    if event.kind not in KINDS or event.kind.startswith("writer."):
        raise RecordError(
            f"events of kind {event.kind!r} cannot be written{nearest(event.kind, KINDS)}"
        )
    unknown = sorted(set(event.fields) - _FIELDS)
    if unknown:
        raise RecordError(f"unknown column {unknown[0]!r}{nearest(unknown[0], _FIELDS)}")
    fields = {name: value for name, value in event.fields.items() if value is not None}
    try:
        return json.dumps(fields, allow_nan=False, separators=(",", ":"))
    except (TypeError, ValueError) as error:
        raise RecordError(f"an event of kind {event.kind!r} is no JSON: {error}") from error
