"""What a person sees while a run goes on: a live display on a terminal, plain lines elsewhere.

Both are sinks that keep nothing, so they show what is recorded and nothing else.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING, Any

import anyio
from sashizu_core.events import Event
from sashizu_core.protocols import EventSink

from sashizu_cli import render
from sashizu_cli.json_text import json_text
from sashizu_cli.plain import one_line
from sashizu_cli.view import RunView, count_text, elapsed_text

if TYPE_CHECKING:
    from rich.console import Console
    from rich.live import Live
    from rich.text import Text

__all__ = ["Display", "JsonLines", "LiveDisplay", "PlainLines"]

_REFRESH_S = 0.125
_ASCII = str.maketrans({"█": "#", "░": "-", "…": "."})


class _Watcher(EventSink):
    """A sink that only looks: when nobody reads what it shows any more, the run goes on."""

    def __init__(self) -> None:
        self._gone = False

    def write(self, events: Sequence[Event]) -> None:
        if self._gone:
            return
        try:
            self.look(events)
        except (OSError, ValueError):  # a closed pipe, a full disk, a stream that was closed
            self._gone = True
            self.lost()

    def look(self, events: Sequence[Event]) -> None:
        """Show events.

        Raises:
            OSError, ValueError: they cannot be shown any more.
        """

    def lost(self) -> None:
        """Hear that nothing can be shown any more."""

    @property
    def persistent(self) -> bool:
        return False

    async def durable(self) -> None:
        """Nothing is kept, so nothing has to reach the disk."""

    def child_handoff(self) -> Mapping[str, str]:
        return {}


class JsonLines(_Watcher):
    """Every event as one JSON object per line: `seq`, `ts_ns`, `kind` and the event's columns.

    `seq` counts from 1 within this output; `ts_ns` is the wall clock in Unix nanoseconds. `lost` is
    called once when they cannot be written any more.
    """

    def __init__(
        self,
        write: Callable[[str], None],
        clock_ns: Callable[[], int] = time.time_ns,
        *,
        lost: Callable[[], None] = lambda: None,
    ) -> None:
        super().__init__()
        self._write = write
        self._clock_ns = clock_ns
        self._lost = lost
        self._seq = 0

    def look(self, events: Sequence[Event]) -> None:
        for event in events:
            self._seq += 1
            head = {"seq": self._seq, "ts_ns": self._clock_ns(), "kind": event.kind}
            self._write(json_text({**head, **event.fields}))

    def lost(self) -> None:
        self._lost()


class Display(_Watcher):
    """The common part of both displays; `view` is fed before anything is shown."""

    def __init__(self, view: RunView) -> None:
        super().__init__()
        self.view = view

    def look(self, events: Sequence[Event]) -> None:
        self.view.take(events)

    @contextmanager
    def shown(self) -> Iterator[None]:
        """Show it while the block runs."""
        yield

    @contextmanager
    def paused(self) -> Iterator[None]:
        """Leave the terminal to somebody else while the block runs."""
        yield

    async def keep_fresh(self) -> None:
        """Keep what is shown up to date until cancelled."""

    def close(self) -> None:
        """Give the terminal back, whatever goes on."""


class PlainLines(Display):
    """A line on stderr when an agent begins, is refused something, or ends."""

    def __init__(self, view: RunView) -> None:
        super().__init__(view)
        self._held: list[str] | None = None

    def look(self, events: Sequence[Event]) -> None:
        for event in events:
            self.view.take([event])
            text = self._text(event)
            if text and self._held is not None:
                self._held.append(text)
            elif text:
                render.note(text)

    @contextmanager
    def paused(self) -> Iterator[None]:
        held: list[str] = []
        self._held = held
        try:
            yield
        finally:
            self._held = None
            for text in held:
                render.note(text)

    def _text(self, event: Event) -> str:
        fields: Mapping[str, Any] = event.fields
        match event.kind:
            case "agent.started":
                return f"{self.view.row(fields).name}: started"
            case "agent.ended":
                row = self.view.row(fields)
                used = f"{count_text(row.tokens)} tokens, {elapsed_text(row.seconds(0))}"
                return f"{row.name}: {row.state} ({used})"
            case "security.denied":
                name = self.view.row(fields).name
                return (
                    f"{name}: denied {fields.get('tool', '')}: {fields.get('decision_reason', '')}"
                )
            case "model.failed":
                return self._waits(fields)
            case "budget.degraded" if told := window_told(event):
                return told
            case "budget.degraded":
                return f"{self.view.row(fields).name}: {_degraded(fields)}"
            case "budget.rebalanced":
                return f"{self.view.row(fields).name}: {_given(fields)}"
        return ""

    def _waits(self, fields: Mapping[str, Any]) -> str:
        """What is told of an attempt that a service wants to have later."""
        seconds = (fields.get("attrs") or {}).get("retry_after_s")
        if not seconds:
            return ""
        why = str(fields.get("error_type", "")).replace("_", " ")
        return f"{self.view.row(fields).name}: {why}, asked to wait {elapsed_text(seconds)}"


def window_told(event: Event) -> str:
    """What is told of a window of spend that is nearly used up; empty for any other event."""
    attrs = event.fields.get("attrs")
    if event.kind != "budget.degraded" or not isinstance(attrs, Mapping):
        return ""
    return f"nearly used up: {attrs.get('told', '')}" if attrs.get("how") == "window" else ""


def _degraded(fields: Mapping[str, Any]) -> str:
    """What an agent does as its budget, or its model, comes to an end."""
    attrs, model = fields.get("attrs") or {}, fields.get("model", "")
    match attrs.get("how"):
        case "fallback" if attrs.get("why") == "provider":
            return f"its model failed ({attrs.get('fault', '')}), going on with {model}"
        case "fallback":
            return f"close to its limit, going on with {model}"
        case "returned":
            return f"its fallback does not fit, going on with {model}"
        case _:
            return "close to its limit, wrapping up"


def _given(fields: Mapping[str, Any]) -> str:
    """What an agent got of what another left."""
    attrs, unit = fields.get("attrs") or {}, fields.get("budget_unit")
    amount = int(attrs.get("amount", 0))
    text = f"{amount / 1e9:.4f} USD" if unit == "nusd" else f"{amount:,} {unit}"
    return f"got {text} that {attrs.get('from', 'another')} left"


class LiveDisplay(Display):
    """Rich's live display on stderr: one line per agent and a total."""

    def __init__(self, view: RunView, console: Console) -> None:
        super().__init__(view)
        self._console = console
        self._live: Live | None = None
        self._shown = False
        self._only_ascii = not console.encoding.lower().startswith("utf")

    def look(self, events: Sequence[Event]) -> None:
        super().look(events)
        for event in events:
            if told := window_told(event):  # stays above what changes
                text = f"sashizu: {one_line(told)}"
                text = _in_ascii(text) if self._only_ascii else text
                self._console.print(text, markup=False, highlight=False, soft_wrap=True)

    def picture(self) -> Text:
        """What is shown now."""
        from rich.text import Text

        size = self._console.size
        picture = Text(no_wrap=True, overflow="crop")
        for number, (line, row) in enumerate(self.view.lines(size.width, size.height)):
            style = "bold" if row is None else _style(row.at_work, row.ok)
            text = _in_ascii(line) if self._only_ascii else line
            picture.append(("\n" if number else "") + text, style)
        return picture

    @contextmanager
    def shown(self) -> Iterator[None]:
        self._shown = True
        self._open()
        try:
            yield
        finally:
            self._shown = False
            self.close()

    @contextmanager
    def paused(self) -> Iterator[None]:
        self.close()
        try:
            yield
        finally:
            if self._shown:
                self._open()

    async def keep_fresh(self) -> None:
        while self._shown:
            if self._live is not None:
                try:
                    self._live.refresh()
                except (OSError, ValueError):  # the terminal is gone; the agents go on
                    self._shown = False
                    self.close()
            await anyio.sleep(_REFRESH_S)

    def close(self) -> None:
        if self._live is not None:
            with suppress(OSError, ValueError):
                self._live.stop()
            self._live = None

    def _open(self) -> None:
        from rich.live import Live

        # refreshed by a task of ours: rich's own thread would outlive a crash of the loop
        self._live = Live(
            get_renderable=self.picture, console=self._console, auto_refresh=False, transient=True
        )
        self._live.start()


def _style(at_work: bool, ok: bool) -> str:
    if at_work:
        return ""
    return "green" if ok else "red"


def _in_ascii(line: str) -> str:
    return line.translate(_ASCII).encode("ascii", "replace").decode()
