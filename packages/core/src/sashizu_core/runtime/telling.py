"""A sink that tells whoever follows a work what is recorded of it; it keeps nothing."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import anyio

from sashizu_core.events import Event
from sashizu_core.executors import WorkContext, WorkEvent

__all__ = ["Telling", "begun_work", "told_events"]

_MOST = 200
"""Events that are told at once."""


class Telling:
    """Collects events, and tells them in the order in which they came."""

    def __init__(self) -> None:
        self._waiting: list[Event] = []
        self._more = anyio.Event()
        self._one_at_a_time = anyio.Lock()

    @property
    def persistent(self) -> bool:
        return False

    def write(self, events: Sequence[Event]) -> None:
        self._waiting += events
        self._more.set()

    async def durable(self) -> None:
        """Nothing is kept here."""

    def child_handoff(self) -> Mapping[str, str]:
        return {}

    async def tell_all(self, context: WorkContext) -> None:
        """Tell what comes, until cancelled."""
        while True:
            await self._more.wait()
            self._more = anyio.Event()
            await self.close(context)

    async def close(self, context: WorkContext) -> None:
        """Tell what has come so far."""
        async with self._one_at_a_time:
            while self._waiting:
                batch = self._waiting[:_MOST]
                await context.tell(
                    {"events": [[event.kind, _plain(event.fields)] for event in batch]}
                )
                del self._waiting[: len(batch)]


def _plain(fields: Mapping[str, object]) -> dict[str, Any]:
    return {name: value for name, value in fields.items() if value is not None}


def told_events(event: WorkEvent) -> list[Event]:
    """The events that were told; none where it was something else."""
    told = event.value.get("events") if isinstance(event.value, dict) else None
    return [Event(str(kind), fields) for kind, fields in told or ()]


def begun_work(event: WorkEvent) -> list[str]:
    """The keys of works that were begun beneath the one that told this."""
    told = event.value.get("begun") if isinstance(event.value, dict) else None
    return [str(key) for key in told or ()]
