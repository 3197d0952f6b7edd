"""Random trees under random use, compared with a ledger that only adds up lists."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import Future
from dataclasses import dataclass, field
from typing import Any

import anyio
import pytest
from anyio.from_thread import start_blocking_portal
from anyio.lowlevel import checkpoint
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    Bundle,
    RuleBasedStateMachine,
    consumes,
    initialize,
    invariant,
    multiple,
    rule,
    run_state_machine_as_test,
)
from sashizu_budget.ledger import Ledger
from sashizu_core.errors import BudgetRefused
from sashizu_core.protocols import BudgetNode, Busy, Hold, Refused
from sashizu_core.types import UNITS, Amount, Limits

# Few values, and large beside the limits: most reservations meet a limit or somebody who waits.
amounts = st.builds(
    Amount,
    tokens=st.sampled_from([10, 20, 5, 1, 30, 0]),
    nusd=st.sampled_from([0, 0, 0, 2]),
    requests=st.sampled_from([0, 0, 1]),
    agents=st.sampled_from([0, 0, 0, 1]),
)
limits = st.builds(
    Limits,
    tokens=st.sampled_from([30, 40, 20, None]),
    nusd=st.sampled_from([None, None, None, 8]),
    requests=st.sampled_from([None, None, 4]),
    agents=st.sampled_from([None, None, None, 3]),
)

luck = st.integers(0, 3)
"""What ends a whole path happens only at 0, so that something is left to look at."""


def of(amount: Amount) -> list[int]:
    return [getattr(amount, unit) for unit in UNITS]


def shared(one: Amount, other: Amount) -> bool:
    """Whether both ask for one unit."""
    return any(a and b for a, b in zip(of(one), of(other), strict=True))


def total(rows: list[list[int]]) -> list[int]:
    return [sum(column) for column in zip(*rows, strict=True)] if rows else [0] * len(UNITS)


@dataclass(eq=False)
class Entry:
    """A hold, and what became of it."""

    node: Level
    hold: Hold
    asked: list[int]
    booked: list[int] | None = None


@dataclass(eq=False)
class Level:
    """A node of the ledger, and what the model knows of it."""

    node: BudgetNode
    limits: Limits
    parent: Level | None
    shut: bool = False
    entries: list[Entry] = field(default_factory=list)
    children: list[Level] = field(default_factory=list)

    @property
    def path(self) -> list[Level]:
        return [self] if self.parent is None else [self, *self.parent.path]

    def below(self) -> list[Entry]:
        return [*self.entries, *(entry for child in self.children for entry in child.below())]

    def spent(self) -> list[int]:
        return total([entry.booked for entry in self.below() if entry.booked is not None])

    def held(self) -> list[int]:
        return total([entry.asked for entry in self.below() if entry.booked is None])

    def overrun(self) -> list[int]:
        ended = [(entry.asked, entry.booked) for entry in self.below() if entry.booked is not None]
        return total(
            [[max(0, b - a) for a, b in zip(asked, booked, strict=True)] for asked, booked in ended]
        )

    def ceiling(self) -> list[int | None]:
        return [getattr(self.limits, unit) for unit in UNITS]

    def verdict(self, asked: list[int]) -> type[Busy | Refused] | None:
        """What the books alone answer to an amount: None if it fits on the whole path."""
        verdict: type[Busy | Refused] | None = None
        for level in self.path:
            if level.shut:
                return Refused
            books = zip(asked, level.ceiling(), level.spent(), level.held(), strict=True)
            for wanted, ceiling, spent, held in books:
                if ceiling is None or wanted == 0:
                    continue
                if spent + wanted > ceiling:
                    return Refused
                if spent + held + wanted > ceiling:
                    verdict = Busy
        return verdict


@dataclass(eq=False)
class Waiting:
    """A task that waits for room."""

    level: Level
    amount: Amount
    scope: anyio.CancelScope | None = None

    def cancel(self) -> None:
        assert self.scope is not None
        self.scope.cancel()


class LedgerMachine(RuleBasedStateMachine):
    backend = "asyncio"

    levels: Bundle[Level] = Bundle("levels")
    entries: Bundle[Entry] = Bundle("entries")
    waits: Bundle[Waiting] = Bundle("waits")

    def __init__(self) -> None:
        super().__init__()
        self._loop = start_blocking_portal(self.backend)
        self.portal = self._loop.__enter__()
        self.ledger = Ledger()
        self.line: list[Waiting] = []
        self.tasks: list[Future[None]] = []
        self.news: list[tuple[Waiting, Hold | None]] = []
        self.all: list[Level] = []
        self.open: list[Entry] = []
        self.within_holds = True

    def teardown(self) -> None:
        for waiting in self.line:
            self.portal.call(waiting.cancel)
        self._loop.__exit__(None, None, None)

    # --- the loop ---------------------------------------------------------------------------------

    def _do(self, action: Callable[[], Any]) -> Any:
        """Do something where the waiters live, then let all of them come as far as they can."""
        return self.portal.call(self._and_settle, action)

    async def _and_settle(self, action: Callable[[], Any]) -> Any:
        result = action()
        quiet = 0
        while quiet < 10:
            before = len(self.news)
            await checkpoint()
            quiet = 0 if len(self.news) > before else quiet + 1
        return result

    async def _wait(self, waiting: Waiting) -> None:
        node = waiting.level.node
        with anyio.CancelScope() as waiting.scope:
            while True:
                try:
                    await node.room(waiting.amount)
                except BudgetRefused:
                    self.news.append((waiting, None))
                    return
                answer = node.reserve(waiting.amount)
                assert not isinstance(answer, Refused), "there was room, and then a refusal"
                if not isinstance(answer, Busy):
                    self.news.append((waiting, answer))
                    return

    def _hear(self) -> None:
        """Take over what the waiters did, in its order."""
        for task in self.tasks:
            if task.done():
                task.result()
        for waiting, hold in self.news:
            older = self.line[: self.line.index(waiting)]
            self.line.remove(waiting)
            if hold is None:
                assert waiting.level.verdict(of(waiting.amount)) is Refused
                continue
            assert waiting.level.verdict(of(waiting.amount)) is None
            assert not any(
                other.level is waiting.level and shared(other.amount, waiting.amount)
                for other in older
            )
            self._enter(waiting.level, hold, waiting.amount)
        self.news.clear()

    def _enter(self, level: Level, hold: Hold, amount: Amount) -> Entry:
        entry = Entry(level, hold, of(amount))
        level.entries.append(entry)
        self.open.append(entry)
        return entry

    def _book(self, entry: Entry, booked: list[int]) -> None:
        if entry.booked is not None:
            return
        entry.booked = booked
        self.open.remove(entry)
        path = entry.node.path
        closing = 0
        for i, (asked, quantity) in enumerate(zip(entry.asked, booked, strict=True)):
            if quantity > asked:
                self.within_holds = False
                tops = [n + 1 for n, level in enumerate(path) if level.ceiling()[i] is not None]
                closing = max([closing, *tops])
        for level in path[:closing]:
            level.shut = True

    # --- rules ------------------------------------------------------------------------------------

    @initialize(target=levels, limits=st.lists(limits, min_size=4, max_size=4))
    def begin(self, limits: list[Limits]) -> Any:
        root = Level(self.ledger.root("root", limits[0]), limits[0], None)
        self.all.append(root)
        one = self.deepen(root, limits[1])
        return multiple(root, one, self.deepen(root, limits[2]), self.deepen(one, limits[3]))

    @rule(target=levels, parent=levels, limits=limits)
    def deepen(self, parent: Level, limits: Limits) -> Level:
        level = Level(parent.node.open(f"node {len(self.all)}", limits), limits, parent)
        parent.children.append(level)
        self.all.append(level)
        return level

    @rule(target=entries, level=levels, asked=st.lists(amounts, min_size=1, max_size=4))
    def reserve(self, level: Level, asked: list[Amount]) -> Any:
        return multiple(*[self._reserve(level, amount) for amount in asked])

    def _reserve(self, level: Level, amount: Amount) -> Entry:
        verdict = level.verdict(of(amount))
        answer = self._do(lambda: level.node.reserve(amount))
        if isinstance(answer, Busy | Refused):
            overtaking = verdict is None and any(
                other.level.path[-1] is level.path[-1] and shared(other.amount, amount)
                for other in self.line
            )
            assert type(answer) is (Busy if overtaking else verdict)
            return Entry(level, _Ended(), [0, 0, 0, 0], [0, 0, 0, 0])
        assert verdict is None
        return self._enter(level, answer, amount)

    @rule(entry=entries, share=st.sampled_from([0, 0, 10, 50, 100]))
    def settle_within(self, entry: Entry, share: int) -> None:
        bill = [quantity * share // 100 for quantity in entry.asked]
        over = self._do(lambda: entry.hold.settle(Amount(*bill)))
        assert over == Amount()
        self._book(entry, bill)
        self._hear()

    @rule(entry=consumes(entries), more=amounts, luck=luck)
    def settle_above(self, entry: Entry, more: Amount, luck: int) -> None:
        if luck:
            more = Amount()
        ended = entry.booked is not None
        bill = [a + b if b else 0 for a, b in zip(entry.asked, of(more), strict=True)]
        over = self._do(lambda: entry.hold.settle(Amount(*bill)))
        assert over == (Amount() if ended else more)
        self._book(entry, bill)
        self._hear()

    @rule(giver=levels, taker=levels, amount=amounts)
    def shift(self, giver: Level, taker: Level, amount: Amount) -> None:
        if giver is taker or giver.parent is None or taker.parent is not giver.parent:
            with pytest.raises(ValueError, match="no sibling"):
                self.ledger.shift(giver.node, taker.node, amount)
            return
        expected = []
        books = zip(
            of(amount), giver.ceiling(), giver.spent(), giver.held(), taker.ceiling(), strict=True
        )
        for wanted, limit, spent, held, other in books:
            free = 0 if limit is None or other is None else max(0, limit - spent - held)
            expected.append(0 if taker.shut else min(wanted, free))
        moved = self._do(lambda: self.ledger.shift(giver.node, taker.node, amount))
        assert of(moved) == expected
        for level, sign in ((giver, -1), (taker, 1)):
            level.limits = Limits(
                **{
                    unit: None if limit is None else limit + sign * quantity
                    for unit, limit, quantity in zip(UNITS, level.ceiling(), expected, strict=True)
                }
            )
            assert level.node.state().limits == level.limits
        self._hear()

    @rule(entry=entries, luck=luck)
    def charge(self, entry: Entry, luck: int) -> None:
        if luck:
            return
        self._do(entry.hold.charge)
        self._book(entry, entry.asked)
        self._hear()

    @rule(entry=entries)
    def release(self, entry: Entry) -> None:
        self._do(entry.hold.release)
        self._book(entry, [0, 0, 0, 0])
        self._hear()

    # What is drawn must not depend on what the waiters did: trio runs them in any order.
    @rule(which=st.integers(0, 11))
    def release_what_a_waiter_got(self, which: int) -> None:
        if which < len(self.open):
            entry = self.open[which]
            self._do(entry.hold.release)
            self._book(entry, [0, 0, 0, 0])
            self._hear()

    @rule(level=levels, luck=luck)
    def close(self, level: Level, luck: int) -> None:
        if luck:
            return
        self._do(level.node.close)
        for entry in level.below():
            self._book(entry, entry.asked)
        level.shut = True
        self._hear()

    @rule(target=waits, tasks=st.lists(st.tuples(levels, amounts), min_size=1, max_size=4))
    def wait(self, tasks: list[tuple[Level, Amount]]) -> Any:
        return multiple(*[self._join(level, amount) for level, amount in tasks])

    def _join(self, level: Level, amount: Amount) -> Waiting:
        waiting = Waiting(level, amount)
        self.line.append(waiting)
        self.tasks.append(self.portal.start_task_soon(self._wait, waiting))
        self._do(lambda: None)
        self._hear()
        return waiting

    @rule(waiting=consumes(waits))
    def cancel(self, waiting: Waiting) -> None:
        if waiting in self.line:
            # It gets no room any more, whatever the others do now.
            self.line.remove(waiting)
        self._do(waiting.cancel)
        self._hear()

    # --- what holds after every rule --------------------------------------------------------------

    @invariant()
    def every_level_adds_up(self) -> None:
        for level in self.all:
            state = level.node.state()
            spent, held, overrun = level.spent(), level.held(), level.overrun()
            assert (of(state.spent), of(state.held), of(state.overrun)) == (spent, held, overrun)
            for unit in UNITS:
                assert level.node.limited(unit) == any(
                    getattr(above.limits, unit) is not None for above in level.path
                )

    @invariant()
    def no_level_goes_over_its_limit(self) -> None:
        for level in self.all:
            state = level.node.state()
            books = zip(
                level.ceiling(), of(state.spent), of(state.held), of(state.overrun), strict=True
            )
            for ceiling, spent, held, overrun in books:
                assert ceiling is None or spent + held <= ceiling + overrun
                assert overrun == 0 or not self.within_holds

    @invariant()
    def what_is_left_can_be_reserved_and_no_more(self) -> None:
        for level in self.all:
            for i, unit in enumerate(UNITS):
                rooms = [
                    ceiling - above.spent()[i] - above.held()[i]
                    for above in level.path
                    if (ceiling := above.ceiling()[i]) is not None
                ]
                expected = max(0, min(rooms)) if rooms else None
                if any(above.shut for above in level.path):
                    expected = 0
                assert level.node.left(unit) == expected

    @invariant()
    def nobody_waits_for_nothing(self) -> None:
        for root in {waiting.level.path[-1] for waiting in self.line}:
            line = [waiting for waiting in self.line if waiting.level.path[-1] is root]
            assert any(entry.node.path[-1] is root for entry in self.open)
            assert line[0].level.verdict(of(line[0].amount)) is not None
        for waiting in self.line:
            assert not any(level.shut for level in waiting.level.path)


class _Ended:
    """Stands for a hold that was not given."""

    amount = Amount()

    def settle(self, actual: Amount) -> Amount:
        return Amount()

    def charge(self) -> None: ...

    def release(self) -> None: ...


# The ledger knows nothing of the backend: a few histories show that on the second. `scripts/long`
# repeats both with other seeds for as long as it is told.
@pytest.mark.parametrize(("backend", "examples"), [("asyncio", 50), ("trio", 10)])
def test_the_books_are_right_after_every_operation(backend: str, examples: int) -> None:
    machine = type("Machine", (LedgerMachine,), {"backend": backend})
    run_state_machine_as_test(
        machine, settings=settings(max_examples=examples, stateful_step_count=50, deadline=None)
    )
