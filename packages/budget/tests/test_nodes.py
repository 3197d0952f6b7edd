from __future__ import annotations

import threading

import anyio
import pytest
from sashizu_budget.ledger import Ledger
from sashizu_budget.nodes import Node
from sashizu_core.protocols import Busy, Refused
from sashizu_core.types import Amount, Limits


def test_amounts_below_zero_are_refused_before_anything_is_booked() -> None:
    node = Ledger().root("run", Limits(tokens=10))
    with pytest.raises(ValueError, match="below zero"):
        node.reserve(Amount(tokens=-1))
    hold = node.reserve(Amount(tokens=5))
    assert not isinstance(hold, Busy | Refused)
    with pytest.raises(ValueError, match="below zero"):
        hold.settle(Amount(tokens=-1))
    assert node.state().held == Amount(tokens=5)


async def test_room_for_less_than_nothing_is_refused() -> None:
    with pytest.raises(ValueError, match="below zero"):
        await Ledger().root("run", Limits()).room(Amount(requests=-1))


def test_limits_below_zero_are_refused() -> None:
    with pytest.raises(ValueError, match="-1 requests"):
        Ledger().root("run", Limits(requests=-1))
    with pytest.raises(ValueError, match="-1 nusd"):
        Ledger().root("run", Limits()).open("agent", Limits(nusd=-1))


@pytest.mark.parametrize("ask", [Node.left, Node.limited])
def test_an_unknown_unit_is_named_with_those_that_are_counted(ask: object) -> None:
    assert callable(ask)
    with pytest.raises(ValueError, match="'euros'; it counts tokens, nusd, requests, agents"):
        ask(Ledger().root("run", Limits()), "euros")


def test_a_closed_child_is_no_longer_kept_by_its_parent() -> None:
    run = Node("run", Limits(tokens=100))
    run.open("agent", Limits()).close()
    assert not run._children


async def test_nothing_is_left_of_those_who_waited() -> None:
    run = Node("run", Limits(tokens=10))
    hold = run.reserve(Amount(tokens=10))
    assert not isinstance(hold, Busy | Refused)
    async with anyio.create_task_group() as group:
        for name in "abc":
            group.start_soon(run.open(name, Limits()).room, Amount(tokens=5))
        await anyio.wait_all_tasks_blocked()
        hold.release()
    assert not run._tree.waiters
    assert not run._queue


async def test_a_room_can_be_asked_for_in_a_cancelled_scope_without_a_trace() -> None:
    run = Node("run", Limits(tokens=10))
    hold = run.reserve(Amount(tokens=10))
    assert not isinstance(hold, Busy | Refused)
    with anyio.CancelScope() as scope:
        scope.cancel()
        await run.room(Amount(tokens=5))
    assert scope.cancelled_caught
    assert not run._queue
    hold.release()
    with anyio.CancelScope() as scope:
        scope.cancel()
        await run.room(Amount(tokens=5))
    assert scope.cancelled_caught


@pytest.mark.parametrize("backend", ["asyncio", "trio"])
def test_event_loops_in_several_threads_share_a_tree(backend: str) -> None:
    run = Node("run", Limits(tokens=10))
    served: list[int] = []
    within: list[bool] = []

    async def agent(number: int) -> None:
        node = run.open(f"agent {number}", Limits())
        with anyio.fail_after(20):
            for _ in range(30):
                while isinstance(hold := node.reserve(Amount(tokens=4)), Busy | Refused):
                    assert isinstance(hold, Busy)
                    await node.room(Amount(tokens=4))
                within.append(run.state().held.tokens <= 10)
                await anyio.lowlevel.checkpoint()
                hold.release()
                await anyio.lowlevel.checkpoint()
        served.append(number)

    async def agents(first: int) -> None:
        async with anyio.create_task_group() as group:
            for number in range(first, first + 4):
                group.start_soon(agent, number)

    def loop(first: int) -> None:
        anyio.run(agents, first, backend=backend)

    threads = [threading.Thread(target=loop, args=(first,)) for first in (0, 4, 8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(30)
    assert sorted(served) == list(range(12))
    assert all(within)
    assert run.state().held == Amount()
    assert not run._tree.waiters


def test_a_loop_that_ended_while_somebody_waited_does_not_hurt_the_others() -> None:
    run = Ledger().root("run", Limits(tokens=10))
    hold = run.reserve(Amount(tokens=10))
    assert not isinstance(hold, Busy | Refused)

    async def give_up() -> None:
        with anyio.move_on_after(0.01):
            await run.room(Amount(tokens=5))

    thread = threading.Thread(target=lambda: anyio.run(give_up))
    thread.start()
    thread.join(10)
    hold.release()
    assert run.left("tokens") == 10
