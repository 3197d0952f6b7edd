"""The file of the ledger, whoever made it."""

import sqlite3

from sashizu_core.processes import this_process
from sashizu_gpu_driver.admission.asked import Ask, Card
from sashizu_gpu_driver.admission.controller import Controller
from sashizu_gpu_driver.admission.file import AdmissionFile
from sashizu_gpu_driver.admission.rows import SCHEMA

GIB = 1 << 30


def test_a_file_of_the_first_version_is_brought_up_to_date(tmp_path):
    path = tmp_path / "admission.sqlite"
    with sqlite3.connect(path) as db:
        db.executescript(SCHEMA)
        for column in ("kind", "first", "asked"):
            db.execute(f"ALTER TABLE waiting DROP COLUMN {column}")
        db.execute("ALTER TABLE places DROP COLUMN loaded")
        db.execute("INSERT INTO estimates VALUES ('one', 7)")
        db.execute("PRAGMA user_version = 1")
    db.close()
    file = AdmissionFile(path)
    controller, now = Controller(file), 100.0

    number = controller.enter(Ask("one", 5), this_process(), now)
    answer = controller.decide(number, [Card("card", 24 * GIB, free=24 * GIB)], now)
    file.close()

    assert (answer.outcome, answer.need) == ("placed", 7)
