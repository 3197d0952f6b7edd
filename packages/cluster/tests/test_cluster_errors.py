"""What PostgreSQL says becomes a sentence that somebody can act on, and never a password."""

from __future__ import annotations

import psycopg
import pytest
from psycopg import errors
from sashizu_cluster.errors import DatabaseGone, explained, told_to_people


@pytest.mark.parametrize(
    "dsn",
    [
        "postgresql://ada:s3cret@db/x",
        "host=db password=s3cret user=ada",
        "password='s3 cret' host=db",
        "host=db PASSWORD = 's3\\'cret'",
    ],
)
def test_no_message_repeats_a_password(dsn):
    assert "s3" not in told_to_people(dsn)
    assert "db" in told_to_people(dsn)


@pytest.mark.parametrize(
    ("error", "words"),
    [
        (errors.DiskFull("no space"), "Free disk space"),
        (errors.InsufficientPrivilege("permission denied"), "init --tenant NAME --role ROLE"),
        (errors.UndefinedTable("no such table"), "sashizu cluster init"),
        (errors.ReadOnlySqlTransaction("cannot execute"), "primary"),
        (
            psycopg.OperationalError("FATAL: password authentication failed"),
            "check user and password",
        ),
        (psycopg.OperationalError('FATAL: role "eve" does not exist'), "make the role"),
        (psycopg.OperationalError('FATAL: database "x" does not exist'), "createdb"),
    ],
    ids=lambda value: type(value).__name__ if isinstance(value, Exception) else "",
)
def test_what_the_server_refuses_comes_with_what_to_do(error, words):
    found = explained(error, "host=db")
    assert any(word in str(found) for word in words.split(" or "))
    assert not isinstance(found, DatabaseGone)


def test_a_server_that_does_not_answer_may_come_back():
    found = explained(psycopg.OperationalError("connection refused"), "host=db")
    assert isinstance(found, DatabaseGone)
    assert "check that it runs" in str(found)


def test_what_somebody_else_has_taken_over_does_not_come_back_by_itself():
    error = errors.ObjectNotInPrerequisiteState("another collector has taken over host alpha")
    found = explained(error, "host=db")
    assert not isinstance(found, DatabaseGone)
    assert "taken over" in str(found)
