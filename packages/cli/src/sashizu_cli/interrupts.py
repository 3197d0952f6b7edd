"""Ctrl-C, SIGTERM and a closed terminal while a run goes on: once ends it with reports."""

from __future__ import annotations

import os
import signal
from collections.abc import Callable
from typing import TYPE_CHECKING

import anyio
from anyio.abc import TaskStatus

from sashizu_cli import render
from sashizu_cli.exits import INTERRUPTED

if TYPE_CHECKING:
    from sashizu_core.control import RunHandle

__all__ = ["Interrupts"]

_NAMES = ("SIGINT", "SIGTERM", "SIGHUP", "SIGBREAK")


def _signals() -> list[signal.Signals]:
    """The signals of this system that nobody wants to be ignored, such as `nohup`."""
    found = [getattr(signal, name) for name in _NAMES if hasattr(signal, name)]
    return [number for number in found if signal.getsignal(number) is not signal.SIG_IGN]


class Interrupts:
    """Counts the signals and passes the first on to the run.

    `give_up` is called by the second; it must not return in production. The record survives it:
    what was recorded is written before it happens.
    """

    def __init__(self, give_up: Callable[[], object] | None = None) -> None:
        self.count = 0
        self._give_up = give_up or (lambda: os._exit(INTERRUPTED))
        self._handle: RunHandle | None = None
        self._why = ""

    def attach(self, handle: RunHandle) -> None:
        """Say which run is to be ended; what came earlier ends it now."""
        self._handle = handle
        if self._why:
            handle.cancel(self._why)

    def hit(self, number: int = signal.SIGINT) -> None:
        """Take one signal; a terminal that is gone ends no run that can do without."""
        self.count += 1
        gone = number == getattr(signal, "SIGHUP", None)
        if self.count > 1 or (gone and self._handle is not None and self._handle.outlasts):
            self._give_up()
            return
        render.note("interrupted: ending with reports (once more ends at once)")
        self.end("interrupted")

    def end(self, why: str) -> None:
        """End the run with reports."""
        self._why = why
        if self._handle is not None:
            self._handle.cancel(why)

    async def watch(self, *, task_status: TaskStatus[None] = anyio.TASK_STATUS_IGNORED) -> None:
        """Wait for signals until cancelled."""
        try:
            with anyio.open_signal_receiver(*_signals()) as signals:
                task_status.started()
                async for number in signals:
                    self.hit(number)
        except NotImplementedError:  # the event loop of Windows takes no signal handlers
            await self._watch_without_loop(task_status)

    async def _watch_without_loop(self, task_status: TaskStatus[None]) -> None:
        heard: list[int] = []
        news = anyio.Event()

        def hear(number: int, _: object) -> None:  # between any two steps: it does no more
            heard.append(number)
            news.set()

        before = {number: signal.signal(number, hear) for number in _signals()}
        try:
            task_status.started()
            while True:
                await news.wait()
                news = anyio.Event()
                while heard:
                    heard.pop()
                    self.hit()
        finally:
            for number, handler in before.items():
                signal.signal(number, handler)
