"""What is set up, brought up to date and refused; who may see what."""

from __future__ import annotations

from dataclasses import replace
from uuid import uuid4

import psycopg
import pytest
from sashizu_cluster import schema
from sashizu_cluster.database import Database
from sashizu_cluster.engine import engine_schema, set_up_engine
from sashizu_cluster.errors import ClusterError
from sashizu_cluster.outbox import Outbox
from sashizu_cluster.schema import NEWEST, check_cluster, grant_tenant, set_up
from sashizu_cluster.spending import SharedSpend
from sashizu_core.errors import RecordError, UsageError
from sashizu_core.events import Event
from sashizu_core.types import Amount, Limits

pytestmark = pytest.mark.postgres


def test_setting_up_twice_changes_nothing(dsn):
    first = set_up(dsn, "lab")
    assert first == set_up(dsn, "lab") == check_cluster(dsn, "lab")
    assert (first.name, first.newest) == ("lab", NEWEST)


def test_a_database_holds_one_cluster(dsn):
    set_up(dsn, "lab")
    with pytest.raises(ClusterError, match="belongs to cluster 'lab' and not to 'other'"):
        set_up(dsn, "other")
    with pytest.raises(ClusterError, match="Give each a database of its own"):
        check_cluster(dsn, "other")


def test_a_database_without_a_cluster_is_told_what_to_do(dsn):
    with pytest.raises(ClusterError, match="sashizu cluster init"):
        check_cluster(dsn)


def test_a_name_is_checked_before_anything_is_made(dsn):
    with pytest.raises(UsageError, match="no name of a cluster"):
        set_up(dsn, "Lab; DROP TABLE x")


def test_an_older_schema_is_brought_up_to_date(dsn, monkeypatch):
    every = schema.MIGRATIONS
    monkeypatch.setattr(schema, "MIGRATIONS", every[:2])
    monkeypatch.setattr(schema, "NEWEST", 2)
    set_up(dsn)
    spend = SharedSpend(Database(dsn), "worker")
    run = spend.open(str(uuid4()), "run", Limits(tokens=5))
    monkeypatch.undo()
    with pytest.raises(ClusterError, match="schema 2, and this version needs"):
        check_cluster(dsn)
    assert set_up(dsn).newest == NEWEST
    assert spend.state(run).limits.tokens == 5
    spend._database.close()


def test_a_newer_schema_is_left_alone(dsn, monkeypatch):
    set_up(dsn)
    monkeypatch.setattr(schema, "MIGRATIONS", schema.MIGRATIONS[:2])
    monkeypatch.setattr(schema, "NEWEST", 2)
    with pytest.raises(ClusterError, match="install the newer sashizu"):
        set_up(dsn)
    with pytest.raises(ClusterError, match="install the newer sashizu"):
        check_cluster(dsn)


def test_steps_that_somebody_changed_are_not_gone_on_from(dsn, monkeypatch):
    set_up(dsn)
    first = replace(schema.MIGRATIONS[0], text="-- something else")
    monkeypatch.setattr(schema, "MIGRATIONS", (first, *schema.MIGRATIONS[1:]))
    with pytest.raises(ClusterError, match="step 1 of the database's schema is not the one"):
        set_up(dsn)


def test_a_server_that_is_too_old_is_named(dsn, monkeypatch):
    monkeypatch.setattr(schema, "MINIMUM", 990_000)
    with pytest.raises(ClusterError, match="name a newer server"):
        set_up(dsn)


# --- roles ----------------------------------------------------------------------------------------


@pytest.fixture
def as_role(postgres, dsn):
    """Makes roles that can log in, of tenants; their connection strings."""
    set_up(dsn)
    made = []
    name = psycopg.conninfo.conninfo_to_dict(dsn)["dbname"]

    def make(tenant: str) -> str:
        role = f"{tenant or 'nobody'}_{uuid4().hex[:8]}"
        with psycopg.connect(dsn, autocommit=True) as db:
            db.execute(f'CREATE ROLE "{role}" LOGIN')
        made.append(role)
        if tenant:
            grant_tenant(dsn, role, tenant)
        return postgres.dsn(name, user=role)

    yield make
    with psycopg.connect(dsn, autocommit=True) as db:
        for role in made:
            db.execute(f'DROP OWNED BY "{role}"')
            db.execute(f'DROP ROLE "{role}"')


def test_a_worker_can_touch_no_table(as_role, dsn):
    with psycopg.connect(dsn) as db:
        tables = [
            name
            for (name,) in db.execute(
                "SELECT tablename FROM pg_tables WHERE schemaname = 'sashizu'"
            ).fetchall()
        ]
    assert {"cluster", "outbox_event", "spend_node", "tenant_role"} < set(tables)
    with psycopg.connect(as_role("red"), autocommit=True) as db:
        for table in tables:
            for query in (
                f"SELECT * FROM sashizu.{table}",
                f"DELETE FROM sashizu.{table}",
                f"TRUNCATE sashizu.{table}",
            ):
                with pytest.raises(psycopg.errors.InsufficientPrivilege):
                    db.execute(query)
        with pytest.raises(psycopg.errors.InsufficientPrivilege):
            db.execute("CREATE TABLE sashizu.mine (n int)")


