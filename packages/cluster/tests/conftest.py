"""A PostgreSQL of the session, and a database of the test."""

from __future__ import annotations

import os
from collections.abc import Iterator

import pytest
from sashizu_cluster.testing import TemporaryPostgres, missing_postgres, temporary_postgres


@pytest.fixture(scope="session")
def postgres() -> Iterator[TemporaryPostgres]:
    """A real server, the same for all tests of the session."""
    if reason := missing_postgres():
        if os.environ.get("CI"):
            pytest.fail(reason)
        pytest.skip(reason)
    with temporary_postgres() as server:
        yield server


@pytest.fixture
def dsn(postgres: TemporaryPostgres) -> Iterator[str]:
    """An empty database of the server; it is gone after the test."""
    name = postgres.create_database()
    yield postgres.dsn(name)
    postgres.drop_database(name)
