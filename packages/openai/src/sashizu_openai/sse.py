"""Cut the body of an answer into events: server-sent events, or one JSON document."""

from __future__ import annotations

from dataclasses import dataclass

from sashizu_core.errors import ModelError

__all__ = ["LARGEST_BODY", "LARGEST_EVENT", "Event", "EventReader"]

LARGEST_EVENT = 16 * 1024 * 1024
LARGEST_BODY = 64 * 1024 * 1024
"""Bytes of an event and of a whole answer, decompressed, above which nothing is read."""

_BOM = b"\xef\xbb\xbf"


@dataclass(frozen=True, slots=True)
class Event:
    """One event. `name` is "" where the stream named none; `whole` marks a JSON document."""

    name: str
    data: bytes
    whole: bool = False


class EventReader:
    """Feed it the body piece by piece; comments and unknown fields are ignored.

    Follows the event-stream format of the HTML standard (section 9.2.6), but waits for a line feed:
    a stream that ends its lines with nothing but carriage returns is read when it has ended.
    """

    def __init__(self) -> None:
        self._size = 0
        self._unread: list[bytes] = []
        self._unread_size = 0
        self._kind = ""
        self._name = ""
        self._data: list[bytes] = []
        self._data_size = 0

    @property
    def whole(self) -> bool:
        """Whether the body is one JSON document, which ends when the body ends."""
        return self._kind == "json"

    def feed(self, piece: bytes) -> list[Event]:
        """The events that this piece completes.

        Raises:
            ModelError: the body is a web page, or larger than anything a model says.
        """
        self._size += len(piece)
        self._unread.append(piece)
        self._unread_size += len(piece)
        if self._size > LARGEST_BODY or self._unread_size + self._data_size > LARGEST_EVENT:
            raise ModelError(
                f"the answer is too large: more than {LARGEST_EVENT} bytes in one event "
                f"or {LARGEST_BODY} in all",
                fault="protocol",
                sent=True,
            )
        if not self._kind:
            self._recognise()
        if self._kind != "events" or b"\n" not in piece:
            return []
        body = b"".join(self._unread)
        cut = body.rfind(b"\n") + 1
        self._keep(body[cut:])
        return self._events(body[:cut])

    def end(self) -> list[Event]:
        """What is left when the body has ended."""
        body = b"".join(self._unread)
        self._keep(b"")
        if self._kind == "json":
            return [Event("", body, whole=True)]
        return self._events(body + b"\n\n")

    def _keep(self, rest: bytes) -> None:
        self._unread = [rest] if rest else []
        self._unread_size = len(rest)

    def _recognise(self) -> None:
        """Tell by the first byte; content types are often wrong."""
        body = b"".join(self._unread)
        if len(body) < len(_BOM) and _BOM.startswith(body):
            return
        start = body.removeprefix(_BOM).lstrip()
        self._keep(start)
        if not start:
            return
        if start.startswith(b"<"):
            raise ModelError(
                "a web page came back instead of an answer: is the base URL right, "
                "or is a gateway or proxy in the way?",
                fault="transport",
                sent=True,
            )
        self._kind = "json" if start[:1] in b"{[" else "events"

    def _events(self, lines: bytes) -> list[Event]:
        events = []
        for line in lines.splitlines():
            if not line:
                if self._data:
                    events.append(Event(self._name, b"\n".join(self._data)))
                self._name, self._data, self._data_size = "", [], 0
                continue
            field, _, value = line.partition(b":")
            if field == b"data":
                self._data.append(value.removeprefix(b" "))
                self._data_size += len(value)
            elif field == b"event":
                self._name = value.removeprefix(b" ").decode("utf-8", "replace")
        return events
