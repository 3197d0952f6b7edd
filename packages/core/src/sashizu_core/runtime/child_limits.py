"""How many agents agents may start, how deep, how many at once and how fast."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable
from time import monotonic

from sashizu_core.errors import SpawnRefused

__all__ = ["Lent", "SpawnBounds", "Started"]

MINUTE = 60.0


class SpawnBounds:
    """What one level of a run bounds: the operator's settings, the run, an agent.

    `depth_left` is how many levels may still come below; `agents` how many agents may be started
    below in all, `alive` how many at one time, `rate` how many within a minute. None bounds
    nothing. What is started counts on every level up to the outermost. Not thread-safe: all agents
    of a run belong to one event loop.
    """

    __slots__ = (
        "_agents",
        "_alive",
        "_clock",
        "_count",
        "_lent_rate",
        "_living",
        "_path",
        "_rate",
        "_starts",
        "depth_left",
        "name",
    )

    def __init__(
        self,
        name: str,
        *,
        depth: int | None = None,
        agents: int | None = None,
        alive: int | None = None,
        rate: int | None = None,
        above: SpawnBounds | None = None,
        below: bool = False,
        clock: Callable[[], float] = monotonic,
    ) -> None:
        """`below` says that this is a level of agents below `above`, and not the same one."""
        self.name = name
        inherited = above.depth_left if above is not None else None
        if inherited is not None and below:
            inherited -= 1
        given = [left for left in (depth, inherited) if left is not None]
        self.depth_left: int | None = min(given, default=None)
        self._agents = agents
        self._alive = alive
        self._rate = rate
        self._count = 0
        self._living = 0
        self._lent_rate = 0
        self._starts: deque[float] = deque()
        self._clock: Callable[[], float] = clock if above is None else above._clock
        self._path: tuple[SpawnBounds, ...] = (self, *(above._path if above is not None else ()))

    def start(self) -> Started:
        """Count one more agent below, on every level or on none.

        Raises:
            SpawnRefused: a level allows no more; says which, and what to do.
        """
        if self.depth_left is not None and self.depth_left < 1:
            raise SpawnRefused(
                "no agent is started: this agent is as deep as agents may go; do the work yourself",
                limit="depth",
                allowed=max(0, self.depth_left),
            )
        now = self._clock()
        for level in self._path:
            level._check(now)
        for level in self._path:
            level._count += 1
            level._living += 1
            if level._rate is not None:
                level._starts.append(now)
        return Started(self._path)

    def lend(self, among: int) -> Lent:
        """Set aside one of so many parts of what is left, for another process to start agents with.

        It counts as used on every level, until the process has ended.
        """
        now = self._clock()
        for level in self._path:
            level._forget(now)
        agents, alive, rate = (
            None if left is None else max(0, left) // among
            for left in (
                _least(level._left(level._agents, level._count) for level in self._path),
                _least(level._left(level._alive, level._living) for level in self._path),
                _least(
                    level._left(level._rate, len(level._starts) + level._lent_rate)
                    for level in self._path
                ),
            )
        )
        for level in self._path:
            level._count += agents or 0
            level._living += alive or 0
            level._lent_rate += rate or 0
        return Lent(self._path, agents, alive, rate)

    @staticmethod
    def _left(allowed: int | None, used: int) -> int | None:
        return None if allowed is None else allowed - used

    def _forget(self, now: float) -> None:
        while self._starts and self._starts[0] <= now - MINUTE:
            self._starts.popleft()

    def _check(self, now: float) -> None:
        self._forget(now)
        if self._agents is not None and self._count >= self._agents:
            self._refuse("agents", self._agents, "agents were started in all; go on without more")
        if self._alive is not None and self._living >= self._alive:
            self._refuse(
                "alive", self._alive, "agents are at work at once; ask again when some end"
            )
        if self._rate is not None and len(self._starts) + self._lent_rate >= self._rate:
            oldest = self._starts[0] if self._starts else now
            wait_s = max(1, round(oldest + MINUTE - now))
            self._refuse(
                "rate", self._rate, f"agents were started within a minute; wait {wait_s} s"
            )

    def _refuse(self, limit: str, allowed: int, what: str) -> None:
        message = f"no agent is started: {self.name} allows {allowed}, and as many {what}"
        raise SpawnRefused(message, limit=limit, allowed=allowed)


class Started:
    """One agent that was started; it counts as alive until `ended`."""

    __slots__ = ("_path",)

    def __init__(self, path: tuple[SpawnBounds, ...]) -> None:
        self._path = path

    def ended(self) -> None:
        """Count it as alive no more; a second call changes nothing."""
        for level in self._path:
            level._living -= 1
        self._path = ()


class Lent:
    """What another process may start agents with; None is not bounded.

    `agents` are those in all, `alive` those at one time, `rate` those within a minute.
    """

    __slots__ = ("_path", "agents", "alive", "rate")

    def __init__(
        self,
        path: tuple[SpawnBounds, ...],
        agents: int | None,
        alive: int | None,
        rate: int | None,
    ) -> None:
        self._path = path
        self.agents = agents
        self.alive = alive
        self.rate = rate

    def ended(self, started: int) -> None:
        """Take back what is left, after the process has started so many; a second call does not."""
        for level in self._path:
            level._count -= max(0, (self.agents or 0) - started)
            level._living -= self.alive or 0
            level._lent_rate -= self.rate or 0
            if level._rate is not None:  # when within the last minute they began is not known
                level._starts.extend([level._clock()] * min(started, self.rate or 0))
        self._path = ()


def _least(values: Iterable[int | None]) -> int | None:
    return min((value for value in values if value is not None), default=None)
