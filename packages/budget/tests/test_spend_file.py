"""The file that all processes of a user spend from, and who makes it."""

import sqlite3
import time

from sashizu_budget.spend_file import open_spend_file


def test_who_finds_another_process_making_the_file_waits_for_it(tmp_path, monkeypatch):
    path = tmp_path / "spend.sqlite"
    other = sqlite3.connect(path, isolation_level=None)
    other.execute("BEGIN IMMEDIATE")

    def other_is_done(_):
        if other.in_transaction:
            other.execute("COMMIT")

    monkeypatch.setattr(time, "sleep", other_is_done)
    db = open_spend_file(path, 10**18)
    tables = db.execute("SELECT count(*) FROM sqlite_master WHERE name = 'lease'").fetchone()
    db.close()
    other.close()

    assert tables == (1,)
