"""The connection of a process to the database of the cluster."""

from __future__ import annotations

import os
import threading
from collections.abc import Sequence
from typing import Any, TypeVar
from weakref import finalize

import psycopg
from psycopg.abc import PQGen

from sashizu_cluster.errors import DatabaseGone, explained

__all__ = ["Database", "Row"]

Row = tuple[Any, ...]

V = TypeVar("V")

ANSWER_S = 15.0
"""How long a server may take to answer before it counts as gone, in seconds."""

_OPTIONS: dict[str, Any] = {
    "connect_timeout": 5,
    "application_name": "sashizu",
    "keepalives_idle": 5,
    "keepalives_interval": 2,
    "keepalives_count": 3,
    "tcp_user_timeout": 10_000,
    # Nobody holds a row for long; who waits longer than this waits for somebody who hangs.
    "options": "-c statement_timeout=10s -c lock_timeout=5s -c timezone=UTC",
}


class _Impatient(psycopg.Connection[Row]):
    """A connection that gives up a server which hangs: its own time-outs hang with it."""

    answer_s = ANSWER_S
    hung = False

    def wait(self, gen: PQGen[V], interval: float = 0.1, timeout: float | None = None) -> V:
        limit = self.answer_s if timeout is None else min(timeout, self.answer_s)
        try:
            return super().wait(gen, interval, limit)
        except psycopg.errors._WaitTimeout as error:
            self.hung = True
            self.close()
            raise psycopg.OperationalError(f"it has not answered for {limit:g} s") from error


class Database:
    """One connection, made with its first use and anew after it broke. Thread-safe; blocks.

    `dsn` is a connection string of libpq. Every call is one statement and one transaction, unless
    it is given somebody's connection: then it is part of what is done there. A server that says
    nothing for `answer_s` seconds counts as gone.
    """

    def __init__(self, dsn: str, *, answer_s: float = ANSWER_S) -> None:
        self.dsn = dsn
        self._answer_s = answer_s
        self._lock = threading.Lock()
        self._connection: _Impatient | None = None
        self._pid = os.getpid()
        self._ended = False
        self._closing: finalize[Any, Any] | None = None

    def rows(
        self,
        query: str,
        values: Sequence[Any] = (),
        *,
        connection: psycopg.Connection | None = None,
        again: bool = False,
    ) -> list[Row]:
        """The rows that a statement gives.

        `again` says that it may be repeated: what broke is tried once more on a new connection.

        Raises:
            DatabaseGone: the server does not answer; whether it did anything is not known.
            ClusterError: it refuses.
        """
        if connection is not None:
            return self._asked(connection, query, values)
        with self._lock:
            fresh = self._connection is None
            try:
                return self._asked(self._connected(), query, values)
            except DatabaseGone:
                # It may have gone while nobody used it.
                if not again or fresh or self._connection is None or self._connection.hung:
                    raise
                return self._asked(self._connected(), query, values)

    def _asked(
        self, connection: psycopg.Connection, query: str, values: Sequence[Any]
    ) -> list[Row]:
        try:
            return connection.execute(query.encode(), values).fetchall()
        except psycopg.Error as error:
            raise explained(error, self.dsn) from error

    def row(
        self,
        query: str,
        values: Sequence[Any] = (),
        *,
        connection: psycopg.Connection | None = None,
        again: bool = False,
    ) -> Row:
        """The one row that a statement gives; see `rows`."""
        return self.rows(query, values, connection=connection, again=again)[0]

    def _connected(self) -> _Impatient:
        try:
            return self._connection_now()
        except psycopg.Error as error:
            raise explained(error, self.dsn) from error

    def _connection_now(self) -> _Impatient:
        if self._ended:
            raise psycopg.InterfaceError("this process has ended its connection")
        if self._pid != os.getpid():  # the parent's connection is not ours to use, nor to close
            self._connection, self._pid = None, os.getpid()
        if self._connection is None or self._connection.closed:
            self._connection = _Impatient.connect(self.dsn, autocommit=True, **_OPTIONS)
            self._connection.answer_s = self._answer_s
            if self._closing is not None:
                self._closing.detach()
            # Not every one of these is closed by whoever made it.
            self._closing = finalize(self, _close, self._connection, self._pid)
            self._closing.atexit = False
        return self._connection

    def tenant(self) -> str:
        """Whose works the role sees that connects; raises as `rows`."""
        return str(self.row("SELECT sashizu.tenant()")[0])

    def close(self) -> None:
        """End the connection, for good."""
        with self._lock:
            self._ended = True
            if self._closing is not None:
                self._closing()
            self._connection = None


def _close(connection: psycopg.Connection[Any], pid: int) -> None:
    """End a connection, if it is one of this process."""
    if pid == os.getpid():
        connection.close()
