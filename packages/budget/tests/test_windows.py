"""Windows of spend: what they limit, when they start anew, and who may use what is left."""

from __future__ import annotations

import sqlite3
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import closing
from datetime import datetime
from pathlib import Path

import anyio
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from sashizu_budget.drawing import DrawingNode
from sashizu_budget.ledger import Ledger
from sashizu_budget.nodes import Node
from sashizu_budget.periods import day_of, month_of, next_start, zone
from sashizu_budget.spend_connection import SpendFile
from sashizu_budget.window_rows import Stand
from sashizu_budget.windows import Windows
from sashizu_core.errors import BudgetRefused, SashizuError
from sashizu_core.protocols import BudgetNode, Busy, Hold, Refused, WindowedNode
from sashizu_core.testing.budget_room import held
from sashizu_core.types import Amount, Limits

DAY_NS = 86_400 * 10**9

ONE = str(Path("/one").resolve())  # with its drive, where there are drives


class Clock:
    """A wall clock that stands where it is put; it begins at noon, local time."""

    def __init__(self) -> None:
        self.now = int(datetime(2026, 11, 21, 12).astimezone().timestamp()) * 10**9

    def __call__(self) -> int:
        return self.now


class Place:
    """A state folder: every `ledger` is as good as another process."""

    def __init__(self, folder: Path) -> None:
        self.spend = folder / "spend.sqlite"
        self.clock = Clock()

    def ledger(self, project: str = "/one") -> Ledger:
        return Ledger(spend=self.spend, project=Path(project), now_ns=self.clock)

    def windows(self, project: str = ONE) -> Windows:
        return Windows(SpendFile(self.spend, now_ns=self.clock), project)

    def stand(self, scope: str, project: str = ONE) -> Stand:
        return {stand.scope: stand for stand in self.windows(project).now().stands}[scope]


@pytest.fixture
def place(tmp_path: Path) -> Place:
    return Place(tmp_path)


def refused(node: BudgetNode, **units: int) -> Refused:
    answer = node.reserve(Amount(**units))
    assert isinstance(answer, Refused), answer
    return answer


def test_without_any_limit_there_is_no_file_and_nothing_above_a_root(place: Place) -> None:
    assert isinstance(place.ledger().root("run", Limits()), Node)
    assert not place.spend.exists()


def test_when_the_last_limit_is_taken_away_there_is_nothing_above_a_root(place: Place) -> None:
    place.windows().set("day", Limits(tokens=10))
    place.windows().set("day", Limits())
    assert isinstance(place.ledger().root("run", Limits()), Node)


def test_runs_of_several_processes_share_a_day(place: Place) -> None:
    place.windows().set("day", Limits(tokens=1000))
    one = place.ledger().root("run", Limits())
    held(one, tokens=400).settle(Amount(tokens=300))
    one.close()
    other = place.ledger("/two").root("run", Limits())
    assert other.left("tokens") == 700
    assert refused(other, tokens=701).node == "day 2026-11-21"
    held(other, tokens=700)


def test_a_run_is_limited_by_its_own_limits_too(place: Place) -> None:
    place.windows().set("day", Limits(tokens=1000))
    run = place.ledger().root("run", Limits(tokens=100))
    assert run.left("tokens") == 100
    assert refused(run, tokens=101).node == "run"
    assert run.limited("tokens")
    assert not run.limited("nusd")


def test_every_window_is_kept_and_the_smallest_refuses(place: Place) -> None:
    windows = place.windows()
    windows.set("day", Limits(tokens=500))
    windows.set("month", Limits(tokens=900, requests=2))
    windows.set("project", Limits(nusd=40))
    run = place.ledger().root("run", Limits())
    held(run, tokens=400, nusd=40, requests=1).settle(Amount(400, 40, 1))
    assert refused(run, tokens=101).node == "day 2026-11-21"
    assert refused(run, nusd=1).node == f"project {ONE}"
    assert refused(run, requests=2).node == "month 2026-11"
    run.close()
    other = place.ledger("/two").root("run", Limits())
    held(other, nusd=10**9)


