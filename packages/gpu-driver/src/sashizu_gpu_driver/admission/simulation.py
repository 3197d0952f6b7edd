"""A machine of three cards on a virtual clock, and the loads that two policies let onto it.

Sizes are bytes, times seconds. What a card reports is a second old, as with real drivers; foreign
processes come and go as they like. A load takes its memory bit by bit, and fails if there is none.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from random import Random
from weakref import finalize

from sashizu_core.processes import Owner

from sashizu_gpu_driver.admission.asked import Ask, Card
from sashizu_gpu_driver.admission.controller import Controller
from sashizu_gpu_driver.admission.rows import SCHEMA

__all__ = ["MemoryLedger", "Outcome", "controlled", "naive", "total"]

GB = 1_000_000_000
STEP_S = 0.25
LAG_STEPS = 4
US = Owner(1, "us")


class MemoryLedger:
    """The ledger of one process alone."""

    def __init__(self) -> None:
        # Whichever thread collects garbage closes it.
        self.db = sqlite3.connect(":memory:", isolation_level=None, check_same_thread=False)
        self.db.execute("PRAGMA foreign_keys = ON")
        self.db.executescript(SCHEMA)
        finalize(self, self.db.close)

    @contextmanager
    def change(self) -> Iterator[sqlite3.Connection]:
        self.db.execute("BEGIN IMMEDIATE")
        try:
            yield self.db
            self.db.execute("COMMIT")
        except BaseException:
            self.db.execute("ROLLBACK")
            raise


@dataclass
class Process:
    """Something that uses memory, ours or foreign; `need` is what it takes in the end."""

    pid: int
    device: str
    need: int
    growing_s: float
    ends: float
    used: int = 0
    place: int = 0


@dataclass
class Request:
    arrives: float
    need: int
    thought: int
    works_s: float
    number: int = 0
    tried: int = 0


@dataclass
class Outcome:
    """What became of the requests."""

    loads: int = 0
    failed: int = 0
    served: int = 0
    waits: list[float] = field(default_factory=list)


class Machine:
    """Cards of 80, 24 and 24 GB with what runs on them."""

    def __init__(self, random: Random) -> None:
        self.totals = {"A": 80 * GB, "B": 24 * GB, "C": 24 * GB}
        self.processes: list[Process] = []
        self.random = random
        self.pids = iter(range(100, 10_000_000))
        self.shown: list[dict[str, dict[int, int]]] = []

    def used(self) -> dict[str, dict[int, int]]:
        found: dict[str, dict[int, int]] = {name: {} for name in self.totals}
        for process in self.processes:
            found[process.device][process.pid] = process.used
        return found

    def cards(self, *, attributed: bool) -> list[Card]:
        """What the cards report, which is a second old."""
        shown = self.shown[-LAG_STEPS] if len(self.shown) >= LAG_STEPS else {}
        return [
            Card(
                name,
                total,
                free=total - sum(shown.get(name, {}).values()),
                used=shown.get(name, {}) if attributed else None,
            )
            for name, total in self.totals.items()
        ]

    def visit(self) -> None:
        """A foreign process may come; it takes what it needs at once, if it is there."""
        for name, total in self.totals.items():
            if self.random.random() < STEP_S / 240:
                need = self.random.randint(1, 6) * GB
                if sum(self.used()[name].values()) + need <= total:
                    end = self.random.uniform(20, 80)
                    self.processes.append(Process(next(self.pids), name, need, 0, end, need))

    def grow(self) -> list[Process]:
        """Let every load take what it takes in one step; those for which there was nothing."""
        failed = []
        for process in self.processes:
            if process.used >= process.need:
                continue
            more = process.need - process.used
            if process.growing_s > STEP_S:
                more = min(more, int(process.need * STEP_S / process.growing_s) + 1)
            if sum(self.used()[process.device].values()) + more > self.totals[process.device]:
                failed.append(process)
            else:
                process.used += more
        self.processes = [one for one in self.processes if one not in failed]
        self.shown.append(self.used())
        return failed


def requests(random: Random, count: int) -> list[Request]:
    """Models of 2 to 40 GB, whose need is known to a few percent."""
    now, found = 0.0, []
    for _ in range(count):
        if random.random() < 0.5:  # agents ask together
            now += random.expovariate(1 / 36.0)
        need = random.randint(2 * GB, 40 * GB)
        thought = int(need * random.uniform(0.97, 1.05))
        found.append(Request(now, need, thought, random.uniform(5, 40)))
    return found


def _load(machine: Machine, request: Request, device: str, now: float, place: int) -> Process:
    growing = 1 + request.need / (6 * GB)
    process = Process(next(machine.pids), device, request.need, growing, 0, place=place)
    process.ends = now + growing + request.works_s
    machine.processes.append(process)
    return process


def _ended(machine: Machine, now: float, ours: dict[int, Request]) -> list[Process]:
    ended = []
    for process in machine.processes:
        if process.pid not in ours and process.growing_s == 0 and process.ends < 1000:
            process.ends += now  # a foreign one says how long it stays
        if process.ends <= now and process.used >= process.need:
            ended.append(process)
    machine.processes = [one for one in machine.processes if one not in ended]
    return ended


def naive(seed: int, count: int) -> Outcome:
    """Every request is loaded as soon as a card shows enough free memory."""
    random = Random(seed)  # noqa: S311 - a simulation is to be repeated
    machine, asked = Machine(random), requests(random, count)
    outcome, now, ours = Outcome(), 0.0, dict[int, Request]()
    queue: list[Request] = []
    while asked or queue or ours:
        now += STEP_S
        machine.visit()
        for process in machine.grow():
            outcome.failed += 1
            ours.pop(process.pid)
        for process in _ended(machine, now, ours):
            outcome.served += ours.pop(process.pid, None) is not None
        while asked and asked[0].arrives <= now:
            queue.append(asked.pop(0))
        cards = machine.cards(attributed=False)
        for request in list(queue):
            fitting = [card for card in cards if (card.free or 0) >= request.need]
            if fitting:
                card = min(fitting, key=lambda one: one.free or 0)
                ours[_load(machine, request, card.device, now, 0).pid] = request
                outcome.loads += 1
                outcome.waits.append(now - request.arrives)
                queue.remove(request)
    return outcome


def controlled(seed: int, count: int, *, attributed: bool) -> Outcome:
    """The real controller decides; what fails asks again, as long as it takes."""
    random = Random(seed)  # noqa: S311 - a simulation is to be repeated
    machine, asked = Machine(random), requests(random, count)
    controller = Controller(MemoryLedger(), ended=lambda _: False)
    outcome, now, ours = Outcome(), 0.0, dict[int, Request]()
    queue: list[Request] = []
    answering: set[int] = set()
    while asked or queue or ours:
        now += STEP_S
        machine.visit()
        for process in machine.grow():
            outcome.failed += 1
            request = ours.pop(process.pid)
            controller.failed(process.place, out_of_memory=True)
            queue.append(_entered(controller, request, now))
        _answering(machine, controller, answering, now)
        cards = machine.cards(attributed=attributed)
        for process in _ended(machine, now, ours):
            if ours.pop(process.pid, None) is not None:
                outcome.served += 1
                controller.done(process.place, US, now)
                controller.left(process.place, cards, now)
        while asked and asked[0].arrives <= now:
            queue.append(_entered(controller, asked.pop(0), now))
        for request in list(queue):
            answer = controller.decide(request.number, cards, now)
            if answer.outcome == "placed":
                process = _load(machine, request, answer.device, now, answer.place)
                controller.keep(answer.place, US, process.pid)
                ours[process.pid] = request
                outcome.loads += 1
                outcome.waits.append(now - request.arrives)
            if answer.outcome != "queued":
                queue.remove(request)
    return outcome


def _answering(machine: Machine, controller: Controller, answering: set[int], now: float) -> None:
    """Say once of each load that it answers."""
    for process in machine.processes:
        if process.place and process.used >= process.need and process.place not in answering:
            answering.add(process.place)
            controller.loaded(process.place, now)


def _entered(controller: Controller, request: Request, now: float) -> Request:
    request.tried += 1
    key = f"{id(request)}"
    request.number = controller.enter(Ask(key, request.thought), US, now)
    return request


def total(outcomes: Sequence[Outcome]) -> Outcome:
    """All of them as one."""
    found = Outcome()
    for one in outcomes:
        found.loads += one.loads
        found.failed += one.failed
        found.served += one.served
        found.waits += one.waits
    return found
