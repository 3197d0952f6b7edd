"""Follows the runs that are at work, and keeps the newest of what they tell."""

from __future__ import annotations

import logging
from collections import deque
from collections.abc import AsyncGenerator, Callable, Mapping, Sequence
from contextlib import aclosing
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from secrets import token_hex
from time import time_ns
from typing import Any

import anyio
from sashizu_core import control
from sashizu_core.control import RunInfo
from sashizu_core.errors import SashizuError

from sashizu_dashboard.happened import Happened, happened
from sashizu_dashboard.live_run import LiveRun

__all__ = ["MOST_EVENTS", "News", "Watch"]

logger = logging.getLogger(__name__)

MOST_EVENTS = 20_000
"""Events that are kept for pages that come back."""

MOST_ENDED = 50
"""Runs that have ended, of which what was heard is kept."""

LOOK_S = 1.0
"""How often it is looked for runs, and each is asked how it is, in seconds."""


@dataclass(frozen=True, slots=True)
class News:
    """What happened after a place; `missed` says that more did, which is kept no more."""

    events: Sequence[Happened]
    place: str
    missed: bool


class Watch:
    """The runs of one state folder, as they are.

    `follow` has to run for anything to change. `clock` is Unix time in nanoseconds.
    """

    def __init__(self, home: Path, clock: Callable[[], int] = time_ns) -> None:
        self.home = home
        self.clock = clock
        self.runs: dict[str, LiveRun] = {}
        self.closed = False
        self._begun = token_hex(4)  # places of an earlier dashboard mean nothing here
        self._kept: deque[Happened] = deque(maxlen=MOST_EVENTS)
        self._count = 0
        self._dropped = 0  # the newest that is kept no more
        self._version = 0
        self._news = anyio.Event()

    @property
    def at_work(self) -> tuple[LiveRun, ...]:
        """Newest first."""
        found = [run for run in self.runs.values() if run.run.status == "running"]
        return tuple(sorted(found, key=lambda run: run.info.run_id, reverse=True))

    @property
    def place(self) -> str:
        """Where the newest event stands."""
        return self._place(self._count)

    def version(self, run_id: str = "") -> int:
        """Grows with every change, of one run or of all."""
        if not run_id:
            return self._version
        run = self.runs.get(run_id)
        return run.version if run is not None else 0

    def newest(self, run_id: str, most: int) -> Sequence[Happened]:
        """The newest events of a run, oldest first."""
        found = [event for event in self._kept if event.run_id == run_id]
        return found[-most:]

    def since(self, place: str, run_id: str = "") -> News:
        """What happened after a place, of one run or of all."""
        begun, _, count = place.partition(".")
        known = begun == self._begun and count.isdecimal()
        after = int(count) if known else self._count
        run = self.runs.get(run_id)
        missed = not known or not self._dropped <= after <= self._count
        missed = missed or (run is not None and after < run.heard_from)
        events = [] if missed else self._after(after)
        if run_id:
            events = [event for event in events if event.run_id == run_id]
        return News(events, self.place, missed)

    async def wait(self, seen: anyio.Event, most_s: float) -> bool:
        """Wait for news after `seen` was the newest; False when there was none in time."""
        with anyio.move_on_after(most_s):
            await seen.wait()
        return seen.is_set()

    @property
    def news(self) -> anyio.Event:
        """Set when something changes; each change has another."""
        return self._news

    def close(self) -> None:
        """Tell all who wait that nothing comes any more."""
        self.closed = True
        self._changed()

    async def follow(self) -> None:
        """Follow every run that begins, for ever."""
        async with anyio.create_task_group() as group:
            while True:
                for info in await anyio.to_thread.run_sync(control.running_runs, self.home):
                    run = self._known(info)
                    if not run.followed:
                        run.followed = True
                        group.start_soon(self._follow, run)
                for run in self.at_work:
                    if not run.followed:  # it died, and its socket a moment after its streams
                        await self._settle(run)
                self._forget()
                await anyio.sleep(LOOK_S)

    async def find(self, run_id: str) -> LiveRun | None:
        """A run that is followed, or will be at once; None where it is not at work."""
        if run_id not in self.runs:
            for info in await anyio.to_thread.run_sync(control.running_runs, self.home):
                if info.run_id == run_id:
                    return self._known(info)
        return self.runs.get(run_id)

    # --- one run ----------------------------------------------------------------------------------

    def _known(self, info: RunInfo) -> LiveRun:
        run = self.runs.get(info.run_id)
        if run is None:
            run = self.runs[info.run_id] = LiveRun(info)
            self._changed()
        return run

    async def _follow(self, run: LiveRun) -> None:
        over = anyio.Event()
        async with anyio.create_task_group() as group:
            group.start_soon(self._ask, run, over)
            async with aclosing(self._heard(run)) as events:
                async for event in events:
                    self._take(run, event)
            over.set()
        await self._settle(run)
        run.followed = False

    async def _settle(self, run: LiveRun) -> None:
        """Note how a run ended, if it has."""
        try:
            info = await anyio.to_thread.run_sync(control.find_run, run.info.run_id, self.home)
        except SashizuError:  # whoever tidied up took its file away
            run.info.status = "lost"
            info = run.info
        if info.status != "running":
            run.over(info)
        self._changed()

    async def _heard(self, run: LiveRun) -> AsyncGenerator[Mapping[str, Any]]:
        """The events of a run until it ends, dies, or thinks that we are too slow."""
        try:
            began = partial(self._began_to_hear, run)
            async with aclosing(control.events(run.info.run_id, self.home, began=began)) as events:
                async for event in events:
                    yield event
        except (SashizuError, OSError, ValueError, anyio.BrokenResourceError) as error:
            logger.debug("run %s is heard no more: %s", run.info.run_id, error)

    def _began_to_hear(self, run: LiveRun) -> None:
        """Whatever was shown of the run before may lack what happened until now."""
        self._count += 1
        run.heard_from, run.whole = self._count, False
        run.version += 1
        self._changed()

    async def _ask(self, run: LiveRun, over: anyio.Event) -> None:
        while not over.is_set():
            before = run.version
            try:
                state = await control.status(run.info.run_id, self.home)
                run.asked(state, self.clock())
            except (SashizuError, OSError) as error:
                run.trouble = str(error)
                run.version += 1
            except anyio.BrokenResourceError:
                pass  # it dies, which the end of its events tells
            if run.version != before:
                self._changed()
            with anyio.move_on_after(LOOK_S):
                await over.wait()

    def _take(self, run: LiveRun, event: Mapping[str, Any]) -> None:
        now = self.clock()
        self._count += 1
        if len(self._kept) == self._kept.maxlen:
            self._dropped = self._kept[0].count
        self._kept.append(happened(self._count, run.info.run_id, now, event))
        run.take(event, now)
        self._changed()

    # --- what is kept -----------------------------------------------------------------------------

    def _changed(self) -> None:
        self._version += 1
        news, self._news = self._news, anyio.Event()
        news.set()

    def _place(self, count: int) -> str:
        return f"{self._begun}.{count}"

    def _after(self, count: int) -> list[Happened]:
        found: list[Happened] = []
        for event in reversed(self._kept):
            if event.count <= count:
                break
            found.append(event)
        return found[::-1]

    def _forget(self) -> None:
        ended = [run_id for run_id, run in self.runs.items() if run.run.status != "running"]
        for run_id in sorted(ended)[: max(0, len(ended) - MOST_ENDED)]:
            del self.runs[run_id]
