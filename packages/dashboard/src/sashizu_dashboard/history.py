"""Runs that were: those that left a trace in the state folder, and what the record tells of one."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Collection, Sequence
from pathlib import Path

from sashizu_core import control
from sashizu_core.control import RunInfo
from sashizu_core.errors import MissingPackage
from sashizu_core.specs import RecordRows

from sashizu_dashboard.record import Query, read_run
from sashizu_dashboard.shown import Shown

__all__ = ["MOST_SECONDS", "MOST_SHOWN_ROWS", "History"]

MOST_SHOWN_ROWS = 1_000
MOST_SECONDS = 30.0
_MOST_READ = 16
"""Runs that have ended are read once, and so many are kept."""


class History:
    """What is known of runs that are not followed. Everything here blocks."""

    def __init__(self, home: Path, query: Query | None) -> None:
        self._home = home
        self._query = query
        self._listed: tuple[object, list[RunInfo]] | None = None
        self._read: OrderedDict[str, Shown] = OrderedDict()

    def runs(self, at_work: Collection[str] = ()) -> Sequence[RunInfo]:
        """All runs, newest first; looked for again only where something changed."""
        try:
            changed: object = (self._home / "runs").stat().st_mtime_ns
        except OSError:
            changed = None
        state = (changed, frozenset(at_work))
        if self._listed is None or self._listed[0] != state:
            self._listed = (state, control.list_runs(self._home))
        return self._listed[1]

    def ask(self, sql: str) -> RecordRows:
        """One query of the record; that it was asked is recorded.

        Raises:
            MissingPackage: nobody keeps a record.
            UsageError: it is no query that is allowed, or took too long.
        """
        return self._asked(sql, MOST_SHOWN_ROWS, MOST_SECONDS)

    def read(self, run_id: str, *, ended: bool) -> Shown:
        """What is on record of a run, by its whole id.

        Raises:
            MissingPackage: nobody keeps a record.
            UsageError: the run is not on record, or a query took too long.
        """
        if (known := self._read.get(run_id)) is not None:
            return known
        shown = read_run(self._asked, run_id)
        if ended and shown.run.ended_ns is not None:
            self._read[run_id] = shown
            while len(self._read) > _MOST_READ:
                self._read.popitem(last=False)
        return shown

    def _asked(self, sql: str, limit: int, timeout_s: float) -> RecordRows:
        if self._query is None:
            raise MissingPackage("a record of runs", "sashizu-audit")
        return self._query(sql, limit, timeout_s)
