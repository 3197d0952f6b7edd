"""Files of SQLite that all processes of a user share."""

import sqlite3
import stat
import sys
import time

import pytest
from sashizu_core.shared_sqlite import open_shared


def test_who_finds_another_process_making_the_file_waits_for_it(tmp_path, monkeypatch):
    path = tmp_path / "shared.sqlite"
    other = sqlite3.connect(path, isolation_level=None)
    other.execute("BEGIN IMMEDIATE")

    def other_is_done(_):
        if other.in_transaction:
            other.execute("COMMIT")

    monkeypatch.setattr(time, "sleep", other_is_done)
    db = open_shared(path, 60.0)
    mode = db.execute("PRAGMA journal_mode").fetchone()
    db.close()
    other.close()

    assert mode == ("wal",)


def test_nobody_waits_for_ever(tmp_path):
    path = tmp_path / "shared.sqlite"
    other = sqlite3.connect(path, isolation_level=None)
    other.execute("BEGIN IMMEDIATE")

    with pytest.raises(sqlite3.OperationalError, match="locked"):
        open_shared(path, 0.0)
    other.close()


@pytest.mark.skipif(sys.platform == "win32", reason="Windows has no such permissions")
def test_the_file_and_its_folder_are_for_their_owner_alone(tmp_path):
    path = tmp_path / "new" / "shared.sqlite"
    open_shared(path, 1.0).close()

    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert stat.S_IMODE(path.parent.stat().st_mode) == 0o700
