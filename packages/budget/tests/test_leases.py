"""What a lease is bound to: its row, its giver, its time, its depth, its owners."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import anyio
import pytest
from sashizu_budget.leases import GivenLease
from sashizu_budget.ledger import Ledger
from sashizu_budget.nodes import Node
from sashizu_budget.spend_connection import SpendFile
from sashizu_budget.spend_store import SpendStore
from sashizu_core.drawing import Shortage
from sashizu_core.errors import SashizuError, SpawnRefused, UsageError
from sashizu_core.processes import Owner, is_gone, this_process
from sashizu_core.protocols import BudgetNode, Busy, Refused
from sashizu_core.testing.budget_room import held
from sashizu_core.types import Amount, Limits


@pytest.fixture
def spend(tmp_path: Path) -> Path:
    return tmp_path / "home" / "spend.sqlite"


@pytest.fixture
def ledger(spend: Path) -> Ledger:
    return Ledger(spend=spend)


def given(ledger: Ledger, node: BudgetNode, *, depth: int = 0, **limits: int) -> GivenLease:
    lease = ledger.lease(node, "share", Limits(**limits), depth=depth)
    assert isinstance(lease, GivenLease)
    return lease


def test_a_share_is_held_where_it_is_taken_from_and_settled_at_what_it_cost(
    ledger: Ledger,
) -> None:
    run = ledger.root("run", Limits(tokens=1000))
    lease = given(ledger, run, tokens=600)
    assert run.state().held == Amount(tokens=600)
    child = ledger.redeem(lease.lease_id).node
    held(child, tokens=200).settle(Amount(tokens=150))
    child.close()
    assert lease.settle() == Amount(tokens=150)
    assert lease.settle() == Amount(tokens=150)
    assert run.state().spent == Amount(tokens=150)
    assert run.left("tokens") == 850


def test_a_share_that_does_not_fit_is_not_given(ledger: Ledger) -> None:
    run = ledger.root("run", Limits(tokens=1000))
    assert isinstance(ledger.lease(run, "share", Limits(tokens=1001)), Refused)
    held(run, tokens=500)
    assert isinstance(ledger.lease(run, "share", Limits(tokens=600)), Busy)


def test_a_share_names_a_limit_for_all_that_is_limited(ledger: Ledger) -> None:
    run = ledger.root("run", Limits(tokens=1000))
    with pytest.raises(UsageError, match="tokens"):
        ledger.lease(run, "share", Limits(requests=1))


def test_one_lease_redeemed_twice_is_drawn_on_together(spend: Path) -> None:
    giver = Ledger(spend=spend)
    lease = given(giver, giver.root("run", Limits()), tokens=1000)
    one, other = (Ledger(spend=spend).redeem(lease.lease_id).node for _ in range(2))
    first = held(one, tokens=700)
    assert isinstance(other.reserve(Amount(tokens=400)), Busy)
    assert isinstance(other.reserve(Amount(tokens=1001)), Refused)
    first.settle(Amount(tokens=100))
    held(other, tokens=800).charge()
    assert isinstance(one.reserve(Amount(tokens=101)), Refused)
    held(one, tokens=100).charge()
    for node in (one, other):
        node.close()
    assert lease.settle() == Amount(tokens=1000)


async def test_who_waits_gets_what_another_process_gives_back(spend: Path) -> None:
    giver = Ledger(spend=spend)
    lease = given(giver, giver.root("run", Limits()), tokens=1000)
    one, other = (Ledger(spend=spend).redeem(lease.lease_id).node for _ in range(2))
    hold = held(one, tokens=900)
    assert isinstance(other.reserve(Amount(tokens=500)), Busy)
    hold.release()
    await other.room(Amount(tokens=500))
    held(other, tokens=500)


def test_what_is_left_of_a_settled_lease_cannot_be_drawn(ledger: Ledger) -> None:
    run = ledger.root("run", Limits(tokens=1000))
    lease = given(ledger, run, tokens=600)
    child = ledger.redeem(lease.lease_id).node
    held(child, tokens=100)
    cost = lease.settle()
    assert 100 <= cost.tokens <= 600
    answer = child.reserve(Amount(tokens=550))
    assert isinstance(answer, Refused)
    assert answer.closed
    with pytest.raises(UsageError, match="ended"):
        ledger.redeem(lease.lease_id)


def test_settling_a_lease_ends_all_that_were_given_below_it(ledger: Ledger) -> None:
    run = ledger.root("run", Limits(tokens=1000))
    lease = given(ledger, run, depth=2, tokens=600)
    child = ledger.redeem(lease.lease_id).node
    below = given(ledger, child, tokens=300)
    assert ledger.redeem(below.lease_id).depth == 0
    lease.settle()
    with pytest.raises(UsageError, match="ended"):
        ledger.redeem(below.lease_id)
    assert run.state().spent.tokens <= 600


def test_a_lease_is_passed_on_only_as_deep_as_its_row_says(ledger: Ledger) -> None:
    run = ledger.root("run", Limits(tokens=1000))
    node = ledger.redeem(given(ledger, run, depth=1, tokens=600).lease_id).node
    again = given(ledger, node, depth=99, tokens=300)
    leased = ledger.redeem(again.lease_id)
    assert leased.depth == 0
    with pytest.raises(SpawnRefused):
        ledger.lease(leased.node, "deeper", Limits(tokens=100))
    assert leased.node.state().held == Amount()


def test_a_bill_above_its_hold_ends_the_lease_and_is_booked_in_full(ledger: Ledger) -> None:
    run = ledger.root("run", Limits(tokens=1000))
    lease = given(ledger, run, tokens=600)
    child = ledger.redeem(lease.lease_id).node
    assert held(child, tokens=500).settle(Amount(tokens=900)) == Amount(tokens=400)
    assert isinstance(child.reserve(Amount(tokens=1)), Refused)
    child.close()
    assert lease.settle() == Amount(tokens=900)
    assert run.state().overrun == Amount(tokens=300)
    assert isinstance(run.reserve(Amount(tokens=1)), Refused)


# --- time -----------------------------------------------------------------------------------------


def test_a_lease_ends_with_its_time_and_what_is_held_of_it_is_charged(spend: Path) -> None:
    now = [1_000_000_000]
    store = SpendStore(SpendFile(spend, now_ns=lambda: now[0]))
    store.give(
        "0" * 32, "share", (100, None, None, None), parent=None, depth=1,
        expires_ns=2_000_000_000, terms="",
    )  # fmt: skip
    _, chunk = store.redeem("0" * 32)
    assert store.draw("0" * 32, chunk, (0, 0, 0, 0), (40, 0, 0, 0), (40, 0, 0, 0)) == (
        (46, 0, 0, 0),
        (6, 0, 0, 0),
    )
    store.give(
        "1" * 32, "below", (10, None, None, None), parent="0" * 32, depth=0,
        expires_ns=9_000_000_000, terms="",
    )  # fmt: skip
    assert store.row("1" * 32).expires_ns == 2_000_000_000
    now[0] = 2_000_000_000
    assert store.row("0" * 32).ended
    assert store.row("0" * 32).spent == (46, 0, 0, 0)
    with pytest.raises(UsageError, match="ended"):
        store.redeem("1" * 32)


def test_a_clock_that_goes_back_brings_no_lease_back(spend: Path) -> None:
    now = [1_000_000_000]
    store = SpendStore(SpendFile(spend, now_ns=lambda: now[0]))
    store.give(
        "0" * 32, "share", (100, None, None, None), parent=None, depth=0,
        expires_ns=2_000_000_000, terms="",
    )  # fmt: skip
    _, chunk = store.redeem("0" * 32)
    none = (0, 0, 0, 0)
    drawn = store.draw("0" * 32, chunk, none, (40, 0, 0, 0), (40, 0, 0, 0))
    assert drawn == ((46, 0, 0, 0), (6, 0, 0, 0))
    now[0] = 3_000_000_000
    assert store.row("0" * 32).spent == (46, 0, 0, 0)
    now[0] = 500_000_000
    late = store.draw("0" * 32, chunk, none, (1, 0, 0, 0), (1, 0, 0, 0))
    assert isinstance(late, Shortage)
    assert late.ended
    assert not store.book("0" * 32, chunk, (40, 0, 0, 0), none)
    assert store.row("0" * 32).spent == (46, 0, 0, 0)
    with pytest.raises(UsageError, match="ended"):
        store.redeem("0" * 32)


# --- processes ------------------------------------------------------------------------------------


@pytest.fixture
def other_process() -> Iterator[subprocess.Popen[bytes]]:
    process = subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE)
    yield process
    process.kill()
    process.communicate()


def test_a_process_is_gone_when_it_has_ended(other_process: subprocess.Popen[bytes]) -> None:
    from sashizu_core import processes

    owner = Owner(other_process.pid, processes._started(other_process.pid) or "")
    assert not is_gone(owner)
    other_process.kill()
    other_process.wait()
    assert is_gone(owner)


def test_a_number_that_is_used_again_is_another_process() -> None:
    me = this_process()
    assert not is_gone(me)
    assert is_gone(Owner(me.pid, f"{me.started}0"))
    assert not is_gone(Owner(me.pid, ""))


REDEEM = """
import os, sys
from pathlib import Path
from sashizu_budget.ledger import Ledger
from sashizu_core.types import Amount, Limits
ledger = Ledger(spend=Path(sys.argv[1]))
if sys.argv[2] == "spend":
    node = ledger.redeem(sys.argv[3]).node
    assert node.reserve(Amount(tokens=70)).amount
