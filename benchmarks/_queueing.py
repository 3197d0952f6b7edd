"""Queues in simulated time: a calendar, stations with servers, and commits that share one flush.

Nothing here knows what is simulated. All times are seconds. What is drawn by chance comes from one
generator with a seed, so that the same question has the same answer, on every machine.
"""

from __future__ import annotations

import heapq
import random
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

Then = Callable[[Any], None]


class Calendar:
    """What happens next, and when. Of things at one time the first that was asked for is first."""

    def __init__(self, seed: int) -> None:
        self.now = 0.0
        self.happened = 0
        self.chance = random.Random(seed)
        self._coming: list[tuple[float, int, Then, Any]] = []
        self._asked = 0

    def after(self, seconds: float, then: Then, what: Any = None) -> None:
        self._asked += 1
        heapq.heappush(self._coming, (self.now + seconds, self._asked, then, what))

    def exponential(self, mean: float) -> float:
        return self.chance.expovariate(1.0 / mean) if mean > 0 else 0.0

    def run(self, until: float = float("inf")) -> None:
        """Let everything happen up to a time; what comes later stays in the calendar."""
        coming = self._coming
        while coming and coming[0][0] <= until:
            self.now, _, then, what = heapq.heappop(coming)
            self.happened += 1
            then(what)
        if until != float("inf"):
            self.now = until


@dataclass(slots=True)
class Station:
    """Servers that take who came first. `seconds` draws how long one is served.

    `came` and `went` are counted; `area` is the integral of how many were there, `busy` that of how
    many were served, both over time, so that the laws of Little and of utilisation can be checked.
    """

    calendar: Calendar
    servers: int
    seconds: Callable[[], float]
    came: int = 0
    went: int = 0
    area: float = 0.0
    busy: float = 0.0
    serving: int = 0
    queue: deque[tuple[Any, Then, float]] = field(default_factory=deque)
    _looked: float = 0.0

    def enter(self, who: Any, then: Then, mean: float | None = None) -> None:
        """Be served, then go on; `mean` is for who takes another time, exponential, on average."""
        self.look()
        self.came += 1
        seconds = self.seconds() if mean is None else self.calendar.exponential(mean)
        if self.serving < self.servers:
            self.serving += 1
            self.calendar.after(seconds, self._leave, (who, then))
        else:
            self.queue.append((who, then, seconds))

    def look(self) -> None:
        """Bring the integrals up to now."""
        passed = self.calendar.now - self._looked
        self.area += passed * (self.serving + len(self.queue))
        self.busy += passed * self.serving
        self._looked = self.calendar.now

    def _leave(self, entry: tuple[Any, Then]) -> None:
        self.look()
        self.went += 1
        if self.queue:
            following, onward, seconds = self.queue.popleft()
            self.calendar.after(seconds, self._leave, (following, onward))
        else:
            self.serving -= 1
        who, then = entry
        then(who)


@dataclass(slots=True)
class Flush:
    """A disk that is synced for all who wait: who comes during one sync is part of the next."""

    calendar: Calendar
    seconds: float
    syncs: int = 0
    went: int = 0
    _waiting: list[tuple[Any, Then]] = field(default_factory=list)
    _syncing: bool = False

    def enter(self, who: Any, then: Then) -> None:
        if self.seconds <= 0:
            self.went += 1
            then(who)
            return
        self._waiting.append((who, then))
        if not self._syncing:
            self._begin()

    def _begin(self) -> None:
        self._syncing = True
        batch, self._waiting = self._waiting, []
        self.calendar.after(self.seconds, self._end, batch)

    def _end(self, batch: Sequence[tuple[Any, Then]]) -> None:
        self.syncs += 1
        self.went += len(batch)
        self._syncing = False
        if self._waiting:
            self._begin()
        for who, then in batch:
            then(who)


@dataclass(slots=True)
class Lock:
    """One holder at a time, in the order of asking: a row that is locked until its commit."""

    calendar: Calendar
    taken: int = 0
    held: float = 0.0
    _since: float = 0.0
    _holder: bool = False
    _queue: deque[tuple[Any, Then]] = field(default_factory=deque)

    def take(self, who: Any, then: Then) -> None:
        if self._holder:
            self._queue.append((who, then))
            return
        self._give(who, then)

    def _give(self, who: Any, then: Then) -> None:
        self._holder = True
        self._since = self.calendar.now
        self.taken += 1
        then(who)

    def free(self) -> None:
        self.held += self.calendar.now - self._since
        self._holder = False
        if self._queue:
            self._give(*self._queue.popleft())

    @property
    def waiting(self) -> int:
        return len(self._queue)
