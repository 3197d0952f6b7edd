"""What every ledger promises.

```python
class TestLedger(BudgetContract):
    @pytest.fixture
    def budget(self) -> Budget:
        return MyLedger()
```
"""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from itertools import product

import pytest

from sashizu_core.protocols import Budget, BudgetNode, Busy, Hold, Refused
from sashizu_core.testing.budget_money import MoneyContract
from sashizu_core.testing.budget_room import RoomContract, held
from sashizu_core.types import UNITS, Amount, Limits

__all__ = ["BudgetContract"]

NOTHING = Amount()

ENDS: dict[str, Callable[[Hold], object]] = {
    "settle": lambda hold: hold.settle(Amount(tokens=3)),
    "charge": lambda hold: hold.charge(),
    "release": lambda hold: hold.release(),
}


def tokens(node: BudgetNode) -> tuple[int, int, int]:
    """Spent, held and overrun tokens of a node."""
    state = node.state()
    return state.spent.tokens, state.held.tokens, state.overrun.tokens


class BudgetContract(RoomContract, MoneyContract):
    """Inherit it, and override the fixture `budget` with a new, empty ledger."""

    @pytest.fixture
    def budget(self) -> Budget:
        raise NotImplementedError("override the fixture `budget`: it returns a new, empty ledger")

    # --- reserving --------------------------------------------------------------------------------

    def test_a_hold_counts_on_every_level(self, budget: Budget) -> None:
        run = budget.root("run", Limits(tokens=100))
        agent = run.open("agent", Limits(tokens=50))
        share = agent.open("share", Limits())
        hold = held(share, tokens=30)
        assert hold.amount == Amount(tokens=30)
        assert [tokens(node) for node in (share, agent, run)] == [(0, 30, 0)] * 3

    def test_siblings_draw_on_their_parent_and_not_on_each_other(self, budget: Budget) -> None:
        run = budget.root("run", Limits(tokens=100))
        one, other = run.open("one", Limits()), run.open("other", Limits())
        held(one, tokens=30)
        assert tokens(other) == (0, 0, 0)
        assert other.left("tokens") == 70

    def test_what_fits_not_on_one_level_is_reserved_on_none(self, budget: Budget) -> None:
        run = budget.root("run", Limits(tokens=100))
        agent = run.open("agent", Limits(tokens=1000))
        share = agent.open("share", Limits(tokens=1000))
        assert isinstance(share.reserve(Amount(tokens=101)), Refused)
        assert [tokens(node) for node in (share, agent, run)] == [(0, 0, 0)] * 3

    def test_the_last_token_can_be_reserved(self, budget: Budget) -> None:
        node = budget.root("run", Limits(tokens=100))
        held(node, tokens=99)
        held(node, tokens=1)
        assert node.left("tokens") == 0

    @pytest.mark.parametrize("unit", UNITS)
    def test_every_unit_is_limited_by_itself(self, budget: Budget, unit: str) -> None:
        node = budget.root("run", Limits(**{unit: 10}))
        everything_else = {other: 10**15 for other in UNITS if other != unit}
        held(node, **everything_else, **{unit: 10})
        answer = node.reserve(Amount(**{unit: 1}))
        assert isinstance(answer, Busy)
        assert (answer.unit, answer.asked, answer.left) == (unit, 1, 0)

    def test_without_a_limit_everything_fits(self, budget: Budget) -> None:
        node = budget.root("run", Limits()).open("agent", Limits())
        held(node, tokens=10**15, nusd=10**15, requests=10**9, agents=10**9)
        assert all(node.left(unit) is None and not node.limited(unit) for unit in UNITS)

    def test_busy_is_what_fits_if_calls_in_flight_come_in_at_nothing(self, budget: Budget) -> None:
        run = budget.root("run", Limits(tokens=100))
        agent = run.open("agent", Limits())
        held(run.open("sibling", Limits()), tokens=60)
        assert agent.reserve(Amount(tokens=100)) == Busy("run", "tokens", 100, 40)
        assert isinstance(agent.reserve(Amount(tokens=101)), Refused)

    def test_spent_tokens_do_not_come_back(self, budget: Budget) -> None:
        run = budget.root("run", Limits(tokens=100))
        held(run, tokens=60).charge()
        assert run.reserve(Amount(tokens=41)) == Refused("run", "tokens", 41, 40)

    def test_a_refusal_above_outranks_a_wait_below(self, budget: Budget) -> None:
        run = budget.root("run", Limits(tokens=100))
        agent = run.open("agent", Limits(tokens=50))
        held(run, tokens=80).charge()
        held(agent, tokens=20)
        answer = agent.reserve(Amount(tokens=31))
        assert isinstance(answer, Refused)
        assert answer.node == "run"

    def test_nothing_can_be_reserved_where_nothing_is_allowed(self, budget: Budget) -> None:
        node = budget.root("run", Limits(requests=0))
        assert isinstance(node.reserve(Amount(requests=1)), Refused)
        held(node, tokens=1)

    # --- ending a hold ----------------------------------------------------------------------------

    def test_settle_books_the_bill_and_gives_the_rest_back(self, budget: Budget) -> None:
        run = budget.root("run", Limits(tokens=100))
        agent = run.open("agent", Limits())
        over = held(agent, tokens=60, requests=1).settle(Amount(tokens=25, requests=1))
        assert over == NOTHING
        for node in (run, agent):
            assert node.state().spent == Amount(tokens=25, requests=1)
            assert node.state().held == node.state().overrun == NOTHING

    def test_charge_books_the_hold_in_full(self, budget: Budget) -> None:
        run = budget.root("run", Limits(tokens=100))
        held(run.open("agent", Limits()), tokens=60).charge()
        assert tokens(run) == (60, 0, 0)

    def test_release_gives_the_hold_back(self, budget: Budget) -> None:
        run = budget.root("run", Limits(tokens=100))
        held(run.open("agent", Limits()), tokens=60).release()
        assert tokens(run) == (0, 0, 0)

    @pytest.mark.parametrize(("first", "second"), [*product(ENDS, ENDS)])
    def test_ending_a_hold_twice_changes_nothing(
        self, budget: Budget, first: str, second: str
    ) -> None:
        run = budget.root("run", Limits(tokens=100))
        agent = run.open("agent", Limits())
        held(agent, tokens=7)
        hold = held(agent, tokens=10)
        ENDS[first](hold)
        before = run.state(), agent.state()
        assert ENDS[second](hold) in (None, NOTHING)
        assert (run.state(), agent.state()) == before

    def test_a_second_settle_reports_no_excess(self, budget: Budget) -> None:
        hold = held(budget.root("run", Limits(tokens=100)), tokens=10)
        hold.settle(Amount(tokens=5))
        assert hold.settle(Amount(tokens=50)) == NOTHING

    # --- overruns ---------------------------------------------------------------------------------

    def test_an_excess_is_booked_in_full_and_reported(self, budget: Budget) -> None:
        run = budget.root("run", Limits(tokens=100))
        agent = run.open("agent", Limits(tokens=50))
        over = held(agent, tokens=40, nusd=10).settle(Amount(tokens=45, nusd=3))
        assert over == Amount(tokens=5)
        assert tokens(agent) == tokens(run) == (45, 0, 5)

    def test_an_excess_closes_the_path_for_new_holds(self, budget: Budget) -> None:
        run = budget.root("run", Limits(tokens=100))
        agent = run.open("agent", Limits(tokens=50))
        held(agent, tokens=10).settle(Amount(tokens=11))
        for node in (agent, run, run.open("sibling", Limits())):
            assert isinstance(node.reserve(Amount(tokens=1)), Refused)
            assert isinstance(node.reserve(Amount(requests=1)), Refused)
            assert node.left("tokens") == 0

    def test_calls_in_flight_are_still_booked_on_a_closed_path(self, budget: Budget) -> None:
        run = budget.root("run", Limits(tokens=100))
        one, other = held(run, tokens=10), held(run, tokens=20)
        one.settle(Amount(tokens=200))
        assert other.settle(Amount(tokens=15)) == NOTHING
        assert tokens(run) == (215, 0, 190)

    def test_an_excess_below_its_own_limit_leaves_siblings_open(self, budget: Budget) -> None:
        run = budget.root("run", Limits())
        agent = run.open("agent", Limits(tokens=50))
        held(agent, tokens=10).settle(Amount(tokens=11))
        assert isinstance(agent.reserve(Amount(tokens=1)), Refused)
        held(run.open("sibling", Limits(tokens=50)), tokens=50)

    def test_an_excess_in_a_unit_that_nobody_limits_closes_nothing(self, budget: Budget) -> None:
        run = budget.root("run", Limits(requests=10))
        assert held(run, tokens=10).settle(Amount(tokens=12)) == Amount(tokens=2)
        assert tokens(run) == (12, 0, 2)
        held(run, requests=1)

    # --- closing ----------------------------------------------------------------------------------

    def test_closing_charges_what_is_held_here_and_below(self, budget: Budget) -> None:
        run = budget.root("run", Limits(tokens=100))
        agent = run.open("agent", Limits())
        share = agent.open("share", Limits())
        elsewhere = run.open("elsewhere", Limits())
        late = held(share, tokens=20)
        held(agent, tokens=10)
        held(elsewhere, tokens=5)
        closed = agent.close()
        assert (closed.spent.tokens, closed.held.tokens) == (30, 0)
        assert tokens(run) == (30, 5, 0)
        assert late.settle(Amount(tokens=1)) == NOTHING
        assert tokens(run) == (30, 5, 0)

    def test_a_closed_node_takes_no_holds_and_neither_does_what_is_below(
        self, budget: Budget
    ) -> None:
        run = budget.root("run", Limits(tokens=100))
        agent = run.open("agent", Limits())
        share = agent.open("share", Limits())
        agent.close()
        for node in (agent, share, agent.open("late", Limits())):
            assert isinstance(node.reserve(Amount(tokens=1)), Refused)
            assert node.left("tokens") == 0
        held(run, tokens=100)

    def test_closing_twice_changes_nothing(self, budget: Budget) -> None:
        run = budget.root("run", Limits(tokens=100))
        agent = run.open("agent", Limits())
        held(agent, tokens=10)
        assert agent.close() == agent.close() == agent.state()
        assert tokens(run) == (10, 0, 0)

    # --- looking ----------------------------------------------------------------------------------

    def test_left_is_the_least_of_the_path(self, budget: Budget) -> None:
        run = budget.root("run", Limits(tokens=100, requests=3))
        agent = run.open("agent", Limits(tokens=80))
        share = agent.open("share", Limits(tokens=90))
        held(run, tokens=50)
        assert share.left("tokens") == 50
        assert run.left("tokens") == 50
        assert share.left("requests") == 3
        assert share.left("nusd") is None

    def test_limited_looks_up_the_path(self, budget: Budget) -> None:
        run = budget.root("run", Limits(tokens=100))
        agent = run.open("agent", Limits(requests=3))
        assert agent.limited("tokens")
        assert agent.limited("requests")
        assert not agent.limited("nusd")
        assert not run.limited("requests")

    def test_the_state_says_whose_it_is(self, budget: Budget) -> None:
        limits = Limits(tokens=100, seconds=60.0, depth=3)
        run = budget.root("run", limits)
        agent = run.open("agent", Limits())
        state = run.state()
        assert (state.name, state.limits) == (run.name, limits) == ("run", limits)
        assert state.node_id == run.node_id
        assert len({run.node_id, agent.node_id, budget.root("run", limits).node_id}) == 3

    def test_trees_are_independent(self, budget: Budget) -> None:
        one = budget.root("run", Limits(tokens=100))
        other = budget.root("run", Limits(tokens=100))
        held(one, tokens=100)
        assert other.left("tokens") == 100

    # --- threads ----------------------------------------------------------------------------------

    def test_threads_never_take_more_than_there_is(self, budget: Budget) -> None:
        run = budget.root("run", Limits(tokens=1000))
        agents = [run.open(f"agent {i}", Limits(tokens=300)) for i in range(8)]

        def work(agent: BudgetNode) -> tuple[int, bool]:
            booked, within = 0, True
            for i in range(300):
                answer = agent.reserve(Amount(tokens=7))
                if isinstance(answer, Busy | Refused):
                    continue
                spent, in_flight, _ = tokens(run)
                within = within and spent + in_flight <= 1000
                if i % 3:
                    answer.release()
                else:
                    answer.settle(Amount(tokens=5))
                    booked += 5
            return booked, within

        with ThreadPoolExecutor(len(agents)) as pool:
            results = list(pool.map(work, agents))
        assert all(within for _, within in results)
        assert [tokens(agent) for agent in agents] == [(booked, 0, 0) for booked, _ in results]
        assert tokens(run) == (sum(booked for booked, _ in results), 0, 0)
