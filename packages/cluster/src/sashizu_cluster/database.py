"""The connection of a process to the database of the cluster."""

from __future__ import annotations

import os
import threading
from collections.abc import Sequence
from typing import Any

import psycopg

from sashizu_cluster.errors import explained

__all__ = ["Database", "Row"]

Row = tuple[Any, ...]

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


class Database:
    """One connection, made with its first use and anew after it broke. Thread-safe; blocks.

    `dsn` is a connection string of libpq. Every call is one statement and one transaction, unless
    it is given somebody's connection: then it is part of what is done there.
    """

    def __init__(self, dsn: str) -> None:
        self.dsn = dsn
        self._lock = threading.Lock()
        self._connection: psycopg.Connection | None = None
        self._pid = os.getpid()
        self._ended = False

    def rows(
        self,
        query: str,
        values: Sequence[Any] = (),
        *,
        connection: psycopg.Connection | None = None,
    ) -> list[Row]:
        """The rows that a statement gives.

        Raises:
            DatabaseGone: the server does not answer; whether it did anything is not known.
            ClusterError: it refuses.
        """
        try:
            if connection is not None:
                return connection.execute(query.encode(), values).fetchall()
            with self._lock:
                return self._connected().execute(query.encode(), values).fetchall()
        except psycopg.Error as error:
            raise explained(error, self.dsn) from error

    def row(
        self,
        query: str,
        values: Sequence[Any] = (),
        *,
        connection: psycopg.Connection | None = None,
    ) -> Row:
        """The one row that a statement gives; raises as `rows`."""
        return self.rows(query, values, connection=connection)[0]

    def _connected(self) -> psycopg.Connection:
        if self._ended:
            raise psycopg.InterfaceError("this process has ended its connection")
        if self._pid != os.getpid():  # the parent's connection is not ours to use, nor to close
            self._connection, self._pid = None, os.getpid()
        if self._connection is None or self._connection.closed:
            self._connection = psycopg.connect(self.dsn, autocommit=True, **_OPTIONS)
        return self._connection

    def tenant(self) -> str:
        """Whose works the role sees that connects; raises as `rows`."""
        return str(self.row("SELECT sashizu.tenant()")[0])

    def close(self) -> None:
        """End the connection, for good."""
        with self._lock:
            self._ended = True
            if self._connection is not None and self._pid == os.getpid():
                self._connection.close()
            self._connection = None
