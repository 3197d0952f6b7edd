"""On every level, whoever dies: `spent + held <= limit`, and each level is the sum of its holds."""

from __future__ import annotations

import threading
from concurrent.futures import ThreadPoolExecutor
from itertools import count
from uuid import uuid4

import psycopg
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from sashizu_cluster.cli import app
from sashizu_cluster.database import Database
from sashizu_cluster.errors import ClusterError
from sashizu_cluster.schema import set_up
from sashizu_cluster.spending import SharedHold, SharedSpend
from sashizu_core.drawing import Shortage
from sashizu_core.errors import UsageError
from sashizu_core.protocols import Busy, Refused
from sashizu_core.types import Amount, Limits
from typer.testing import CliRunner

pytestmark = pytest.mark.postgres

STANDS = """
SELECT n.id, n.limits, n.held, n.spent, n.over,
  (SELECT ARRAY[coalesce(sum(h.held[1]), 0), coalesce(sum(h.held[3]), 0)]
            FROM sashizu.spend_hold h JOIN sashizu.spend_node b ON b.id = h.node
            WHERE n.id = ANY (b.path)),
  (SELECT ARRAY[coalesce(sum(h.spent[1]), 0), coalesce(sum(h.spent[3]), 0)]
            FROM sashizu.spend_hold h JOIN sashizu.spend_node b ON b.id = h.node
            WHERE n.id = ANY (b.path))
FROM sashizu.spend_node n
"""

HISTORY = """
SELECT n.path, m.held, m.spent FROM sashizu.spend_movement m
JOIN sashizu.spend_node n ON n.id = m.node ORDER BY m.seq
"""


@pytest.fixture(scope="module")
def server_database(postgres):
    dsn = postgres.dsn(postgres.create_database())
    set_up(dsn)
    database = Database(dsn)
    yield database
    database.close()


@pytest.fixture
def database(server_database):
    with psycopg.connect(server_database.dsn) as db:
        db.execute("TRUNCATE sashizu.spend_node CASCADE")
    return server_database


def spend_of(database: Database, owner: str = "worker-1") -> SharedSpend:
    return SharedSpend(database, owner)


def tree(spend: SharedSpend, *limits: Limits) -> list[str]:
    """A run and nodes beneath it, each below the one before."""
    nodes: list[str] = []
    for limit in limits:
        parent = nodes[-1] if nodes else ""
        nodes.append(spend.open(str(uuid4()), f"level {len(nodes)}", limit, parent=parent))
    return nodes


def held(answer: SharedHold | Busy | Refused) -> SharedHold:
    assert isinstance(answer, SharedHold)
    assert answer.state == "held"
    return answer


def check_all(database: Database) -> None:
    """Every level holds what its holds hold, and stays within its limit, now and at any time."""
    limits = {}
    for node, limit, holding, spent, over, holds, spends in database.rows(STANDS):
        limits[node] = limit
        assert [holding[0], holding[2]] == holds
        assert [spent[0], spent[2]] == spends
        for i in range(4):
            assert limit[i] is None or spent[i] + holding[i] <= limit[i] + over[i]
    taken: dict[object, list[int]] = {}
    for path, d_held, d_spent in database.rows(HISTORY):
        for node in path:
            now = taken.setdefault(node, [0, 0, 0, 0])
            for i in range(4):
                now[i] += d_held[i] + d_spent[i]
                assert limits[node][i] is None or now[i] <= limits[node][i]


# --- what a step does -----------------------------------------------------------------------------


def test_a_hold_counts_on_three_levels_and_is_replaced_by_the_bill(database):
    spend = spend_of(database)
    run, agent, share = tree(spend, Limits(tokens=100), Limits(tokens=60), Limits())
    hold = held(spend.reserve("step-1", share, Amount(tokens=40, requests=1)))
    assert [spend.state(node).held.tokens for node in (run, agent, share)] == [40, 40, 40]
    assert hold.settle(Amount(tokens=25, requests=1)) == Amount()
    assert [spend.state(node).spent.tokens for node in (run, agent, share)] == [25, 25, 25]
    assert spend.state(spend.organisation()).spent.requests == 1
    check_all(database)


