"""Says again and again that this process is there, so that what it was given stays its own."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress

from sashizu_core.errors import SashizuError
from sashizu_core.processes import this_process

from sashizu_gpu_driver.admission.controller import Controller

__all__ = ["beating"]


@contextmanager
def beating(controller: Controller) -> Iterator[None]:
    """While the block runs, its process speaks for what it has; from a thread that ends with it.

    A thread, because whoever blocks the event loop for a minute still has its place.
    """
    ended = threading.Event()

    def beat() -> None:
        while not ended.wait(controller.rules.beat_s):
            with suppress(SashizuError):  # the next beat comes before the lease is over
                controller.beat(this_process(), time.monotonic())

    thread = threading.Thread(target=beat, name="lease", daemon=True)
    thread.start()
    try:
        yield
    finally:
        ended.set()
        thread.join()
