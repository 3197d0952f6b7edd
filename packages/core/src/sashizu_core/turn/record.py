"""Makes events with the context of who acts, and hands them to every sink."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from sashizu_core.events import Event
from sashizu_core.protocols import EventSink
from sashizu_core.redaction import Redactor

__all__ = ["Recorder"]


class Recorder:
    """Writes events of one subject (a run, an agent instance) into all sinks.

    `context` are the columns that every event of the subject carries; `redactor` takes secrets out
    of events before any sink, or any digest, sees them. Outcomes that lose nothing
    when they are late travel with the next write, which halves the writes of a step: `later` keeps
    them, and whoever is about to wait calls `flush`.
    """

    __slots__ = ("_late", "_persistent", "_sinks", "context", "redactor")

    def __init__(
        self,
        sinks: Sequence[EventSink],
        context: Mapping[str, object],
        redactor: Redactor | None = None,
    ) -> None:
        self.redactor = redactor if redactor is not None else Redactor()
        self._sinks = tuple(sinks)
        self._persistent = tuple(sink for sink in sinks if sink.persistent)
        self._late: list[Event] = []
        given = {name: value for name, value in context.items() if value is not None}
        self.context: Mapping[str, object] = self.redactor.fields(given)

    def derive(self, **context: object) -> Recorder:
        """A recorder of a narrower subject."""
        return Recorder(self._sinks, {**self.context, **context}, self.redactor)

    def event(self, kind: str, fields: Mapping[str, Any]) -> Event:
        return Event(kind, {**self.context, **self.redactor.fields(fields)})

    def write(self, events: Sequence[Event]) -> None:
        """Record events, in order, after what is late. On return they survive the process.

        Raises:
            RecordError: a sink did not take them.
        """
        if self._late:
            events = [*self._late, *events]
            self._late = []
        for sink in self._sinks:
            sink.write(events)

    def later(self, events: Sequence[Event]) -> None:
        """Keep events until the next write or flush of this subject."""
        self._late += events

    def flush(self) -> None:
        """Write what is late."""
        if self._late:
            self.write(())

    async def durable(self) -> None:
        """Return when everything written so far survives a power cut."""
        self.flush()
        for sink in self._persistent:
            await sink.durable()

    async def record(self, events: Iterable[Event]) -> None:
        """Write events, and wait for the disk if one of them has to."""
        batch = tuple(events)
        self.write(batch)
        if any(event.durable for event in batch):
            await self.durable()