def test_the_same_step_reserves_once_and_is_told_how_it_ended(database):
    spend = spend_of(database)
    (run,) = tree(spend, Limits(tokens=100))
    held(spend.reserve("step-1", run, Amount(tokens=60)))
    again = held(spend.reserve("step-1", run, Amount(tokens=60)))
    assert spend.state(run).held.tokens == 60
    again.settle(Amount(tokens=10))
    again.settle(Amount(tokens=50))
    ended = spend.reserve("step-1", run, Amount(tokens=60))
    assert isinstance(ended, SharedHold)
    assert ended.state == "settled"
    assert (spend.state(run).spent.tokens, spend.state(run).held.tokens) == (10, 0)


def test_what_is_reserved_in_a_transaction_is_there_only_with_it(database):
    spend = spend_of(database)
    (run,) = tree(spend, Limits(tokens=100))
    with psycopg.connect(database.dsn) as step:
        held(spend.reserve("step-1", run, Amount(tokens=60), connection=step))
        step.rollback()
        assert spend.state(run).held.tokens == 0
        hold = held(spend.reserve("step-1", run, Amount(tokens=60), connection=step))
        step.commit()
        assert spend.state(run).held.tokens == 60
        hold.settle(Amount(tokens=5), connection=step)
        step.rollback()
        assert spend.state(run).held.tokens == 60
        hold.settle(Amount(tokens=7), connection=step)
        step.commit()
    assert (spend.state(run).spent.tokens, spend.state(run).held.tokens) == (7, 0)


def test_what_does_not_fit_says_where_and_whether_waiting_is_of_use(database):
    spend = spend_of(database)
    run, agent = tree(spend, Limits(tokens=100), Limits(tokens=1000))
    held(spend.reserve("step-1", agent, Amount(tokens=60)))
    assert spend.reserve("step-2", agent, Amount(tokens=70)) == Busy("level 0", "tokens", 70, 40)
    refused = spend.reserve("step-3", agent, Amount(tokens=101))
    assert refused == Refused("level 0", "tokens", 101, 40)
    assert spend.state(run).held.tokens == 60


def test_a_bill_beyond_its_hold_is_booked_in_full_and_closes_the_path(database):
    spend = spend_of(database)
    run, agent = tree(spend, Limits(tokens=100), Limits(tokens=50))
    hold = held(spend.reserve("step-1", agent, Amount(tokens=10)))
    assert hold.settle(Amount(tokens=30)) == Amount(tokens=20)
    assert spend.state(run).overrun.tokens == 20
    refused = spend.reserve("step-2", run, Amount(tokens=1))
    assert isinstance(refused, Refused)
    assert refused.closed
    held(spend.reserve("step-3", *tree(spend, Limits(tokens=5)), Amount(tokens=5)))


def test_what_a_dead_worker_held_is_charged_once(database):
    dead, living = spend_of(database, "slot-1"), spend_of(database, "slot-2")
    run, agent = tree(living, Limits(tokens=100), Limits())
    held(dead.reserve("step-1", agent, Amount(tokens=30)))
    drawn = dead.source(agent)
    drawn.draw((0,) * 4, (0,) * 4, (10, 0, 1, 0), (10, 0, 1, 0))
    mine = held(living.reserve("step-2", agent, Amount(tokens=20)))
    assert living.take_over("slot-1") == 2
    assert living.take_over("slot-1") == 0
    state = living.state(run)
    assert state.held.tokens == 20
    assert state.spent.tokens == 30 + 18  # the chunk had an eighth more than it needed
    assert not drawn.book((5, 0, 1, 0), (0,) * 4)  # it was not dead after all: nothing changes
    assert living.state(run).spent.tokens == 48
    mine.release()
    check_all(database)


