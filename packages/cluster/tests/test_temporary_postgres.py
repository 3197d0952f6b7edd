"""The server that other tests stand on."""

from __future__ import annotations

import psycopg
import pytest

pytestmark = pytest.mark.postgres


def test_each_test_has_an_empty_database_of_its_own(postgres, dsn):
    other = postgres.create_database()
    try:
        with psycopg.connect(dsn) as db:
            db.execute("CREATE TABLE mark (n int)")
        with psycopg.connect(postgres.dsn(other)) as db:
            assert db.execute("SELECT to_regclass('mark')").fetchone() == (None,)
    finally:
        postgres.drop_database(other)


def test_the_server_is_reached_over_tcp_and_over_its_socket(postgres):
    for tcp in (True, False):
        with psycopg.connect(postgres.dsn(tcp=tcp)) as db:
            (version,) = db.execute("SHOW server_version_num").fetchone()
            assert int(version) >= 140000


def test_what_was_committed_is_there_after_the_server_was_cut_down(postgres, dsn):
    with psycopg.connect(dsn) as db:
        db.execute("CREATE TABLE mark (n int)")
        db.execute("INSERT INTO mark VALUES (7)")
    postgres.restart("immediate")
    with psycopg.connect(dsn) as db:
        assert db.execute("SELECT n FROM mark").fetchone() == (7,)
