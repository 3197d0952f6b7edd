"""Invocations at work: begun by threads of Windows, carried out in our event loop, told of once."""

from __future__ import annotations

import itertools
import threading
from collections.abc import Awaitable, Callable
from contextlib import suppress
from typing import Literal

import anyio
import anyio.to_thread
from anyio.abc import TaskGroup

from sashizu_winai.apartment import from_any_thread
from sashizu_winai.errors import WindowsAiError
from sashizu_winai.hosting.calls import ActionProvider, HostedAnswer, HostedCall

__all__ = ["HostedCalls", "HostedRun", "RunState"]

RunState = Literal["started", "completed", "canceled", "error"]
Deliver = Callable[[HostedAnswer], Awaitable[None]]

_ABORTED = 0x80004004
_FAILED = 0x80004005
_LAST_WORDS_S = 5.0
_ids = itertools.count(1)


class HostedRun:
    """One invocation, as an asynchronous operation of Windows is seen: state, end, cancelling.

    All members may be used from any thread.
    """

    def __init__(self) -> None:
        self.id = next(_ids)
        self.state: RunState = "started"
        self.hresult = 0
        self.begun = False
        self._lock = threading.Lock()
        self._tell: Callable[[RunState], None] | None = None
        self._cancel: Callable[[], None] | None = None
        self._given_up = False

    def on_end(self, tell: Callable[[RunState], None]) -> None:
        """Have the end told once; at once if it has ended."""
        with self._lock:
            if self.state == "started":
                self._tell = tell
                return
        tell(self.state)

    def end(self, state: RunState, hresult: int = 0) -> None:
        """It has ended; what comes after the first end changes nothing."""
        with self._lock:
            if self.state != "started":
                return
            self.state, self.hresult = state, hresult
            tell, self._tell = self._tell, None
        if tell is not None:
            tell(state)

    def on_cancel(self, cancel: Callable[[], None]) -> None:
        """What ends the work; called at once where it was given up before."""
        with self._lock:
            self._cancel = cancel
            given_up = self._given_up
        if given_up:
            cancel()

    def cancel(self) -> None:
        """Give it up. It ends as `canceled` when the work has ended."""
        with self._lock:
            self._given_up = True
            cancel = self._cancel
        if cancel is not None:
            cancel()


class HostedCalls:
    """The invocations of one provider. They belong to `group`."""

    def __init__(self, group: TaskGroup, provider: ActionProvider) -> None:
        self._group = group
        self._provider = provider
        self._start = from_any_thread(self._started)

    def begin(self, call: HostedCall, deliver: Deliver) -> HostedRun:
        """Begin an invocation; to be called in any thread.

        Args:
            call: what is asked.
            deliver: gives the answer to Windows, before the run has ended.
        """
        run = HostedRun()
        self._start(run, call, deliver)
        if not run.begun:  # nobody works any more
            run.end("error", _ABORTED)
        return run

    def _started(self, run: HostedRun, call: HostedCall, deliver: Deliver) -> None:
        with suppress(RuntimeError):  # the group has ended, and takes no more work
            self._group.start_soon(self._work, run, call, deliver)
            run.begun = True

    async def _work(self, run: HostedRun, call: HostedCall, deliver: Deliver) -> None:
        state: RunState = "canceled"
        code = 0
        try:
            with anyio.CancelScope() as scope:
                run.on_cancel(from_any_thread(scope.cancel))
                await deliver(await self._provider.invoke(call))
                state = "completed"
        except WindowsAiError as error:
            state, code = "error", error.hresult or _FAILED
        except Exception:
            state, code = "error", _FAILED
            raise
        finally:
            with anyio.CancelScope(shield=True), anyio.move_on_after(_LAST_WORDS_S):
                await _told(run, state, code)


async def _told(run: HostedRun, state: RunState, code: int) -> None:
    """Tell the end in a thread: whoever hears of it may be slow, and may be gone."""
    with suppress(OSError):
        await anyio.to_thread.run_sync(run.end, state, code, abandon_on_cancel=True)