def test_an_agent_that_starts_once_more_goes_on_with_its_node(database):
    spend = spend_of(database)
    run, agent = tree(spend, Limits(tokens=100), Limits(tokens=50))
    held(spend.reserve("step-1", agent, Amount(tokens=30))).charge()
    spend.open(agent, "another name", Limits(tokens=500), parent=run)
    assert spend.state(agent).limits.tokens == 50
    assert spend.state(agent).spent.tokens == 30
    with pytest.raises(ClusterError, match="somebody else's"):
        spend.open(agent, "elsewhere", Limits())


def test_closing_a_run_charges_what_is_held_beneath_it(database):
    spend = spend_of(database)
    run, agent = tree(spend, Limits(tokens=100), Limits())
    held(spend.reserve("step-1", agent, Amount(tokens=30)))
    assert spend.close(run) == 1
    assert spend.state(run).spent.tokens == 30
    assert isinstance(spend.reserve("step-2", agent, Amount(tokens=1)), Refused)
    check_all(database)


def test_all_runs_together_are_limited_by_the_owner(database, monkeypatch):
    spend = spend_of(database)
    monkeypatch.setenv("SASHIZU_CLUSTER", database.dsn)

    def init(*words: str):
        return CliRunner().invoke(app, ["init", *words])

    assert init("--budget", "100tokens", "--budget", "3requests").exit_code == 0
    first, second = tree(spend, Limits(tokens=90)) + tree(spend, Limits(tokens=90))
    held(spend.reserve("step-1", first, Amount(tokens=60))).charge()
    refused = spend.reserve("step-2", second, Amount(tokens=41))
    assert refused == Refused("organisation", "tokens", 41, 40)
    assert isinstance(init("--budget", "59tokens").exception, UsageError)
    assert init("--budget", "200tokens").exit_code == 0
    held(spend.reserve("step-2", second, Amount(tokens=41, requests=9)))
    check_all(database)


# --- chunks ---------------------------------------------------------------------------------------


def test_an_answer_that_got_lost_books_nothing_twice(database):
    spend = spend_of(database)
    (run,) = tree(spend, Limits(tokens=1000))
    source = spend.source(run)
    assert not isinstance(source.draw((0,) * 4, (0,) * 4, (100, 0, 0, 0), (100, 0, 0, 0)), Shortage)
    real = database.row

    def lost(query, values=(), **more):
        real(query, values, **more)
        raise ClusterError("the connection broke")

    source._database = type("Lossy", (), {"row": staticmethod(lost)})()
    with pytest.raises(ClusterError):
        source.draw((70, 0, 0, 0), (0,) * 4, (50, 0, 0, 0), (50, 0, 0, 0))
    source._database = database
    source.draw((80, 0, 0, 0), (0,) * 4, (50, 0, 0, 0), (50, 0, 0, 0))
    assert spend.state(run).spent.tokens == 80
    source.leave((0,) * 4)
    state = spend.state(run)
    assert (state.spent.tokens, state.held.tokens) == (80, 0)
    check_all(database)


def test_a_chunk_is_large_where_much_is_left_and_spares_what_others_need(database):
    spend = spend_of(database)
    _, agent = tree(spend, Limits(tokens=100_000), Limits())
    source = spend.source(agent)
    drawn, spare = source.draw((0,) * 4, (0,) * 4, (10, 0, 0, 0), (10, 0, 0, 0))
    assert (drawn[0], spare[0]) == (2010, 2000)  # one part in fifty
    (small,) = tree(spend, Limits(tokens=100))
    drawn, spare = spend.source(small).draw((0,) * 4, (0,) * 4, (10, 0, 0, 0), (10, 0, 0, 0))
    assert (drawn[0], spare[0]) == (22, 12)  # an eighth at most
    check_all(database)


AMOUNTS = st.integers(0, 40)
OPS = st.lists(
    st.tuples(st.sampled_from(["reserve", "end", "draw", "book", "kill"]), AMOUNTS, AMOUNTS),
    min_size=8,
    max_size=40,
)