else:
    lease = ledger.lease(ledger.root("run", Limits()), "share", Limits(tokens=100))
    print(lease.lease_id, flush=True)
os.kill(os.getpid(), 9)
"""


def test_what_a_dead_process_drew_is_charged_in_full(spend: Path) -> None:
    ledger = Ledger(spend=spend)
    run = ledger.root("run", Limits(tokens=100))
    lease = given(ledger, run, tokens=100)
    died = subprocess.run(
        [sys.executable, "-c", REDEEM, str(spend), "spend", lease.lease_id], check=False
    )
    assert abs(died.returncode) == 9, died
    node = ledger.redeem(lease.lease_id).node
    left = node.left("tokens")
    assert left is not None
    assert left <= 30
    assert isinstance(node.reserve(Amount(tokens=31)), Refused)
    node.close()
    assert lease.settle().tokens == 100 - left


def test_a_lease_of_a_dead_giver_is_not_redeemed(spend: Path) -> None:
    ledger = Ledger(spend=spend)
    died = subprocess.run(
        [sys.executable, "-c", REDEEM, str(spend), "give"], check=False, capture_output=True,
        text=True,
    )  # fmt: skip
    with pytest.raises(UsageError, match="gave it is gone"):
        ledger.redeem(died.stdout.strip())


@pytest.mark.skipif(not hasattr(os, "fork"), reason="there is no fork here")
@pytest.mark.filterwarnings("ignore:This process:DeprecationWarning")
def test_a_forked_copy_spends_nothing_of_what_was_drawn(spend: Path) -> None:
    ledger = Ledger(spend=spend)
    lease = given(ledger, ledger.root("run", Limits()), tokens=1000)
    node = ledger.redeem(lease.lease_id).node
    held(node, tokens=100).release()
    pid = os.fork()
    if pid == 0:
        refused = isinstance(node.reserve(Amount(tokens=1)), Refused)
        fresh = isinstance(ledger.redeem(lease.lease_id).node.reserve(Amount(tokens=1)), Refused)
        os._exit(0 if refused and not fresh else 1)
    _, status = os.waitpid(pid, 0)
    assert os.waitstatus_to_exitcode(status) == 0
    held(node, tokens=1)


def test_threads_draw_on_one_lease_and_never_exceed_it(spend: Path) -> None:
    ledger = Ledger(spend=spend)
    lease = given(ledger, ledger.root("run", Limits()), tokens=5000)

    def work(_: int) -> int:
        node = Ledger(spend=spend).redeem(lease.lease_id).node
        spent = 0
        for _ in range(20):
            hold = node.reserve(Amount(tokens=97))
            if not isinstance(hold, Busy | Refused):
                hold.settle(Amount(tokens=61))
                spent += 61
        node.close()
        return spent

    with ThreadPoolExecutor(4) as pool:
        spent = sum(pool.map(work, range(4)))
    assert lease.settle() == Amount(tokens=spent)
    assert 0 < spent <= 5000


# --- the file -------------------------------------------------------------------------------------


def test_the_file_is_nobody_elses(ledger: Ledger, spend: Path) -> None:
    given(ledger, ledger.root("run", Limits()), tokens=1)
    assert spend.stat().st_mode & 0o077 == 0
    assert spend.parent.stat().st_mode & 0o077 == 0


def test_a_file_that_is_none_is_an_error_that_names_it(spend: Path) -> None:
    spend.parent.mkdir()
    spend.write_bytes(b"not a database, and longer than a header of one is" * 10)
    ledger, run = Ledger(spend=spend), Node("run", Limits(tokens=10))
    with pytest.raises(SashizuError, match=r"spend\.sqlite"):
        ledger.lease(run, "share", Limits(tokens=1))
    assert run.state().held == Amount()
    with pytest.raises(SashizuError, match=r"spend\.sqlite"):
        ledger.root("run", Limits())


def test_an_unknown_lease_is_not_redeemed(ledger: Ledger) -> None:
    with pytest.raises(UsageError, match="no such lease"):
        ledger.redeem("f" * 32)


OTHER = """
import sqlite3, sys
db = sqlite3.connect(sys.argv[1])
db.execute("update lease set name = name")
db.commit()
print(db.execute("select count(*) from lease").fetchone()[0])
db.close()
"""


def test_two_ledgers_of_one_process_leave_the_file_whole(spend: Path) -> None:
    first, second = Ledger(spend=spend), Ledger(spend=spend)
    for ledger in (first, second):
        given(ledger, ledger.root("run", Limits(tokens=1000)), tokens=100)
    command = [sys.executable, "-c", OTHER, str(spend)]
    for count in (2, 3):  # the first one that comes and goes must not take itself for the last
        found = subprocess.run(command, check=True, capture_output=True, text=True)
        assert found.stdout == f"{count}\n"
        given(first, first.root("run", Limits(tokens=1000)), tokens=100)


def test_what_no_limit_bounds_is_booked_though_somebody_waits(ledger: Ledger) -> None:
    root = ledger.root("run", Limits(requests=10))
    lease = given(ledger, root, requests=4)
    leased = ledger.redeem(lease.lease_id)
    held(leased.node, tokens=500, requests=1).settle(Amount(tokens=500, requests=1))
    leased.node.close()

    async def waits() -> None:
        async with anyio.create_task_group() as group:
            group.start_soon(root.room, Amount(tokens=10, requests=7))
            await anyio.lowlevel.checkpoint()
            lease.settle()
            group.cancel_scope.cancel()

    anyio.run(waits)
    assert root.state().spent == Amount(tokens=500, requests=1)
