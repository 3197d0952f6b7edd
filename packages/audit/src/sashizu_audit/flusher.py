"""Brings what was written onto the disk: one thread, a group at a time."""

from __future__ import annotations

import threading
from collections.abc import Callable
from contextlib import suppress
from typing import Any

import anyio
from anyio.lowlevel import checkpoint, current_token
from sashizu_core.errors import RecordError

__all__ = ["Flusher"]


class Flusher:
    """Calls `sync` every `interval_s` when there is something new, and at once when somebody waits.

    Everybody who comes to wait during one sync is served by the next. After a sync has failed
    nobody can tell what is on the disk: it is never tried again, and everybody who waits hears it.
    """

    def __init__(self, sync: Callable[[], None], interval_s: float) -> None:
        self.error: OSError | None = None
        self._sync = sync
        self._interval_s = interval_s
        self._changed = threading.Condition()
        self._noted = 0
        self._synced = 0
        self._idle = False
        self._urgent = False
        self._stopping = False
        self._waiting: dict[Any, anyio.Event] = {}
        self._thread = threading.Thread(target=self._run, name="sashizu-audit", daemon=True)
        self._thread.start()

    def note(self) -> None:
        """Hear that something was written. Called by one thread at a time."""
        self._noted += 1
        if self._idle:
            with self._changed:
                self._idle = False
                self._changed.notify_all()

    async def durable(self) -> None:
        """Return when everything noted so far is on the disk.

        Raises:
            RecordError: nobody can tell whether it is.
        """
        event = self._join()
        if event is None:
            await checkpoint()
        else:
            await event.wait()
        self._check()

    def flush(self) -> None:
        """`durable` for callers without an event loop; blocks.

        Raises:
            RecordError: nobody can tell whether it is.
        """
        with self._changed:
            target = self._noted
            while self._synced < target and self.error is None:
                self._hurry()
                self._changed.wait()
        self._check()

    def stop(self) -> None:
        """Sync what is left, and end the thread."""
        with self._changed:
            self._stopping = True
            self._changed.notify_all()
        self._thread.join()

    def _check(self) -> None:
        if self.error is not None:
            raise RecordError(
                f"the record could not be brought to the disk: {self.error.strerror}; "
                "what was written last may be lost by a power cut, so nothing further is done"
            ) from self.error

    def _join(self) -> anyio.Event | None:
        """The event of the next group, or None if there is nothing to wait for."""
        loop = current_token().native_token
        with self._changed:
            if self._synced == self._noted or self.error is not None:
                return None
            # One event serves everybody who waits on the same event loop.
            event = self._waiting.get(loop)
            if event is None:
                event = self._waiting[loop] = anyio.Event()
            self._hurry()
            return event

    def _hurry(self) -> None:
        self._urgent = True
        self._idle = False
        self._changed.notify_all()

    # --- the thread -------------------------------------------------------------------------------

    def _run(self) -> None:
        while self._wait_for_work():
            with self._changed:
                target = self._noted
                waiting, self._waiting = self._waiting, {}
                self._urgent = False
            failure: OSError | None = None
            try:
                self._sync()
            except OSError as error:
                failure = error
            served = [waiting]
            with self._changed:
                if failure is None:
                    self._synced = target
                else:
                    self.error = failure
                    served.append(self._waiting)  # they need not wait for a sync that never comes
                self._changed.notify_all()
            for group in served:
                _wake(group)
            if failure is not None:
                return

    def _wait_for_work(self) -> bool:
        """Wait until a group is due; False when there will be none."""
        with self._changed:
            # Set before looking: whoever writes from here on will see it and notify.
            self._idle = True
            while self._noted == self._synced and not self._stopping:
                self._changed.wait()
                self._idle = True
            self._idle = False
            if not (self._urgent or self._stopping):
                self._changed.wait_for(lambda: self._urgent or self._stopping, self._interval_s)
            return self._noted != self._synced


def _wake(waiting: dict[Any, anyio.Event]) -> None:
    """Set events that belong to other threads' event loops, without waiting for those.

    `anyio.from_thread` would wait for the loop, and for ever if the loop has just ended.
    """
    for loop, event in waiting.items():
        call_soon = getattr(loop, "call_soon_threadsafe", None) or loop.run_sync_soon
        with suppress(RuntimeError):  # the loop has ended: nobody waits
            call_soon(event.set)