def test_a_refusal_has_the_numbers_and_the_command_that_changes_the_limit(place: Place) -> None:
    place.windows().set("day", Limits(nusd=5 * 10**9))
    run = place.ledger().root("run", Limits())
    held(run, nusd=4_990_000_000).settle(Amount(nusd=4_990_000_000))
    told = refused(run, nusd=20_000_000).remedy
    assert "this day is 5 USD, of which 4.99 USD are spent and" in told
    assert "starts anew at 2026-11-22 00:00" in told
    assert "'sashizu budget set --day LIMIT' changes it" in told
    error = BudgetRefused("day", "nusd", 1, 0, remedy=told)
    assert str(error).endswith("changes it")


def test_what_another_process_holds_is_waited_for_and_not_refused(place: Place) -> None:
    place.windows().set("day", Limits(tokens=1000))
    one, other = (place.ledger().root("run", Limits()) for _ in range(2))
    held(one, tokens=800)
    assert isinstance(other.reserve(Amount(tokens=300)), Busy)


async def test_who_waits_goes_on_when_another_process_gives_back(place: Place) -> None:
    place.windows().set("day", Limits(tokens=1000))
    one, other = (place.ledger().root("run", Limits()) for _ in range(2))
    hold = held(one, tokens=800)
    reserved: list[Hold] = []

    async def wait() -> None:
        await other.room(Amount(tokens=900))
        reserved.append(held(other, tokens=900))

    with anyio.fail_after(10):
        async with anyio.create_task_group() as group:
            group.start_soon(wait)
            await anyio.wait_all_tasks_blocked()
            hold.release()
            one.close()
    assert len(reserved) == 1


async def test_waiting_ends_with_the_remedy_where_nothing_can_come_back(place: Place) -> None:
    place.windows().set("day", Limits(tokens=1000))
    run = place.ledger().root("run", Limits())
    with pytest.raises(BudgetRefused, match="sashizu budget set --day"):
        await run.room(Amount(tokens=1001))


def test_a_process_draws_more_than_it_needs_so_that_the_next_call_is_in_memory(
    place: Place,
) -> None:
    place.windows().set("day", Limits(tokens=160_000))
    run = place.ledger().root("run", Limits())
    for _ in range(50):
        held(run, tokens=100).settle(Amount(tokens=100))
    with closing(sqlite3.connect(place.spend)) as db, db:
        (draws,) = db.execute(
            "SELECT count(*) FROM window_movement WHERE kind = 'drawn'"
        ).fetchone()
    assert draws == 1
    run.close()
    assert place.stand("day").spent[0] == 5000


class Alarm:
    """A timer that rings when it is told to."""

    daemon = False

    def __init__(self, ring: Callable[[], None]) -> None:
        self.ring = ring

    def start(self) -> None:
        """It waits to be told."""

    def cancel(self) -> None:
        """It rings for nobody any more."""


