"""What every ledger promises to those who wait for room."""

from __future__ import annotations

from collections.abc import Sequence

import anyio
import pytest
from anyio.abc import TaskGroup, TaskStatus
from anyio.lowlevel import checkpoint

from sashizu_core.errors import BudgetRefused
from sashizu_core.protocols import Budget, BudgetNode, Busy, Hold, Refused
from sashizu_core.testing.contract import Contract
from sashizu_core.types import Amount, Limits

__all__ = ["RoomContract", "held"]


def held(node: BudgetNode, **units: int) -> Hold:
    """Reserve what has to fit."""
    answer = node.reserve(Amount(**units))
    assert not isinstance(answer, Busy | Refused), answer
    return answer


class Line:
    """Tasks that reserve, waiting for room as the agent loop does, and what came of them."""

    def __init__(self, group: TaskGroup) -> None:
        self._group = group
        self.served: list[str] = []
        self.refused: dict[str, BudgetRefused] = {}
        self.holds: dict[str, Hold] = {}

    async def join(self, name: str, node: BudgetNode, **units: int) -> anyio.CancelScope:
        """Start a task; when this returns it has its hold, or stands in line."""
        scope: anyio.CancelScope = await self._group.start(self._take, name, node, Amount(**units))
        return scope

    async def _take(
        self,
        name: str,
        node: BudgetNode,
        amount: Amount,
        *,
        task_status: TaskStatus[anyio.CancelScope],
    ) -> None:
        with anyio.CancelScope() as scope:
            task_status.started(scope)
            while True:
                answer = node.reserve(amount)
                if not isinstance(answer, Busy | Refused):
                    self.served.append(name)
                    self.holds[name] = answer
                    return
                try:
                    await node.room(amount)
                except BudgetRefused as error:
                    self.refused[name] = error
                    return

    async def see(self, served: Sequence[str], refused: Sequence[str] = ()) -> None:
        """Let all tasks come as far as they can, and compare."""
        await anyio.wait_all_tasks_blocked()
        assert (self.served, sorted(self.refused)) == (list(served), sorted(refused))


