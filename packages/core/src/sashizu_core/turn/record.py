"""Makes events with the context of who acts, and hands them to every sink."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from sashizu_core.errors import RecordError
from sashizu_core.events import Event
from sashizu_core.protocols import ContentSink, EventSink, LinkingSink
from sashizu_core.redaction import Redactor

__all__ = ["Recorder"]


class Recorder:
    """Writes events of one subject (a run, an agent instance) into all sinks.

    `context` are the columns that every event of the subject carries; `redactor` takes secrets out
    of events before any sink, or any digest, sees them. Outcomes that lose nothing
    when they are late travel with the next write, which halves the writes of a step: `later` keeps
    them, and whoever is about to wait calls `flush`.
    """

    __slots__ = ("_keepers", "_late", "_persistent", "_sinks", "context", "redactor")

    def __init__(
        self,
        sinks: Sequence[EventSink],
        context: Mapping[str, object],
        redactor: Redactor | None = None,
    ) -> None:
        self.redactor = redactor if redactor is not None else Redactor()
        self._sinks = tuple(sinks)
        self._persistent = tuple(sink for sink in sinks if sink.persistent)
        self._keepers = tuple(
            sink for sink in sinks if isinstance(sink, ContentSink) and sink.keeps_content
        )
        self._late: list[Event] = []
        given = {name: value for name, value in context.items() if value is not None}
        self.context: Mapping[str, object] = self.redactor.fields(given)

    def derive(self, **context: object) -> Recorder:
        """A recorder of a narrower subject."""
        return Recorder(self._sinks, {**self.context, **context}, self.redactor)

    def event(self, kind: str, fields: Mapping[str, Any]) -> Event:
        return Event(kind, {**self.context, **self.redactor.fields(fields)})

    @property
    def keeps_content(self) -> bool:
        """Whether texts are kept beside the events."""
        return bool(self._keepers)

    def keep(self, *texts: str, last_words: bool = False) -> dict[str, Any]:
        """Keep texts beside the events, without secrets; returns the columns that name them.

        Of `last_words`, which tell of something that has happened, what cannot be kept is left out.

        Raises:
            RecordError: a text cannot be kept.
        """
        if not self._keepers:
            return {}
        digests = []
        for text in filter(None, map(self.redactor.text, texts)):
            try:
                kept = [keeper.keep(text) for keeper in self._keepers]
            except RecordError:
                if not last_words:
                    raise
                continue
            digests += [digest for digest in kept if digest is not None][:1]
        return {"blobs": digests} if digests else {}

    def child_handoff(self) -> Mapping[str, str]:
        """What a process that is about to be started needs to write into the same record.

        Raises:
            RecordError: it cannot be announced.
        """
        for sink in self._persistent:
            return sink.child_handoff()
        return {}

    def child_ended(self, handoff: Mapping[str, str]) -> None:
        """Write down how far the record of such a process goes, now that it has ended.

        Raises:
            RecordError: it cannot be written.
        """
        for sink in self._persistent[:1]:
            if isinstance(sink, LinkingSink):
                sink.child_ended(handoff)

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