def test_a_process_of_short_calls_speaks_with_the_file_only_when_it_has_been_idle(
    place: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    alarms: list[Alarm] = []

    def alarm(_: float, ring: Callable[[], None]) -> Alarm:
        alarms.append(Alarm(ring))
        return alarms[-1]

    monkeypatch.setattr("sashizu_budget.drawn.Timer", alarm)
    monkeypatch.setattr("sashizu_budget.windows.WindowSource.keeps_s", 3600.0)
    place.windows().set("day", Limits(tokens=160_000))
    run = place.ledger().root("run", Limits())
    for calls in range(1, 6):
        held(run, tokens=100).settle(Amount(tokens=100))
        if calls > 1:
            alarms[-1].ring()
        assert len(alarms) == calls
        assert place.stand("day").spent[0] == 0  # nothing was booked so far
    assert place.stand("day").held[0] > 500
    monkeypatch.setattr("sashizu_budget.drawn.monotonic", lambda: float("inf"))
    alarms[-1].ring()
    day = place.stand("day")
    assert (day.spent[0], day.held[0]) == (500, 0)


async def test_a_process_that_stays_idle_gives_back_what_it_kept(place: Place) -> None:
    place.windows().set("day", Limits(tokens=160_000))
    idle, other = (place.ledger().root("run", Limits()) for _ in range(2))
    held(idle, tokens=100).settle(Amount(tokens=100))
    with anyio.fail_after(10):
        await other.room(Amount(tokens=159_900))
    assert place.stand("day").held[0] == 159_900
    assert place.stand("day").spent[0] == 100


def test_a_run_can_be_told_how_its_windows_stand(place: Place) -> None:
    place.windows().set("day", Limits(tokens=1000))
    place.windows().set("project", Limits(requests=9))
    other = place.ledger().root("other", Limits())
    held(other, tokens=300).settle(Amount(tokens=300))
    other.close()
    run = place.ledger().root("run", Limits(tokens=10)).open("agent", Limits())
    assert isinstance(run, WindowedNode)
    held(run, tokens=10, requests=1).settle(Amount(tokens=6, requests=1))
    day, project = run.windows()
    assert (day.name, day.spent.tokens, day.left("nusd")) == ("day 2026-11-21", 306, None)
    assert day.limits == Limits(tokens=1000)
    assert (day.held.tokens, day.left("tokens")) == (0, 694)
    assert day.starts_anew is not None
    assert day.starts_anew.isoformat()[:19] == "2026-11-22T00:00:00"
    assert (project.name, project.spent.requests) == (f"project {ONE}", 1)
    assert project.starts_anew is None


def test_what_others_spend_of_a_window_is_told_before_long(
    place: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("sashizu_budget.windows.LOOKS_S", 0.0)
    place.windows().set("day", Limits(tokens=1000))
    run, other = (place.ledger().root(name, Limits()) for name in ("run", "other"))
    assert isinstance(run, WindowedNode)
    assert run.windows()[0].spent.tokens == 0
    held(other, tokens=300).settle(Amount(tokens=300))
    other.close()
    assert run.windows()[0].spent.tokens == 300
    place.windows().set("day", Limits())
    assert run.windows() == []


def test_a_limit_that_is_raised_counts_for_runs_that_are_under_way(place: Place) -> None:
    place.windows().set("day", Limits(tokens=100))
    run = place.ledger().root("run", Limits())
    refused(run, tokens=200)
    place.windows().set("day", Limits(tokens=1000))
    held(run, tokens=200)


def test_a_limit_below_what_is_spent_leaves_nothing(place: Place) -> None:
    place.windows().set("day", Limits(tokens=1000))
    run = place.ledger().root("run", Limits())
    held(run, tokens=600).settle(Amount(tokens=600))
    run.close()
    place.windows().set("day", Limits(tokens=100))
    assert place.stand("day").left(0) == 0
    assert place.ledger().root("run", Limits()).left("tokens") == 0


def test_a_bill_above_its_hold_is_booked_in_full_and_ends_the_run(place: Place) -> None:
    place.windows().set("day", Limits(tokens=1000))
    run = place.ledger().root("run", Limits())
    assert held(run, tokens=100).settle(Amount(tokens=1500)) == Amount(tokens=1400)
    assert refused(run, tokens=1).left == 0
    run.close()
    assert place.stand("day").spent[0] == 1500
    assert refused(place.ledger().root("run", Limits()), tokens=1).node == "day 2026-11-21"


def test_a_hold_in_doubt_is_charged(place: Place) -> None:
    place.windows().set("day", Limits(tokens=1000))
    run = place.ledger().root("run", Limits())
    held(run, tokens=300).charge()
    held(run, tokens=200)
    run.close()
    assert place.stand("day").spent[0] == 500


def test_a_ledger_that_is_closed_gives_back_what_it_did_not_spend(place: Place) -> None:
    place.windows().set("day", Limits(tokens=1000))
    ledger = place.ledger()
    run = ledger.root("run", Limits())
    held(run, tokens=300).settle(Amount(tokens=100))
    held(run, tokens=50)
    ledger.close()
    assert place.stand("day").spent[0] == 150
    assert place.stand("day").held[0] == 0
    assert refused(run, tokens=1).closed


def test_a_lease_of_a_run_counts_in_its_windows(place: Place) -> None:
    place.windows().set("day", Limits(tokens=1000))
    ledger = place.ledger()
    run = ledger.root("run", Limits())
    lease = ledger.lease(run, "share", Limits(tokens=600))
    assert not isinstance(lease, Busy | Refused)
    child = place.ledger().redeem(lease.lease_id).node
    held(child, tokens=200).settle(Amount(tokens=200))
    child.close()
    assert lease.settle().tokens == 200
    run.close()
    assert place.stand("day").spent == (200, 0, 0, 0)


# --- days -----------------------------------------------------------------------------------------


def test_a_new_day_has_its_limit_anew_and_a_project_has_not(place: Place) -> None:
    place.windows().set("day", Limits(tokens=1000))
    place.windows().set("project", Limits(tokens=1500))
    run = place.ledger().root("run", Limits())
    held(run, tokens=1000).settle(Amount(tokens=1000))
    refused(run, tokens=1)
    place.clock.now += DAY_NS
    assert run.left("tokens") == 500
    held(run, tokens=400).settle(Amount(tokens=400))
    assert refused(run, tokens=200).node == f"project {ONE}"
    run.close()
    assert [(day.key, day.spent[0]) for day in place.windows().days(9)] == [
        ("2026-11-22", 400),
        ("2026-11-21", 1000),
    ]


def test_a_call_in_flight_at_midnight_counts_for_the_day_on_which_more_is_drawn(
    place: Place,
) -> None:
    place.windows().set("day", Limits(tokens=1000))
    run = place.ledger().root("run", Limits())
    late = held(run, tokens=700)
    place.clock.now += DAY_NS
    early = held(run, tokens=200)
    assert place.stand("day").held[0] >= 900
    late.settle(Amount(tokens=700))
    early.settle(Amount(tokens=200))
    run.close()
    assert place.stand("day").spent[0] == 900


def test_who_has_not_seen_midnight_yet_goes_along_with_who_has(place: Place) -> None:
    place.windows().set("day", Limits(tokens=1000))
    place.windows().set("project", Limits(tokens=1900))
    slow = place.ledger().root("run", Limits())
    held(slow, tokens=160).settle(Amount(tokens=160))  # more than that is drawn
    ahead = Place(place.spend.parent)
    ahead.clock.now += DAY_NS
    quick = ahead.ledger().root("run", Limits())
    held(quick, tokens=500).settle(Amount(tokens=500))
    quick.close()
    held(slow, tokens=440).settle(Amount(tokens=440))
    assert isinstance(slow.reserve(Amount(tokens=61)), Refused)
    slow.close()
    assert [(day.key, day.spent[0]) for day in place.windows().days(2)] == [
        ("2026-11-22", 940),
        ("2026-11-21", 160),
    ]


def test_what_is_in_flight_at_midnight_counts_once_in_a_project(place: Place) -> None:
    place.windows().set("day", Limits(tokens=1000))
    place.windows().set("project", Limits(tokens=1000))
    run = place.ledger().root("run", Limits())
    late = held(run, tokens=600)
    place.clock.now += DAY_NS
    held(run, tokens=400).settle(Amount(tokens=400))
    late.settle(Amount(tokens=600))
    run.close()
    assert place.stand("project").spent[0] == 1000


def test_what_was_drawn_yesterday_and_not_used_is_not_spent_today(place: Place) -> None:
    place.windows().set("day", Limits(tokens=1000))
    run = place.ledger().root("run", Limits())
    held(run, tokens=160).settle(Amount(tokens=100))  # more than that is drawn
    place.clock.now += DAY_NS
    held(run, tokens=1000).settle(Amount(tokens=1000))
    assert refused(run, tokens=1).node == "day 2026-11-22"
    run.close()
    assert [day.spent[0] for day in place.windows().days(2)] == [1000, 100]


@pytest.mark.parametrize("back", [1, 30, 4000])
def test_a_clock_that_goes_back_gives_nothing_back(place: Place, back: int) -> None:
    place.windows().set("day", Limits(tokens=1000))
    run = place.ledger().root("run", Limits())
    held(run, tokens=900).settle(Amount(tokens=900))
    run.close()
    place.clock.now -= back * DAY_NS
    again = place.ledger().root("run", Limits())
    assert again.left("tokens") == 100
    assert place.windows().now().behind
    assert place.stand("day").key == "2026-11-21"


def test_after_a_clock_was_wrong_setting_a_limit_lets_windows_follow_it_again(
    place: Place,
) -> None:
    place.windows().set("day", Limits(tokens=1000))
    run = place.ledger().root("run", Limits())
    held(run, tokens=900).settle(Amount(tokens=900))
    place.clock.now += 4000 * DAY_NS
    assert run.left("tokens") == 1000
    place.clock.now -= 4000 * DAY_NS
    assert place.windows().now().behind
    place.windows().set("day", Limits(tokens=1000))
    assert not place.windows().now().behind
    run.close()
    assert place.stand("day").left(0) == 100


@pytest.fixture
def in_zone(monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[[str], None]]:
    import time

    def put(name: str) -> None:
        monkeypatch.setenv("TZ", name)
        time.tzset()

    yield put
    monkeypatch.undo()
    time.tzset()


@pytest.mark.skipif(sys.platform == "win32", reason="the zone of a process is fixed there")
def test_days_are_local_days(in_zone: Callable[[str], None]) -> None:
    noon_utc = 1_795_262_400 * 10**9
    in_zone("Pacific/Kiritimati")
    assert (day_of(noon_utc), zone(noon_utc)[-9:]) == ("2026-11-22", "UTC+14:00")
    in_zone("Pacific/Honolulu")
    assert (day_of(noon_utc), zone(noon_utc)) == ("2026-11-21", "HST, UTC-10:00")
    in_zone("UTC")
    assert zone(noon_utc) == "UTC"


@pytest.mark.skipif(sys.platform == "win32", reason="the zone of a process is fixed there")
def test_a_day_on_which_the_clock_is_put_back_has_25_hours(in_zone: Callable[[str], None]) -> None:
    in_zone("Europe/Berlin")
    starts = [next_start("day", key) for key in ("2026-10-24", "2026-10-25")]
    assert starts[0] is not None
    assert starts[1] is not None
    assert starts[1].timestamp() - starts[0].timestamp() == 25 * 3600


def test_the_month_after_december_is_january() -> None:
    assert month_of("2026-12-31") == "2026-12"
    assert str(next_start("month", "2026-12"))[:10] == "2027-01-01"
    assert str(next_start("month", "2026-01"))[:10] == "2026-02-01"
    assert next_start("project", "/one") is None


# --- other processes ------------------------------------------------------------------------------

DIES = """
import os, sys
from pathlib import Path
from sashizu_budget.ledger import Ledger
from sashizu_core.types import Amount, Limits
run = Ledger(spend=Path(sys.argv[1]), project=Path("/one")).root("run", Limits())
run.reserve(Amount(tokens=300))
run.reserve(Amount(tokens=100)).settle(Amount(tokens=10))
os.kill(os.getpid(), 9)
"""


def test_what_a_dead_process_had_drawn_is_charged_in_full(tmp_path: Path) -> None:
    spend = tmp_path / "spend.sqlite"
    windows = Windows(SpendFile(spend), ONE)
    windows.set("project", Limits(tokens=1000))
    died = subprocess.run([sys.executable, "-c", DIES, str(spend)], check=False, timeout=60)
    assert died.returncode != 0
    run = Ledger(spend=spend, project=Path("/one")).root("run", Limits())
    project = windows.now().stands[2]
    assert project.held[0] == 0
    assert 310 <= project.spent[0] < 600
    assert run.left("tokens") == 1000 - project.spent[0]


def test_a_file_that_cannot_be_read_lets_nobody_spend(place: Place) -> None:
    place.spend.write_bytes(b"not a database, and longer than a header of one is" * 10)
    with pytest.raises(SashizuError, match=r"spend\.sqlite"):
        place.ledger().root("run", Limits())


def test_a_file_of_leases_from_before_windows_is_taken_over(place: Place) -> None:
    ledger = place.ledger()
    lease = ledger.lease(Node("run", Limits()), "share", Limits(tokens=10))
    assert not isinstance(lease, Busy | Refused)
    ledger.close()
    with closing(sqlite3.connect(place.spend)) as db, db:
        for name in ("limit", "floor", "chunk", "movement"):
            db.execute(f"DROP TABLE window_{name}")
        db.execute("DROP TABLE window")
        db.execute("PRAGMA user_version = 1")
    place.windows().set("day", Limits(tokens=5))
    assert place.stand("day").limits[0] == 5
    assert lease.settle() == Amount()


# --- whatever happens -----------------------------------------------------------------------------


def exceeded(stand: Stand) -> bool:
    return any(
        limit is not None and stand.held[i] + stand.spent[i] > limit
        for i, limit in enumerate(stand.limits)
    )


STEPS = st.lists(
    st.one_of(
        st.tuples(st.just("reserve"), st.integers(0, 2), st.integers(1, 600)),
        st.tuples(st.just("end"), st.integers(0, 8), st.integers(0, 100)),
        st.tuples(st.just("clock"), st.integers(0, 2), st.integers(-40, 40)),
        st.tuples(st.just("close"), st.integers(0, 2), st.just(0)),
        st.tuples(st.just("leave"), st.integers(0, 2), st.just(0)),
    ),
    max_size=60,
)


@settings(deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(steps=STEPS)
def test_whatever_is_spent_and_however_clocks_jump_no_window_is_exceeded(
    tmp_path_factory: pytest.TempPathFactory, steps: list[tuple[str, int, int]]
) -> None:
    place = Place(tmp_path_factory.mktemp("windows"))
    windows = place.windows()
    windows.set("day", Limits(tokens=1000, requests=12))
    windows.set("month", Limits(tokens=2500))
    clocks = [Clock() for _ in range(3)]
    ledgers = [
        Ledger(spend=place.spend, project=Path(f"/{i % 2}"), now_ns=clock)
        for i, clock in enumerate(clocks)
    ]
    roots = [ledger.root("run", Limits()) for ledger in ledgers]
    holds: list[Hold] = []
    latest = "2026-11-21"
    for what, which, much in steps:
        if what == "reserve":
            answer = roots[which].reserve(Amount(tokens=much, requests=1))
            if not isinstance(answer, Busy | Refused):
                holds.append(answer)
        elif what == "end" and holds:
            hold = holds.pop(which % len(holds))
            hold.settle(Amount(hold.amount.tokens * much // 100, requests=1))
        elif what == "clock":
            clocks[which].now += much * 3600 * 10**9
        elif what in ("close", "leave"):  # what is left open stays held, as by another process
            _ = roots[which].close() if what == "close" else None
            roots[which] = ledgers[which].root("run", Limits())
        stands = windows.now().stands
        assert not any(exceeded(stand) for stand in stands)
        assert stands[0].key >= latest
        latest = stands[0].key
    for root in roots:
        root.close()
    month = sum(day.spent[0] for day in windows.days(100) if day.key[:7] == latest[:7])
    stand = windows.now().stands[1]
    assert stand.spent[0] == month
    assert month <= 2500
    assert all(isinstance(root, DrawingNode) for root in roots)
