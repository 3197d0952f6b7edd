"""What PostgreSQL says, as sentences that a person can act on."""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager

import psycopg
from psycopg import errors
from sashizu_core.errors import SashizuError

__all__ = ["ClusterError", "DatabaseGone", "explained", "explaining", "told_to_people"]


class ClusterError(SashizuError):
    """The database of the cluster refuses; it stays so until somebody changes something."""


class DatabaseGone(ClusterError):
    """The database cannot be reached, or the connection broke; it may come back by itself."""


_PASSWORD = re.compile(
    r"(password\s*=\s*)('(?:\\.|[^'])*'|\S+)|(://[^:/@\s]*:)[^@/\s]*@", re.IGNORECASE
)


def told_to_people(dsn: str) -> str:
    """A connection string without its password."""
    return _PASSWORD.sub(lambda found: f"{found[1]}***" if found[1] else f"{found[3]}***@", dsn)


def explained(error: psycopg.Error, dsn: str) -> ClusterError:
    """What an error of the driver means, and what to do about it."""
    where = told_to_people(dsn) or "the default of libpq"
    said = _said(error)
    match error:
        case errors.DiskFull() | errors.InsufficientResources() | errors.OutOfMemory():
            return ClusterError(
                f"PostgreSQL at {where} has no room left: {said}; nothing of this change was kept. "
                "Free disk space there (old runs: 'sashizu cluster runs --forget'), then go on"
            )
        case errors.InsufficientPrivilege():
            return ClusterError(
                f"the role that connects to {where} may not do this: {said}; have the owner of "
                "the database give it a tenant: 'sashizu cluster init --tenant NAME --role ROLE'"
            )
        case errors.UndefinedTable() | errors.InvalidSchemaName() | errors.UndefinedFunction():
            return ClusterError(
                f"the database at {where} is not set up for this version: {said}; "
                "run 'sashizu cluster init' as its owner"
            )
        case errors.ObjectNotInPrerequisiteState():
            return ClusterError(f"PostgreSQL at {where} refuses: {said}")
        case errors.ReadOnlySqlTransaction():
            return ClusterError(
                f"PostgreSQL at {where} is read-only: {said}; name the primary, not a standby"
            )
    if isinstance(error, psycopg.OperationalError | psycopg.InterfaceError):
        return _unreachable(error, where, said)
    return ClusterError(f"PostgreSQL at {where} refuses: {said}")


def _unreachable(error: psycopg.Error, where: str, said: str) -> ClusterError:
    lower = said.lower()
    for sign, remedy in (
        ("password authentication failed", "check user and password, and pg_hba.conf there"),
        ("no password supplied", "give the password in PGPASSWORD or in ~/.pgpass"),
        ("peer authentication failed", "connect over TCP, or as that user of the system"),
        ("pg_hba.conf", "allow this host and role in pg_hba.conf there"),
        ("role", "make the role, or name another one in [cluster] database"),
        ("database", "make the database: 'createdb NAME', then 'sashizu cluster init'"),
    ):
        refused = "does not exist" in lower or sign not in ("role", "database")
        if sign in lower and refused and not isinstance(error, psycopg.InterfaceError):
            return ClusterError(f"PostgreSQL at {where} lets nobody in: {said}; {remedy}")
    return DatabaseGone(
        f"PostgreSQL at {where} cannot be reached: {said}; check that it runs and that this "
        "machine may connect. Nothing was spent that is not held there"
    )


def _said(error: psycopg.Error) -> str:
    diagnosis = error.diag.message_primary
    text = diagnosis or str(error).strip() or type(error).__name__
    return " ".join(told_to_people(text).split())


@contextmanager
def explaining(dsn: str) -> Iterator[None]:
    """Whatever the driver raises in the block comes out as a `ClusterError`."""
    try:
        yield
    except psycopg.Error as error:
        raise explained(error, dsn) from error
