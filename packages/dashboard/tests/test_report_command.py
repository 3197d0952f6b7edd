"""The command: which run, where to, and what it refuses."""

from typing import Any

import pytest
from sashizu_core.errors import SashizuError, UsageError
from sashizu_core.specs import RecordRows
from sashizu_dashboard.plugin import register_commands
from sashizu_dashboard.record import find_run, limits_of
from sashizu_dashboard.writing import check_place, write_page

RUN = "01a1fe0a-09d5-7329-860a-2f7d5d59d9f0"


class Record:
    """A record that knows the runs it is given, and keeps what it was asked."""

    def __init__(self, *runs: str) -> None:
        self.runs = runs
        self.asked: list[str] = []

    def __call__(self, sql: str, limit: int, timeout_s: float) -> RecordRows:
        self.asked.append(sql)
        rows: tuple[tuple[Any, ...], ...] = tuple((run,) for run in self.runs)
        if "max(run_id)" in sql:
            rows = ((max(self.runs, default=None),),)
        return RecordRows(("run_id",), rows[:limit])


def test_the_commands_are_offered():
    assert [command.name for command in register_commands()] == ["report", "dashboard"]


def test_the_last_run_is_the_newest():
    assert find_run(Record("0" + RUN[1:], RUN[:-1] + "1"), "last") == "01a1fe0a" + RUN[8:-1] + "1"


def test_a_record_without_runs_has_no_last_one():
    with pytest.raises(UsageError, match="no run on record"):
        find_run(Record(), "last")


def test_the_beginning_of_an_id_is_enough():
    assert find_run(Record(RUN), "01A1") == RUN


@pytest.mark.parametrize("wanted", ["", "x' or '1'='1", "01a1%", "01a1;", "latest"])
def test_only_what_an_id_is_made_of_enters_a_query(wanted):
    record = Record(RUN)

    with pytest.raises(UsageError, match="there is no run"):
        find_run(record, wanted)

    assert record.asked == []


def test_a_beginning_of_several_ids_is_refused():
    with pytest.raises(UsageError, match="several runs"):
        find_run(Record(RUN, RUN[:-1] + "1"), "01a1")


@pytest.mark.parametrize("found", [None, "", "[1]", "{", '{"tokens": true}', '{"tokens": "9"}'])
def test_limits_that_are_no_numbers_are_none(found):
    assert limits_of(found) == {}


def test_limits_are_read_by_unit():
    assert limits_of('{"tokens": 9, "nusd": 3}') == {"tokens": 9, "nusd": 3}


def test_a_file_that_is_there_is_kept(tmp_path):
    (tmp_path / "r.html").write_text("mine")

    with pytest.raises(UsageError, match="--force"):
        write_page(tmp_path / "r.html", "new", force=False)

    assert (tmp_path / "r.html").read_text() == "mine"


def test_force_replaces_a_file_and_leaves_nothing_beside_it(tmp_path):
    (tmp_path / "r.html").write_text("mine")

    write_page(tmp_path / "r.html", "new", force=True)

    assert [(file.name, file.read_text()) for file in tmp_path.iterdir()] == [("r.html", "new")]


def test_a_page_that_cannot_be_written_leaves_nothing_behind(tmp_path):
    with pytest.raises(SashizuError, match="was not written"):
        write_page(tmp_path / ("x" * 300), "new", force=True)

    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("place", ["", "absent/r.html"])
def test_a_place_that_cannot_take_a_file_is_refused(tmp_path, place):
    with pytest.raises(UsageError, match="-o"):
        check_place(tmp_path / place, force=True)
