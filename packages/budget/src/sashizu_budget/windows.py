"""Windows of spend: what all processes of a user may spend in a day, in a month, in a project.

They stand above the root of every tree of a budget. A process draws from all of them at once, and
reserves in memory from what it drew.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime
from time import monotonic

from sashizu_core.drawing import NEVER_NS, Shortage
from sashizu_core.processes import this_process
from sashizu_core.types import UNITS, Amount, Limits, SpendWindow

from sashizu_budget.periods import day_of, next_start, zone
from sashizu_budget.spend_connection import SpendFile
from sashizu_budget.spend_store import SHARE
from sashizu_budget.units import Four, amount_text, first_asked
from sashizu_budget.window_rows import Keys, Stand, WindowRows

__all__ = ["WindowSource", "Windows", "WindowsNow"]

LOOKS_S = 1.0
"""How old what a process knows of the windows may be that it only tells, in seconds."""

KEEPS_S = 0.25
"""How long a process that has just begun to be idle keeps what it drew, in seconds."""


@dataclass(frozen=True, slots=True)
class WindowsNow:
    """All windows of a project as they are now. `behind` says that the clock went back."""

    stands: Sequence[Stand]
    zone: str
    behind: bool


class Windows:
    """The windows in the file, as seen from one project. Thread-safe.

    `project` is the absolute path of the workspace folder.
    """

    def __init__(self, file: SpendFile, project: str) -> None:
        self._file = file
        self.project = project
        self.now_ns = file.now_ns

    @contextmanager
    def change(self) -> Iterator[WindowRows]:
        """One transaction of the rows."""
        with self._file.change() as db:
            yield WindowRows(db, self._file.now_ns())

    def stands(self) -> list[Stand]:
        """How the windows stand, without a word to anybody else who uses them."""
        with self._file.look() as db:
            rows = WindowRows(db, self._file.now_ns())
            return rows.stands(rows.keys_seen(self.project))

    def source(self) -> WindowSource | None:
        """Something to draw from; None while no window of any project is limited.

        Raises:
            SashizuError: the file cannot be read.
        """
        if not self._file.path.exists():
            return None
        with self.change() as rows:
            if not rows.any_limit():
                return None
            rows.reap()
            keys = rows.keys(self.project)
            limited = [
                any(stand.limits[i] is not None for stand in rows.stands(keys))
                for i in range(len(UNITS))
            ]
            return WindowSource(self, rows.add_chunk(this_process(), keys), keys, limited)

    def set(self, scope: str, limits: Limits) -> None:
        """Replace the limits of a window. From now on windows follow the clock, wherever it is."""
        with self.change() as rows:
            rows.set_limits(scope, self.project, [getattr(limits, unit) for unit in UNITS])
            rows.follow_clock(day_of(self._file.now_ns()))
            shown = [getattr(limits, unit) for unit in UNITS]
            rows.note(None, f"set {scope}", shown, rows.keys(self.project))

    def now(self) -> WindowsNow:
        """How the windows stand; what dead processes had drawn is charged first."""
        at_ns = self._file.now_ns()
        if not self._file.path.exists():
            day = day_of(at_ns)
            keys = (day, day[:7], self.project)
            none: Four = (0, 0, 0, 0)
            scopes = zip(("day", "month", "project"), keys, strict=True)
            stands = [Stand(scope, key, (None,) * 4, none, none) for scope, key in scopes]
            return WindowsNow(stands, zone(at_ns), behind=False)
        with self.change() as rows:
            rows.reap()
            keys = rows.keys(self.project)
            return WindowsNow(rows.stands(keys), zone(at_ns), keys[0] > day_of(at_ns))

    def days(self, most: int) -> list[Stand]:
        """The latest days on which anything was spent or held, the latest first."""
        if not self._file.path.exists():
            return []
        with self.change() as rows:
            rows.reap()
            return rows.days(most)


class WindowSource:
    """The windows as something to draw from; see `Source`."""

    keeps_s = KEEPS_S
    name = "windows"
    limits = Limits()

    def __init__(
        self, windows: Windows, chunk: int, keys: Keys, drawn_units: Sequence[bool]
    ) -> None:
        self._windows = windows
        self._chunk = chunk
        self.drawn_units = drawn_units
        self.until_ns = _until_ns(keys)
        self.now_ns = windows.now_ns
        self._seen: Sequence[Stand] = ()
        self._seen_until = 0.0

    def draw(
        self, spent: Four, back: Four, need: Four, asked: Four
    ) -> tuple[Four, Four] | Shortage:
        self._seen_until = 0.0
        with self._windows.change() as rows:
            rows.book(self._chunk, spent, back)
            chunk = rows.chunk(self._chunk)
            if chunk is None:
                return Shortage(first_asked(asked), 0, final=True, ended=True)
            before, had = chunk
            keys = rows.keys(self._windows.project)
            # Another process may have seen the next day first: what is drawn goes along with us.
            all_of_it = _four([n + h for n, h in zip(need, had, strict=True)])
            wanted = [
                need if key == old else all_of_it for key, old in zip(keys, before, strict=True)
            ]
            short = _shortage(rows.stands(keys), wanted, asked)
            if short is not None and rows.reap():
                short = _shortage(rows.stands(keys), wanted, asked)
            if short is not None:
                return short
            if keys != before:
                rows.move(self._chunk, keys)
            spare = _spare(rows.stands(keys), need)
            drawn = _four([n + s for n, s in zip(need, spare, strict=True)])
            rows.hold(self._chunk, keys, drawn)
            rows.note(self._chunk, "drawn", drawn, keys)
        self.until_ns = _until_ns(keys)
        return drawn, spare

    def book(self, spent: Four, back: Four) -> bool:
        self._seen_until = 0.0
        with self._windows.change() as rows:
            return rows.book(self._chunk, spent, back)

    def leave(self, spent: Four) -> None:
        with self._windows.change() as rows:
            found = rows.chunk(self._chunk)
            if found is None:
                return
            rows.book(self._chunk, spent, found[1])
            rows.drop(self._chunk)

    def hopeless(self, asked: Four, unbooked: Four, free: Four) -> Shortage | None:
        with self._windows.change() as rows:
            for stand in rows.stands(rows.keys(self._windows.project)):
                for i, wanted in enumerate(asked):
                    limit = stand.limits[i]
                    if limit is not None and wanted > limit - stand.spent[i] - unbooked[i]:
                        return _short(stand, i, free[i], final=True)
        return None

    def more(self, unit: int) -> int:
        with self._windows.change() as rows:
            stands = rows.stands(rows.keys(self._windows.project))
        lefts = [left for stand in stands if (left := stand.left(unit)) is not None]
        return min(lefts, default=0)

    def windows(self, unbooked: Four, free: Four) -> list[SpendWindow]:
        if monotonic() >= self._seen_until:
            self._seen = self._windows.stands()
            self._seen_until = monotonic() + LOOKS_S
        return [_spend_window(stand, unbooked, free) for stand in self._seen if stand.limited]


def _spend_window(stand: Stand, unbooked: Four, free: Four) -> SpendWindow:
    """A window; what was spent of a chunk and not booked, and what is free of it, is held there."""
    spent = [s + more for s, more in zip(stand.spent, unbooked, strict=True)]
    held = [max(0, h - u - f) for h, u, f in zip(stand.held, unbooked, free, strict=True)]
    return SpendWindow(
        stand.name,
        Limits(**dict(zip(UNITS, stand.limits, strict=True))),
        Amount(*spent),
        Amount(*held),
        next_start(stand.scope, stand.key),
    )


def _shortage(stands: Sequence[Stand], wanted: Sequence[Four], asked: Four) -> Shortage | None:
    """Why what is wanted of each window cannot be drawn.

    Final where what was asked would not fit if nothing were held.
    """
    busy: Shortage | None = None
    for stand, needs in zip(stands, wanted, strict=True):
        for unit, need in enumerate(needs):
            limit, left = stand.limits[unit], stand.left(unit)
            if limit is None or left is None or need <= left:
                continue
            free = max(0, asked[unit] - need) if need else 0
            short = _short(stand, unit, free, final=asked[unit] > limit - stand.spent[unit])
            if short.final:
                return short
            busy = busy or short
    return busy


def _short(stand: Stand, unit: int, free: int, *, final: bool) -> Shortage:
    """Of what is held, `free` is what who asks has drawn and not used: nothing that is missing."""
    limit = stand.limits[unit] or 0
    starts = next_start(stand.scope, stand.key)
    again = f", starts anew at {_minute(starts)}" if starts is not None else ""
    remedy = (
        f"the limit of this {stand.scope} is {amount_text(unit, limit)}, of which "
        f"{amount_text(unit, stand.spent[unit])} are spent and "
        f"{amount_text(unit, max(0, stand.held[unit] - free))} held{again}: "
        f"'sashizu budget set --{stand.scope} LIMIT' changes it"
    )
    return Shortage(unit, stand.left(unit) or 0, final=final, name=stand.name, remedy=remedy)


def _spare(stands: Sequence[Stand], need: Four) -> Four:
    """What is drawn beyond what is needed."""
    spare = [0, 0, 0, 0]
    for unit, wanted in enumerate(need):
        lefts = [left for stand in stands if (left := stand.left(unit)) is not None]
        if wanted:  # without any limit, about as much again
            spare[unit] = min((min(left - wanted, left // SHARE) for left in lefts), default=wanted)
    return _four(spare)


def _until_ns(keys: Keys) -> int:
    starts = next_start("day", keys[0])
    return NEVER_NS if starts is None else int(starts.timestamp()) * 10**9


def _minute(at: datetime) -> str:
    return at.isoformat(" ", "minutes")


def _four(values: Sequence[int]) -> Four:
    tokens, nusd, requests, agents = values
    return tokens, nusd, requests, agents
