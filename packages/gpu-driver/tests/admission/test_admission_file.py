"""The file of the ledger, whoever made it."""

import sqlite3

import pytest
from sashizu_core.errors import SashizuError
from sashizu_core.processes import this_process
from sashizu_gpu_driver.admission.asked import Ask, Card
from sashizu_gpu_driver.admission.controller import Controller
from sashizu_gpu_driver.admission.file import AdmissionFile, LedgerDamaged

GIB = 1 << 30

FIRST = """
CREATE TABLE places (
  id INTEGER PRIMARY KEY AUTOINCREMENT, key TEXT NOT NULL, name TEXT NOT NULL,
  device TEXT NOT NULL, need INTEGER NOT NULL CHECK (need >= 0), parallel INTEGER NOT NULL,
  state TEXT NOT NULL CHECK (state IN ('loading', 'ready', 'leaving')),
  pid INTEGER NOT NULL, started TEXT NOT NULL, server INTEGER,
  since REAL NOT NULL, evicted INTEGER NOT NULL DEFAULT 0, seen INTEGER,
  alone INTEGER NOT NULL DEFAULT 0);
CREATE TABLE uses (
  id INTEGER PRIMARY KEY AUTOINCREMENT,
  place INTEGER NOT NULL REFERENCES places (id) ON DELETE CASCADE,
  pid INTEGER NOT NULL, started TEXT NOT NULL);
CREATE TABLE waiting (
  id INTEGER PRIMARY KEY AUTOINCREMENT, key TEXT NOT NULL, name TEXT NOT NULL,
  need INTEGER NOT NULL, parallel INTEGER NOT NULL, rank INTEGER NOT NULL, alone INTEGER NOT NULL,
  since REAL NOT NULL,
  pid INTEGER NOT NULL, started TEXT NOT NULL);
CREATE TABLE estimates (key TEXT PRIMARY KEY, need INTEGER NOT NULL);
"""


def test_a_file_of_the_first_version_is_brought_up_to_date(tmp_path):
    path = tmp_path / "admission.sqlite"
    with sqlite3.connect(path) as db:
        db.executescript(FIRST)
        db.execute("INSERT INTO estimates VALUES ('one', 7)")
        db.execute("PRAGMA user_version = 1")
    db.close()
    file = AdmissionFile(path)
    controller, now = Controller(file), 100.0

    number = controller.enter(Ask("one", 5), this_process(), now)
    answer = controller.decide(number, [Card("card", 24 * GIB, free=24 * GIB)], now)
    file.close()

    assert (answer.outcome, answer.need) == ("placed", 7)


def version_4(path):
    with sqlite3.connect(path) as db:
        db.execute("PRAGMA user_version = 4")
    db.close()


@pytest.mark.parametrize(
    ("spoil", "said"),
    [
        (lambda path: path.write_bytes(b"no ledger" * 100), "end all runs and delete it"),
        (version_4, "use the newest sashizu"),
        (lambda path: path.mkdir(), "no model was placed$"),
    ],
)
def test_a_ledger_that_cannot_be_used_is_told_with_what_to_do(tmp_path, spoil, said):
    path = tmp_path / "admission.sqlite"
    spoil(path)

    with pytest.raises(SashizuError, match=said):
        Controller(AdmissionFile(path)).enter(Ask("one", 5), this_process(), 100.0)


def test_a_ledger_that_is_damaged_under_way_is_told_apart_from_one_that_is_locked(tmp_path):
    path = tmp_path / "admission.sqlite"
    file = AdmissionFile(path)
    Controller(file).enter(Ask("one", 5), this_process(), 100.0)
    file.close()
    path.write_bytes(path.read_bytes()[:100] + b"\xff" * 8000)

    with pytest.raises(LedgerDamaged, match="delete it"):
        Controller(file).enter(Ask("one", 5), this_process(), 100.0)