@pytest.mark.anyio
class RoomContract(Contract):
    """The part of `BudgetContract` that waits."""

    async def test_there_is_room_at_once_for_what_fits(self, budget: Budget) -> None:
        run = budget.root("run", Limits(tokens=100))
        with anyio.fail_after(5):
            await run.room(Amount(tokens=100))
        assert run.state().held == Amount()

    async def test_who_waits_gets_what_a_bill_leaves(self, budget: Budget) -> None:
        run = budget.root("run", Limits(tokens=100))
        first = held(run, tokens=80)
        async with anyio.create_task_group() as group:
            line = Line(group)
            await line.join("a", run.open("agent", Limits()), tokens=60)
            await line.see([])
            first.settle(Amount(tokens=30))
            await line.see(["a"])
        assert run.left("tokens") == 10

    async def test_who_waits_gets_what_a_release_gives_back(self, budget: Budget) -> None:
        run = budget.root("run", Limits(requests=1))
        first = held(run, requests=1)
        async with anyio.create_task_group() as group:
            line = Line(group)
            await line.join("a", run, requests=1)
            first.release()
            await line.see(["a"])

    async def test_who_waits_is_called_from_another_thread(self, budget: Budget) -> None:
        run = budget.root("run", Limits(tokens=100))
        first = held(run, tokens=100)
        with anyio.fail_after(5):
            async with anyio.create_task_group() as group:
                line = Line(group)
                await line.join("a", run, tokens=100)
                await anyio.to_thread.run_sync(first.release)
        assert line.served == ["a"]

    async def test_nobody_waits_for_what_can_never_fit(self, budget: Budget) -> None:
        run = budget.root("run", Limits(tokens=100))
        held(run, tokens=50)
        with pytest.raises(BudgetRefused) as caught:
            await run.open("agent", Limits()).room(Amount(tokens=101))
        error = caught.value
        assert (error.node, error.unit, error.asked, error.left) == ("run", "tokens", 101, 50)

    async def test_who_waits_is_refused_when_it_can_not_fit_any_more(self, budget: Budget) -> None:
        run = budget.root("run", Limits(tokens=100))
        first = held(run, tokens=60)
        async with anyio.create_task_group() as group:
            line = Line(group)
            await line.join("a", run, tokens=50)
            first.charge()
            await line.see([], refused=["a"])
        assert line.refused["a"].left == 40

    async def test_who_waits_below_is_refused_when_a_node_is_closed(self, budget: Budget) -> None:
        run = budget.root("run", Limits(tokens=100))
        agent = run.open("agent", Limits())
        held(run, tokens=100)
        async with anyio.create_task_group() as group:
            line = Line(group)
            await line.join("a", agent.open("share", Limits()), tokens=10)
            await line.join("b", agent, tokens=10)
            agent.close()
            await line.see([], refused=["a", "b"])

    async def test_all_who_wait_are_refused_after_an_overrun(self, budget: Budget) -> None:
        run = budget.root("run", Limits(tokens=100))
        first = held(run, tokens=50)
        held(run, tokens=50)
        async with anyio.create_task_group() as group:
            line = Line(group)
            await line.join("a", run.open("one", Limits()), tokens=10)
            await line.join("b", run.open("other", Limits()), tokens=10)
            first.settle(Amount(tokens=51))
            await line.see([], refused=["a", "b"])

    async def test_an_overrun_elsewhere_refuses_who_waits_at_its_own_limit(
        self, budget: Budget
    ) -> None:
        run = budget.root("run", Limits(tokens=100))
        agent = run.open("agent", Limits(tokens=10))
        held(agent, tokens=10)
        async with anyio.create_task_group() as group:
            line = Line(group)
            await line.join("a", agent, tokens=10)
            held(run.open("sibling", Limits()), tokens=5).settle(Amount(tokens=6))
            await line.see([], refused=["a"])

    async def test_first_come_first_served(self, budget: Budget) -> None:
        run = budget.root("run", Limits(tokens=100))
        first = held(run, tokens=100)
        async with anyio.create_task_group() as group:
            line = Line(group)
            for name in "abcde":
                await line.join(name, run.open(name, Limits()), tokens=20)
            first.release()
            await line.see(["a", "b", "c", "d", "e"])

    async def test_small_amounts_do_not_overtake_a_large_one(self, budget: Budget) -> None:
        run = budget.root("run", Limits(tokens=100))
        first, second = held(run, tokens=50), held(run, tokens=50)
        async with anyio.create_task_group() as group:
            line = Line(group)
            await line.join("large", run.open("large", Limits()), tokens=90)
            await line.join("small", run.open("small", Limits()), tokens=10)
            first.release()
            await line.see([])
            newcomer = run.open("newcomer", Limits())
            assert isinstance(newcomer.reserve(Amount(tokens=1)), Busy)
            second.release()
            await line.see(["large", "small"])

    async def test_who_waits_at_its_own_limit_holds_nobody_else_up(self, budget: Budget) -> None:
        run = budget.root("run", Limits(tokens=100))
        agent = run.open("agent", Limits(tokens=10))
        first = held(agent, tokens=10)
        async with anyio.create_task_group() as group:
            line = Line(group)
            await line.join("a", agent, tokens=10)
            held(run.open("sibling", Limits()), tokens=50).release()
            first.release()
            await line.see(["a"])

    async def test_who_asks_for_other_units_is_not_held_up(self, budget: Budget) -> None:
        run = budget.root("run", Limits(tokens=100, agents=2))
        held(run, tokens=100)
        async with anyio.create_task_group() as group:
            line = Line(group)
            last = await line.join("a", run, tokens=50, requests=1)
            held(run.open("another", Limits()), agents=1).settle(Amount(agents=1))
            assert isinstance(run.reserve(Amount(agents=1, requests=1)), Busy)
            last.cancel()

    async def test_who_waited_below_waits_on_above(self, budget: Budget) -> None:
        run = budget.root("run", Limits(tokens=100))
        agent = run.open("agent", Limits(tokens=50))
        own, others = held(agent, tokens=20), held(run, tokens=70)
        async with anyio.create_task_group() as group:
            line = Line(group)
            await line.join("a", agent, tokens=40)
            own.release()
            await line.see([])
            others.release()
            await line.see(["a"])

    async def test_who_waited_below_does_not_overtake_above(self, budget: Budget) -> None:
        run = budget.root("run", Limits(tokens=100))
        agent = run.open("agent", Limits(tokens=10))
        others, own = held(run, tokens=50), held(agent, tokens=10)
        async with anyio.create_task_group() as group:
            line = Line(group)
            await line.join("older", run.open("sibling", Limits()), tokens=90)
            await line.join("younger", agent, tokens=10)
            own.release()
            await line.see([])
            others.release()
            await line.see(["older", "younger"])

    async def test_a_turn_is_good_for_one_hold(self, budget: Budget) -> None:
        run = budget.root("run", Limits(tokens=100))
        first = held(run, tokens=100)
        async with anyio.create_task_group() as group:
            line = Line(group)
            agent = run.open("agent", Limits())
            await line.join("a", agent, tokens=10)
            last = await line.join("b", run.open("other", Limits()), tokens=95)
            first.release()
            await line.see(["a"])
            assert isinstance(agent.reserve(Amount(tokens=10)), Busy)
            last.cancel()

    async def test_who_waited_below_keeps_its_turn_above(self, budget: Budget) -> None:
        run = budget.root("run", Limits(tokens=100))
        agent = run.open("agent", Limits(tokens=50))
        own = held(agent, tokens=50)
        async with anyio.create_task_group() as group:
            line = Line(group)
            await line.join("older", agent, tokens=50)
            others = held(run, tokens=50)
            await line.join("younger", run.open("sibling", Limits()), tokens=60)
            own.settle(Amount())
            await line.see(["older"])
            others.release()
            line.holds["older"].release()
            await line.see(["older", "younger"])

    async def test_a_waiter_that_is_cancelled_leaves_the_line(self, budget: Budget) -> None:
        run = budget.root("run", Limits(tokens=100))
        first = held(run, tokens=60)
        async with anyio.create_task_group() as group:
            line = Line(group)
            scope = await line.join("large", run, tokens=100)
            await line.join("small", run, tokens=40)
            await line.see([])
            scope.cancel()
            await line.see(["small"])
            first.release()
        assert run.left("tokens") == 60

    async def test_a_waiter_that_is_cancelled_and_called_passes_its_turn_on(
        self, budget: Budget
    ) -> None:
        run = budget.root("run", Limits(tokens=100))
        first = held(run, tokens=100)
        async with anyio.create_task_group() as group:
            line = Line(group)
            scope = await line.join("a", run, tokens=100)
            await line.join("b", run, tokens=100)
            scope.cancel()
            first.release()
            await line.see(["b"])

    async def test_many_who_wait_are_all_served(self, budget: Budget) -> None:
        run = budget.root("run", Limits(requests=5))
        names = [str(i) for i in range(100)]
        with anyio.fail_after(30):
            async with anyio.create_task_group() as group:
                line = Line(group)
                agents = [run.open(name, Limits(requests=1)) for name in names]
                for name, agent in zip(names, agents, strict=True):
                    await line.join(name, agent, requests=1)
                while len(line.served) < len(names):
                    for hold in line.holds.values():
                        hold.release()
                    await checkpoint()
        assert line.served == names
