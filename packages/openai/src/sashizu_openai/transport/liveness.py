"""Whether something waits to be read from a socket."""

from __future__ import annotations

import select
from typing import Any

__all__ = ["has_input"]


def has_input(sock: Any) -> bool:
    """Whether a socket could be read from at once: data, its end, or an error."""
    try:
        number = sock.fileno()
        if number < 0:
            return True
        if hasattr(select, "poll"):  # where there is none, any number fits into select
            watch = select.poll()
            watch.register(number, select.POLLIN)
            return bool(watch.poll(0))
        return bool(select.select([number], [], [], 0)[0])
    except (OSError, ValueError):
        return True