@settings(
    max_examples=60,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
@given(limits=st.lists(st.one_of(st.none(), st.integers(0, 200)), min_size=4, max_size=4), ops=OPS)
def test_no_level_ever_passes_its_limit_whoever_dies(database, limits, ops):
    """A run with two agents, one of which has another beneath it; three workers."""
    numbers = count()
    first = spend_of(database)
    nodes = tree(first, *(Limits(tokens=limit) for limit in limits[:3]))
    nodes.append(first.open(str(uuid4()), "sibling", Limits(tokens=limits[3]), parent=nodes[0]))
    owners = [f"slot-{uuid4()}" for _ in range(3)]
    holds: list[tuple[str, SharedHold]] = []
    chunks: dict[tuple[str, str], list] = {}
    for op, one, other in ops:
        owner, node = owners[one % 3], nodes[other % 4]
        spend = spend_of(database, owner)
        if op == "reserve":
            answer = spend.reserve(f"{owner}/{next(numbers)}", node, Amount(tokens=one, requests=1))
            if isinstance(answer, SharedHold):
                holds.append((owner, answer))
        elif op == "end" and holds:
            _, hold = holds.pop(other % len(holds))
            bill = Amount(tokens=min(other, hold.amount.tokens), requests=1)
            [lambda: hold.settle(bill), hold.charge, hold.release][one % 3]()  # noqa: B023
        elif op == "draw":
            chunk = chunks.setdefault((owner, node), [spend.source(node), 0])
            got = chunk[0].draw((0,) * 4, (0,) * 4, (one, 0, 0, 0), (one, 0, 0, 0))
            if not isinstance(got, Shortage):
                chunk[1] += got[0][0]
        elif op == "book" and (owner, node) in chunks:
            chunk = chunks[owner, node]
            spent = min(other, chunk[1])
            if chunk[0].book((spent, 0, 0, 0), (min(one, chunk[1] - spent), 0, 0, 0)):
                chunk[1] -= spent + min(one, chunk[1] - spent)
        elif op == "kill":
            spend_of(database, "standby").take_over(owner)
            holds = [(who, hold) for who, hold in holds if who != owner]
            chunks = {key: chunk for key, chunk in chunks.items() if key[0] != owner}
    check_all(database)
    first.close(nodes[0])
    assert all(first.state(node).held.tokens == 0 for node in nodes)
    check_all(database)


def work(dsn: str, number: int, agents: list[str]) -> int:
    """Reserve and end holds in every way, as a worker of its own; how much it is charged."""
    database = Database(dsn)
    spend, booked = SharedSpend(database, f"slot-{number}"), 0
    for step in range(60):
        answer = spend.reserve(f"{number}/{step}", agents[(number + step) % 4], Amount(tokens=9))
        if isinstance(answer, SharedHold) and step % 4 == 3:
            answer.release()
        elif isinstance(answer, SharedHold) and step % 4 != 2:
            booked += 5
            answer.settle(Amount(tokens=5))
        if step == 30:
            booked += 9 * spend.take_over(f"slot-{number}")
    booked += 9 * spend.take_over(f"slot-{number}")
    database.close()
    return booked


def over_limits(dsn: str, nodes: list[str], done: threading.Event) -> list[object]:
    """What of nodes is spent or held beyond their limits, looked at until it is done."""
    database, found = Database(dsn), []
    spend = SharedSpend(database, "watching")
    while not done.is_set():
        found += [
            state
            for state in map(spend.state, nodes)
            if state.spent.tokens + state.held.tokens > (state.limits.tokens or 0)
        ]
    database.close()
    return found


def test_workers_at_the_same_time_never_pass_a_limit_and_wait_for_nobody_in_a_circle(database):
    spend = spend_of(database)
    (run,) = tree(spend, Limits(tokens=2000))
    agents = [
        spend.open(str(uuid4()), f"agent {i}", Limits(tokens=700), parent=run) for i in range(4)
    ]
    done = threading.Event()
    with ThreadPoolExecutor(5) as pool:
        watched = pool.submit(over_limits, database.dsn, [run, *agents], done)
        workers = [pool.submit(work, database.dsn, number, agents) for number in range(4)]
        try:
            booked = sum(worker.result(60) for worker in workers)
        finally:
            done.set()
        assert watched.result(30) == []
    assert spend.state(run).spent.tokens == booked > 900
    assert spend.state(run).held.tokens == 0
    check_all(database)
