"""What every ledger promises that can pass on what a node has left.

```python
class TestLedger(BudgetContract, ShiftContract):
    @pytest.fixture
    def budget(self) -> ShiftingBudget:
        return MyLedger()
```
"""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor

import anyio
import pytest

from sashizu_core.protocols import BudgetNode, Busy, Refused, ShiftingBudget
from sashizu_core.testing.budget_room import held
from sashizu_core.types import Amount, Limits

__all__ = ["ShiftContract"]


def limits_of(node: BudgetNode) -> int | None:
    return node.state().limits.tokens


class ShiftContract:
    """Inherit it, and override the fixture `budget` with a new, empty ledger."""

    @pytest.fixture
    def budget(self) -> ShiftingBudget:
        raise NotImplementedError("override the fixture `budget`: it returns a new, empty ledger")

    @pytest.fixture
    def pair(self, budget: ShiftingBudget) -> tuple[BudgetNode, BudgetNode]:
        """Two siblings with 50 tokens each, beneath a run that has 80."""
        run = budget.root("run", Limits(tokens=80))
        return run.open("giver", Limits(tokens=50)), run.open("taker", Limits(tokens=50))

    def test_it_is_a_ledger_that_can_shift(self, budget: ShiftingBudget) -> None:
        assert isinstance(budget, ShiftingBudget)

    def test_what_one_node_loses_its_sibling_gets(
        self, budget: ShiftingBudget, pair: tuple[BudgetNode, BudgetNode]
    ) -> None:
        giver, taker = pair
        assert budget.shift(giver, taker, Amount(tokens=20)) == Amount(tokens=20)
        assert (limits_of(giver), limits_of(taker)) == (30, 70)
        assert (giver.left("tokens"), taker.left("tokens")) == (30, 70)
        held(taker, tokens=70)
        assert isinstance(giver.reserve(Amount(tokens=31)), Refused)

    def test_the_limits_above_hold_as_before(
        self, budget: ShiftingBudget, pair: tuple[BudgetNode, BudgetNode]
    ) -> None:
        giver, taker = pair
        budget.shift(giver, taker, Amount(tokens=50))
        assert taker.left("tokens") == 80
        assert isinstance(taker.reserve(Amount(tokens=81)), Refused)

    def test_what_is_spent_or_held_stays(
        self, budget: ShiftingBudget, pair: tuple[BudgetNode, BudgetNode]
    ) -> None:
        giver, taker = pair
        held(giver, tokens=10).charge()
        hold = held(giver, tokens=15)
        assert budget.shift(giver, taker, Amount(tokens=100)) == Amount(tokens=25)
        assert (limits_of(giver), limits_of(taker)) == (25, 75)
        hold.release()
        assert giver.left("tokens") == 15

    def test_who_has_ended_gives_and_takes_nothing(
        self, budget: ShiftingBudget, pair: tuple[BudgetNode, BudgetNode]
    ) -> None:
        giver, taker = pair
        giver.close()
        assert budget.shift(taker, giver, Amount(tokens=5)) == Amount()
        assert budget.shift(giver, taker, Amount(tokens=5)) == Amount(tokens=5)
        assert isinstance(giver.reserve(Amount(tokens=1)), Refused)

    def test_after_an_overrun_there_is_nothing_to_give(
        self, budget: ShiftingBudget, pair: tuple[BudgetNode, BudgetNode]
    ) -> None:
        giver, _ = pair
        held(giver, tokens=50).settle(Amount(tokens=60))
        run = budget.root("run", Limits())
        one, other = run.open("one", Limits(tokens=5)), run.open("other", Limits(tokens=5))
        held(one, tokens=5).settle(Amount(tokens=9))
        assert budget.shift(one, other, Amount(tokens=5)) == Amount()

    def test_a_unit_that_one_of_them_does_not_limit_is_not_passed_on(
        self, budget: ShiftingBudget
    ) -> None:
        run = budget.root("run", Limits(tokens=100, requests=10))
        giver = run.open("giver", Limits(tokens=50, requests=5))
        taker = run.open("taker", Limits(requests=2))
        moved = budget.shift(giver, taker, Amount(tokens=9, requests=4))
        assert moved == Amount(requests=4)
        assert taker.state().limits == Limits(requests=6)
        assert giver.state().limits == Limits(tokens=50, requests=1)

    def test_only_siblings_share(self, budget: ShiftingBudget) -> None:
        run = budget.root("run", Limits(tokens=100))
        agent = run.open("agent", Limits(tokens=50))
        child = agent.open("child", Limits(tokens=20))
        elsewhere = budget.root("run", Limits(tokens=100)).open("agent", Limits(tokens=50))
        for giver, taker in ((agent, agent), (run, agent), (agent, child), (agent, elsewhere)):
            with pytest.raises(ValueError, match="only they share"):
                budget.shift(giver, taker, Amount(tokens=1))

    def test_less_than_nothing_is_refused(
        self, budget: ShiftingBudget, pair: tuple[BudgetNode, BudgetNode]
    ) -> None:
        with pytest.raises(ValueError, match="below zero"):
            budget.shift(*pair, Amount(tokens=-1))

    async def test_who_waits_at_its_own_limit_goes_on_with_what_it_gets(
        self, budget: ShiftingBudget, pair: tuple[BudgetNode, BudgetNode]
    ) -> None:
        giver, taker = pair
        held(taker, tokens=40)
        with anyio.fail_after(10):
            async with anyio.create_task_group() as group:
                group.start_soon(taker.room, Amount(tokens=30))
                await anyio.wait_all_tasks_blocked()
                assert budget.shift(giver, taker, Amount(tokens=20)) == Amount(tokens=20)
        held(taker, tokens=30)

    async def test_who_waits_for_what_was_passed_on_is_refused(
        self, budget: ShiftingBudget, pair: tuple[BudgetNode, BudgetNode]
    ) -> None:
        giver, taker = pair
        refused: list[str] = []

        async def wait() -> None:
            try:
                await giver.room(Amount(tokens=30))
            except Exception as error:  # noqa: BLE001 - its name is what is looked at
                refused.append(type(error).__name__)

        hold = held(giver, tokens=25)
        with anyio.fail_after(10):
            async with anyio.create_task_group() as group:
                group.start_soon(wait)
                await anyio.wait_all_tasks_blocked()
                budget.shift(giver, taker, Amount(tokens=25))
        assert refused == ["BudgetRefused"]
        hold.release()

    def test_threads_that_spend_and_shift_never_pass_a_limit(self, budget: ShiftingBudget) -> None:
        run = budget.root("run", Limits(tokens=700))
        nodes = [run.open(f"agent {i}", Limits(tokens=100)) for i in range(8)]

        def work(number: int) -> bool:
            within, node = True, nodes[number]
            for i in range(200):
                budget.shift(node, nodes[(number + 1 + i % 7) % 8], Amount(tokens=i % 9))
                answer = node.reserve(Amount(tokens=3))
                if not isinstance(answer, Busy | Refused):
                    answer.settle(Amount(tokens=1)) if i % 2 else answer.release()
                state = node.state()
                limit = state.limits.tokens or 0
                within = within and state.spent.tokens + state.held.tokens <= limit
            return within

        with ThreadPoolExecutor(len(nodes)) as pool:
            assert all(pool.map(work, range(len(nodes))))
        assert sum(limits_of(node) or 0 for node in nodes) == 800
        assert run.state().spent.tokens <= 700
