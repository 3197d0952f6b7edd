"""A server that is away, hangs, is full or lets nobody in: told in words, and nothing is lost."""

from __future__ import annotations

import shutil
import subprocess
from collections import Counter
from contextlib import contextmanager
from uuid import uuid4

import psycopg
import pytest
from sashizu_cluster.database import Database
from sashizu_cluster.errors import ClusterError, DatabaseGone
from sashizu_cluster.outbox import Outbox
from sashizu_cluster.schema import set_up
from sashizu_cluster.spending import SharedSpend
from sashizu_core.drawing import Shortage
from sashizu_core.errors import RecordError
from sashizu_core.events import Event
from sashizu_core.types import Amount, Limits

pytestmark = pytest.mark.postgres

NONE = (0, 0, 0, 0)
STEP = [Event("tool.requested", {"step": 1})]
BIG = [Event("tool.requested", {"step": 1, "tool": "t" * 200})] * 10


@pytest.fixture
def database(dsn):
    set_up(dsn)
    database = Database(dsn, answer_s=5.0)
    yield database
    database.close()


def run_of(spend: SharedSpend, tokens: int) -> str:
    return spend.open(str(uuid4()), "run", Limits(tokens=tokens))


def test_a_server_that_is_not_there_is_named_without_a_password():
    away = "host=127.0.0.1 port=1 user=ada password=s3cret dbname=x connect_timeout=2"
    for touch in (lambda: set_up(away), lambda: Database(away).row("SELECT 1")):
        with pytest.raises(DatabaseGone, match="cannot be reached") as found:
            touch()
        assert "s3cret" not in str(found.value)
        assert "port=1" in str(found.value)
    with pytest.raises(RecordError, match="nothing can be recorded"):
        Outbox(Database(away), "alpha", "worker").write(STEP)


def test_a_role_and_a_database_that_do_not_exist_are_told_apart(postgres):
    with pytest.raises(ClusterError, match="make the role"):
        Database(postgres.dsn(user="nobody_knows")).row("SELECT 1")
    with pytest.raises(ClusterError, match="make the database: 'createdb"):
        Database(postgres.dsn("nothing_there")).row("SELECT 1")


def test_a_server_that_was_cut_down_is_gone_on_with(postgres, database):
    spend = SharedSpend(database, "worker")
    run = run_of(spend, 1000)
    source = spend.source(run)
    outbox = Outbox(database, "alpha", "worker")
    outbox.write(STEP)
    source.draw(NONE, NONE, (100, 0, 0, 0), (100, 0, 0, 0))
    postgres.stop("immediate")
    with pytest.raises(DatabaseGone):
        source.draw((50, 0, 0, 0), NONE, (100, 0, 0, 0), (100, 0, 0, 0))
    with pytest.raises(RecordError):
        outbox.write(STEP)
    postgres.start()
    assert not isinstance(
        source.draw((60, 0, 0, 0), NONE, (100, 0, 0, 0), (100, 0, 0, 0)), Shortage
    )
    outbox.write(STEP)
    source.leave(NONE)
    state = spend.state(run)
    assert (state.spent.tokens, state.held.tokens) == (60, 0)
    assert database.row("SELECT count(*) FROM sashizu.outbox_event") == (2,)


def test_a_server_that_was_restarted_while_nobody_asked_is_not_noticed(postgres, database):
    outbox = Outbox(database, "alpha", "worker")
    outbox.write(STEP)
    postgres.restart()
    outbox.write(STEP)
    rows = database.rows("SELECT writer, seq FROM sashizu.outbox_event ORDER BY seq")
    assert [seq for _, seq in rows] == [1, 2]


def test_a_server_that_hangs_is_given_up(postgres, dsn):
    set_up(dsn)
    database = Database(dsn, answer_s=0.3)
    spend = SharedSpend(database, "worker")
    run = run_of(spend, 100)
    postgres.pause()
    try:
        with pytest.raises(DatabaseGone, match=r"has not answered for 0\.3 s"):
            spend.state(run)
    finally:
        postgres.resume()
    patient = Database(dsn)
    assert SharedSpend(patient, "worker").state(run).limits.tokens == 100
    patient.close()
    database.close()


def test_an_event_whose_answer_was_lost_is_written_once(database):
    outbox = Outbox(database, "alpha", "worker")
    outbox.write(STEP)
    real, lost = database._asked, Counter()

    def asked(connection, query, values):
        rows = real(connection, query, values)
        if "outbox_put" in query and not lost["answers"]:
            lost["answers"] += 1
            connection.close()
            raise DatabaseGone("the connection broke")
        return rows

    database._asked = asked
    outbox.write(STEP)
    outbox.write(STEP)
    rows = database.rows("SELECT seq FROM sashizu.outbox_event ORDER BY seq")
    assert lost["answers"] == 1
    assert rows == [(1,), (2,), (3,)]


@contextmanager
def full_disk(postgres, dsn):
    """No room for further events: a small disk of their own, where one can be mounted."""
    folder = postgres.folder / "small"
    folder.mkdir()
    owner = postgres.folder.stat()
    mount = shutil.which("mount")
    words = [
        mount or "false",
        "-t",
        "tmpfs",
        "-o",
        f"size=512k,uid={owner.st_uid}",
        "none",
        str(folder),
    ]
    mounted = subprocess.run(words, check=False, capture_output=True).returncode == 0
    try:
        with psycopg.connect(dsn, autocommit=True) as db:
            if mounted:
                db.execute(f"CREATE TABLESPACE small LOCATION '{folder}'")
                db.execute("ALTER TABLE sashizu.outbox_event SET TABLESPACE small")
            else:
                db.execute(
                    "CREATE FUNCTION full() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN IF "
                    "NEW.seq > 300 THEN RAISE disk_full; END IF; RETURN NEW; END $$"
                )
                db.execute(
                    "CREATE TRIGGER full BEFORE INSERT ON sashizu.outbox_event "
                    "FOR EACH ROW EXECUTE FUNCTION full()"
                )
        yield
        with psycopg.connect(dsn, autocommit=True) as db:
            if mounted:
                db.execute("ALTER TABLE sashizu.outbox_event SET TABLESPACE pg_default")
                db.execute("DROP TABLESPACE small")
            else:
                db.execute("DROP TRIGGER full ON sashizu.outbox_event")
    finally:
        if mounted:
            subprocess.run(["umount", str(folder)], check=True, timeout=30)


def fill(spend: SharedSpend, run: str, outbox: Outbox, step: psycopg.Connection) -> int:
    """Do steps until there is no room; how many were done."""
    done = 0
    try:
        while done < 1000:
            with outbox.within(step):
                spend.reserve(f"step-{done}", run, Amount(tokens=10), connection=step)
                outbox.write(BIG)
                step.commit()
            done += 1
    except RecordError as error:
        assert "Free disk space" in str(error)  # noqa: PT017 - what was done before counts
        step.rollback()
    return done


def test_a_full_disk_takes_nothing_half_and_is_gone_on_with(postgres, database):
    spend = SharedSpend(database, "worker")
    run = run_of(spend, 100_000)
    outbox = Outbox(database, "alpha", "worker")
    with full_disk(postgres, database.dsn), psycopg.connect(database.dsn) as step:
        done = fill(spend, run, outbox, step)
    assert 0 < done < 1000
    assert spend.state(run).held.tokens == 10 * done
    assert database.row("SELECT count(*) FROM sashizu.outbox_event") == (10 * done,)
    outbox.write(BIG)
    assert database.row("SELECT count(*) FROM sashizu.outbox_event") == (10 * done + 10,)
