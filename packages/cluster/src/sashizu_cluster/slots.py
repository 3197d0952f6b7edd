"""Slots: who holds the lock of one is the executor of that name, and nobody else can be.

The lock belongs to a connection. When that breaks, the server gives the lock to somebody else, so
whoever had it has to be gone by then: it looks three times a second, and ends at once.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from zlib import crc32

import psycopg

from sashizu_cluster.errors import DatabaseGone, explaining

__all__ = ["SlotLease", "executor_of", "namespace_of", "take_slot"]

LOOK_S = 0.3
"""How often a lease is looked at, in seconds."""

ANSWER_MS = 2000
"""How long the server may take to say that it is still there, in milliseconds."""

_CONNECTION = {
    "connect_timeout": 5,
    "application_name": "sashizu worker",
    "keepalives_idle": 2,
    "keepalives_interval": 1,
    "keepalives_count": 3,
    "tcp_user_timeout": ANSWER_MS,
    # The server notices later than the worker does: the old owner is gone before a new one begins.
    "options": (
        f"-c statement_timeout={ANSWER_MS} -c tcp_keepalives_idle=3 -c tcp_keepalives_interval=2 "
        "-c tcp_keepalives_count=3"
    ),
}


def namespace_of(tenant: str) -> int:
    """What the locks of a tenant's slots have in common: 31 bits."""
    return crc32(f"sashizu slots {tenant}".encode()) & 0x7FFF_FFFF


def executor_of(tenant: str, slot: int) -> str:
    """What the engine calls who has a slot."""
    return f"{tenant}-{slot}"


class SlotLease:
    """A slot that is held by this process."""

    def __init__(self, connection: psycopg.Connection, namespace: int, slot: int, dsn: str) -> None:
        self._connection = connection
        self._namespace = namespace
        self._dsn = dsn
        self.slot = slot

    def check(self) -> None:
        """Return if it is still held. Blocks for two seconds at most.

        Raises:
            DatabaseGone: it is not, or nobody says so.
        """
        with explaining(self._dsn):
            self._connection.execute("SELECT 1")

    def try_other(self, slot: int) -> bool:
        """Take the lock of another slot as well, if nobody has it. Blocks."""
        with explaining(self._dsn):
            return _locked(self._connection, self._namespace, slot)

    def leave_other(self, slot: int) -> None:
        """Give the lock of the other slot back. Blocks."""
        with explaining(self._dsn):
            self._connection.execute("SELECT pg_advisory_unlock(%s, %s)", (self._namespace, slot))

    def close(self) -> None:
        """Give the slot back."""
        self._connection.close()


def take_slot(
    dsn: str,
    tenant: str,
    slots: int,
    *,
    waiting: Callable[[], None],
    sleep: Callable[[float], None] = time.sleep,
) -> SlotLease:
    """Wait until one of the slots is free, and take it. Blocks.

    `waiting` is called once if all are taken: this process is a standby then.

    Raises:
        ClusterError: the database refuses.
    """
    namespace, told = namespace_of(tenant), False
    while True:
        try:
            with explaining(dsn):
                connection = psycopg.connect(dsn, autocommit=True, **_CONNECTION)  # type: ignore[arg-type]
                for slot in range(slots):
                    if _locked(connection, namespace, slot):
                        return SlotLease(connection, namespace, slot, dsn)
            if not told:
                told = True
                waiting()
            while not _changed(dsn, connection, namespace, slots):
                sleep(LOOK_S)
            connection.close()
        except DatabaseGone:
            sleep(1.0)


def _changed(dsn: str, connection: psycopg.Connection, namespace: int, slots: int) -> bool:
    """Whether fewer than all slots are held."""
    with explaining(dsn):
        row = connection.execute(
            "SELECT count(*) FROM pg_locks WHERE locktype = 'advisory' AND granted "
            "AND objsubid = 2 AND classid::bigint = %s AND objid::bigint < %s "
            "AND database = (SELECT oid FROM pg_database WHERE datname = current_database())",
            (namespace, slots),
        ).fetchone()
    return row is None or int(row[0]) < slots


def _locked(connection: psycopg.Connection, namespace: int, slot: int) -> bool:
    row = connection.execute("SELECT pg_try_advisory_lock(%s, %s)", (namespace, slot)).fetchone()
    return row is not None and bool(row[0])
