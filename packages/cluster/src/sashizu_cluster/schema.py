"""The tables and functions of the cluster: made, brought up to date, and given to roles."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from hashlib import sha256
from importlib.resources import files
from typing import Any

import psycopg
from psycopg import sql
from sashizu_core.errors import UsageError

from sashizu_cluster.errors import ClusterError, explaining

__all__ = ["MIGRATIONS", "NEWEST", "ClusterName", "check_cluster", "grant_tenant", "set_up"]

MINIMUM = 140_000
"""PostgreSQL 14, as `server_version_num` says it."""

_LOCK = 0x5A51_0001
"""The advisory lock of whoever changes the schema."""

_PUBLIC = (
    "tenant",
    "which_cluster",
    "spend_organisation",
    "spend_open",
    "spend_stand",
    "spend_close",
    "spend_reserve",
    "spend_settle",
    "spend_draw",
    "spend_take_over",
    "outbox_open",
    "outbox_put",
    "outbox_collect",
    "outbox_take",
    "outbox_moved",
    "outbox_waiting",
    "outbox_gaps",
    "outbox_stand",
    "journal_of",
    "work_begin",
    "work_blob_forget",
    "work_blob_get",
    "work_blob_put",
    "work_cancel",
    "work_counts",
    "work_drain",
    "work_end",
    "work_enqueued",
    "work_expire",
    "work_forget",
    "work_forgettable",
    "work_news",
    "work_queues",
    "work_runs",
    "work_signal",
    "work_signals",
    "work_stand",
    "work_submit",
    "work_tell",
    "work_told",
    "work_unheard",
    "worker_here",
    "workers",
    "workers_gone",
)
"""The functions that a worker may call; it can touch nothing else in the schema."""

_NAME = re.compile(r"[a-z][a-z0-9_-]{0,62}")


@dataclass(frozen=True, slots=True)
class Migration:
    """One step of the schema: what is in a file of `sql`."""

    number: int
    text: str

    @property
    def digest(self) -> str:
        return sha256(self.text.encode()).hexdigest()


def _migrations() -> tuple[Migration, ...]:
    found = [
        Migration(int(entry.name[:3]), entry.read_text("utf-8"))
        for entry in files("sashizu_cluster").joinpath("sql").iterdir()
        if entry.name.endswith(".sql")
    ]
    return tuple(sorted(found, key=lambda migration: migration.number))


MIGRATIONS = _migrations()

NEWEST = MIGRATIONS[-1].number


@dataclass(frozen=True, slots=True)
class ClusterName:
    """What a database says of itself: a UUID, the name that it was set up with, its schema."""

    cluster_id: str
    name: str
    newest: int


def set_up(dsn: str, name: str = "default") -> ClusterName:
    """Make the schema, or bring it up to date; what is there stays as it is. Blocks.

    Call it as the owner of the database. Twice changes nothing.

    Raises:
        UsageError: the name is none.
        ClusterError: the server is too old, the database belongs to a cluster of another name or of
            a newer version, or the role may not do it.
    """
    if not _NAME.fullmatch(name):
        raise UsageError(
            f"{name!r} is no name of a cluster: small letters, digits, '-' and '_', a letter first"
        )
    with explaining(dsn), psycopg.connect(dsn, connect_timeout=10) as db:
        _check_version(db)
        db.execute("SELECT pg_advisory_xact_lock(%s)", (_LOCK,))
        db.execute("CREATE SCHEMA IF NOT EXISTS sashizu")
        db.execute("SET LOCAL search_path = sashizu, pg_catalog, pg_temp")
        done = _done(db)
        if done:
            _check_name(_named(db), name)
        _check_steps(done)
        for step in MIGRATIONS[len(done) :]:
            db.execute(step.text.encode())
            if step.number == 1:
                db.execute("INSERT INTO cluster (name) VALUES (%s)", (name,))
            db.execute(
                "INSERT INTO migration (number, sha256) VALUES (%s, %s)",
                (step.number, step.digest),
            )
        _lock_down(db)
        return _named(db)


def check_cluster(dsn: str, name: str = "") -> ClusterName:
    """What cluster a database holds, if this version can use it. Blocks.

    Raises:
        ClusterError: it holds none, one of another name or version, or cannot be reached.
    """
    with explaining(dsn), psycopg.connect(dsn, connect_timeout=10, autocommit=True) as db:
        _check_version(db)
        found = _named(db)
    if name:
        _check_name(found, name)
    if found.newest != NEWEST:
        older = found.newest < NEWEST
        raise ClusterError(
            f"the database is of schema {found.newest}, and this version needs {NEWEST}: "
            + ("run 'sashizu cluster init' as its owner" if older else "install the newer sashizu")
        )
    return found


def grant_tenant(dsn: str, role: str, tenant: str) -> None:
    """Let a role that can log in work for one tenant, and see nothing of the others. Blocks.

    Raises:
        UsageError: the name of the tenant is none.
        ClusterError: there is no such role, it belongs to another tenant, or may be everything.
    """
    if not _NAME.fullmatch(tenant):
        raise UsageError(
            f"{tenant!r} is no name of a tenant: small letters, digits, '-' and '_', a letter first"
        )
    with explaining(dsn), psycopg.connect(dsn, connect_timeout=10) as db:
        _check_role(db, role, tenant)
        db.execute(
            "INSERT INTO sashizu.tenant_role (role, tenant) VALUES (%s, %s) "
            "ON CONFLICT (role) DO NOTHING",
            (role, tenant),
        )
        who = sql.Identifier(role)
        db.execute(sql.SQL("GRANT USAGE ON SCHEMA sashizu TO {}").format(who))
        for function in _functions(db, _PUBLIC):
            db.execute(sql.SQL("GRANT EXECUTE ON FUNCTION {} TO {}").format(function, who))


def _check_role(db: psycopg.Connection, role: str, tenant: str) -> None:
    row = db.execute(
        "SELECT rolsuper OR rolbypassrls, pg_has_role(r.oid, n.nspowner, 'MEMBER'), "
        "(SELECT tenant FROM sashizu.tenant_role t WHERE t.role = r.rolname) "
        "FROM pg_roles r, pg_namespace n WHERE r.rolname = %s AND n.nspname = 'sashizu'",
        (role,),
    ).fetchone()
    if row is None:
        raise ClusterError(
            f"there is no role {role!r}: make it first, 'CREATE ROLE \"{role}\" LOGIN PASSWORD ...'"
        )
    may_all, owns, other = row
    if may_all or owns:
        raise ClusterError(
            f"role {role!r} is a superuser or owns the cluster, so nothing would keep it from "
            "other tenants: name a role of its own for workers"
        )
    if other not in (None, tenant):
        raise ClusterError(
            f"role {role!r} works for tenant {other!r} already: give each tenant a role of its own"
        )


def _check_version(db: psycopg.Connection) -> None:
    if db.info.server_version < MINIMUM:
        raise ClusterError(
            f"this is PostgreSQL {db.info.server_version // 10_000}, and 14 or newer is needed: "
            "name a newer server"
        )


def _done(db: psycopg.Connection) -> list[tuple[int, str]]:
    (there,) = _one(db, "SELECT to_regclass('sashizu.migration') IS NOT NULL")
    if not there:
        return []
    return db.execute("SELECT number, sha256 FROM migration ORDER BY number").fetchall()


def _check_steps(done: Sequence[tuple[int, str]]) -> None:
    """What was done has to be the beginning of what is known here."""
    if len(done) > len(MIGRATIONS):
        raise ClusterError(
            f"the database is of schema {done[-1][0]}, and this version knows {NEWEST}: "
            "install the newer sashizu; nothing was changed"
        )
    for (number, digest), known in zip(done, MIGRATIONS, strict=False):
        if number != known.number or digest != known.digest:
            raise ClusterError(
                f"step {number} of the database's schema is not the one of this version: it was "
                "set up by an unreleased version. Use another database; nothing was changed"
            )


def _named(db: psycopg.Connection) -> ClusterName:
    cluster_id, name, newest = _one(
        db, "SELECT cluster_id::text, name, newest FROM sashizu.which_cluster()"
    )
    return ClusterName(cluster_id, name, newest)


def _check_name(found: ClusterName, name: str) -> None:
    if found.name != name:
        raise ClusterError(
            f"the database belongs to cluster {found.name!r} and not to {name!r}: two clusters in "
            "one database would work on each other's runs. Give each a database of its own"
        )


def _lock_down(db: psycopg.Connection) -> None:
    """Nobody but the owner may call anything, until `grant_tenant` says so."""
    db.execute("REVOKE ALL ON SCHEMA sashizu FROM PUBLIC")
    db.execute("REVOKE ALL ON ALL TABLES IN SCHEMA sashizu FROM PUBLIC")
    db.execute("REVOKE ALL ON ALL FUNCTIONS IN SCHEMA sashizu FROM PUBLIC")
    for (role,) in db.execute("SELECT role FROM tenant_role").fetchall():
        for function in _functions(db, _PUBLIC):
            db.execute(
                sql.SQL("GRANT EXECUTE ON FUNCTION {} TO {}").format(function, sql.Identifier(role))
            )


def _functions(db: psycopg.Connection, names: Sequence[str]) -> list[sql.SQL]:
    rows = db.execute(
        "SELECT p.oid::regprocedure::text FROM pg_proc p "
        "JOIN pg_namespace n ON n.oid = p.pronamespace "
        "WHERE n.nspname = 'sashizu' AND p.proname = ANY (%s)",
        (list(names),),
    ).fetchall()
    # `regprocedure` leaves out the schema where the search path has it.
    return [sql.SQL(text if text.startswith("sashizu.") else f"sashizu.{text}") for (text,) in rows]


def _one(db: psycopg.Connection, query: str) -> tuple[Any, ...]:
    row = db.execute(query.encode()).fetchone()
    if row is None:
        raise ClusterError("the database is not set up: run 'sashizu cluster init' as its owner")
    return row