def test_a_worker_can_call_what_is_meant_for_it_and_nothing_else(as_role, dsn):
    with psycopg.connect(as_role("red"), autocommit=True) as db:
        rows = db.execute(
            "SELECT proname, has_function_privilege(p.oid, 'EXECUTE'), prosecdef, proconfig "
            "FROM pg_proc p JOIN pg_namespace n ON n.oid = p.pronamespace "
            "WHERE nspname = 'sashizu'"
        ).fetchall()
    allowed = {name for name, may, *_ in rows if may}
    assert allowed == set(schema._PUBLIC)
    assert all(
        definer and config == ["search_path=sashizu, pg_catalog, pg_temp"]
        for name, may, definer, config in rows
        if may
    )


def test_tenants_see_nothing_of_each_other(as_role):
    red, blue = Database(as_role("red")), Database(as_role("blue"))
    theirs = SharedSpend(red, "worker")
    run = theirs.open(str(uuid4()), "secret plan", Limits(tokens=100))
    hold = theirs.reserve("step-1", run, Amount(tokens=10))
    outbox = Outbox(red, "alpha", "worker")
    outbox.write([Event("tool.requested", {"step": 1})])
    mine = SharedSpend(blue, "worker")
    for touch in (
        lambda: mine.state(run),
        lambda: mine.close(run),
        lambda: mine.reserve("step-1", run, Amount(tokens=1)),
        lambda: mine.open(str(uuid4()), "child", Limits(), parent=run),
        lambda: mine.open(run, "secret plan", Limits()),
        lambda: mine.end("step-1", "released", Amount(), None),
        lambda: blue.rows("SELECT sashizu.outbox_put(%s, NULL, '{}', '{}', '{}')", (outbox._own,)),
    ):
        with pytest.raises(ClusterError) as refused:
            touch()
        assert "secret plan" not in str(refused.value)
    assert mine.take_over("worker") == 0
    assert mine.organisation() != theirs.organisation()
    (epoch,) = blue.row("SELECT sashizu.outbox_collect('alpha')")
    assert blue.rows("SELECT * FROM sashizu.outbox_take('alpha', %s, 10)", (epoch,)) == []
    assert blue.rows("SELECT host, waiting FROM sashizu.outbox_stand()") == [("alpha", 0)]
    assert theirs.state(run).held.tokens == hold.amount.tokens == 10
    red.close()
    blue.close()


def test_tenants_see_nothing_of_each_other_in_the_engine(as_role, dsn):
    red, blue = (
        psycopg.conninfo.conninfo_to_dict(as_role(name))["user"] for name in ("red", "blue")
    )
    set_up_engine(dsn, "red", red)
    set_up_engine(dsn, "blue", blue)
    query = (
        "SELECT count(*) FILTER (WHERE has_table_privilege(%s, c.oid, 'SELECT')), count(*) "
        "FROM pg_class c WHERE relnamespace = %s::regnamespace AND relkind = 'r'"
    )
    with psycopg.connect(dsn) as db:
        for role, schema_name, all_of_it in (
            (red, engine_schema("red"), True),
            (red, engine_schema("blue"), False),
            (blue, engine_schema("red"), False),
        ):
            allowed, tables = db.execute(query, (role, schema_name)).fetchone()
            usage = db.execute(
                "SELECT has_schema_privilege(%s, %s, 'USAGE')", (role, schema_name)
            ).fetchone()
            assert tables > 3
            assert (allowed > 0, usage) == (all_of_it, (all_of_it,))


def test_a_role_of_no_tenant_is_told_who_can_help(as_role):
    nobody = Database(as_role(""))
    with pytest.raises(ClusterError, match="sashizu cluster init"):
        SharedSpend(nobody, "worker").organisation()
    with pytest.raises(RecordError, match="nothing can be recorded"):
        Outbox(nobody, "alpha", "worker").write([Event("tool.requested", {"step": 1})])
    nobody.close()


def test_a_role_works_for_one_tenant(as_role, dsn):
    role = psycopg.conninfo.conninfo_to_dict(as_role("red"))["user"]
    grant_tenant(dsn, role, "red")
    with pytest.raises(ClusterError, match="works for tenant 'red' already"):
        grant_tenant(dsn, role, "blue")
    with pytest.raises(ClusterError, match="superuser"):
        grant_tenant(dsn, "postgres", "red")
    with pytest.raises(ClusterError, match="CREATE ROLE"):
        grant_tenant(dsn, "nobody knows", "red")
    with pytest.raises(UsageError, match="no name of a tenant"):
        grant_tenant(dsn, role, "Red!")


def test_who_may_not_set_up_is_told_so(as_role):
    with pytest.raises(ClusterError, match="may not do this"):
        set_up(as_role("red"))
