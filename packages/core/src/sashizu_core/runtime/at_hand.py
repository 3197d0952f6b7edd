"""One work at hand: done within its time, and stopped at once when somebody says so."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from time import time
from typing import Any

import anyio

from sashizu_core.errors import SashizuError, UsageError, nearest
from sashizu_core.executors import Operation, Work, WorkContext, WorkState, WorkStatus, as_json

__all__ = ["WorkAtHand", "known_operation"]

logger = logging.getLogger(__name__)


def known_operation(operations: Mapping[str, Operation], name: str) -> Operation:
    """What has that name.

    Raises:
        UsageError: nothing has; names the nearest.
    """
    if name in operations:
        return operations[name]
    known = ", ".join(sorted(operations)) or "none"
    raise UsageError(f"unknown operation {name!r}{nearest(name, operations)}; known: {known}")


class WorkAtHand:
    """Does a work and says what became of it; whatever it raises is that."""

    def __init__(self, work: Work, worker: str) -> None:
        self.work = work
        self._worker = worker
        self._scope = anyio.CancelScope()
        self._reason: str | None = None

    def cancel(self, reason: str) -> None:
        """Have it end: a step that is running is cancelled."""
        if self._reason is None:
            self._reason = reason or "cancelled"
            self._scope.cancel()

    async def done(self, operation: Operation, context: WorkContext) -> WorkStatus:
        """Do it, until its deadline at most; who cancels the caller gets no status."""
        work = self.work
        if work.deadline is not None:
            self._scope.deadline = anyio.current_time() + work.deadline - time()
        result = None
        with self._scope:
            try:
                result = as_json(await operation(context), f"what {work.operation!r} gives")
            except Exception as error:  # noqa: BLE001 - it becomes what is told of the work
                return self._failed(error)
        if self._reason is not None and self._scope.cancelled_caught:
            return self._status("cancelled", error=self._reason)
        if self._scope.cancelled_caught:
            return self._status("timeout", error="its deadline has passed")
        return self._status("ok", result)

    def _failed(self, error: Exception) -> WorkStatus:
        """What became of a work that raised: the first error made for people says it."""
        found: BaseException = error
        if isinstance(error, BaseExceptionGroup):
            found = error.subgroup(SashizuError) or error
        while isinstance(found, BaseExceptionGroup):
            found = found.exceptions[0]
        if isinstance(found, SashizuError):
            return self._status("error", error=str(found))
        logger.error("the work %s ended by an error nobody expected", self.work.key, exc_info=error)
        return self._status("error", error=f"unexpected {type(found).__name__}: {found}")

    def _status(self, state: WorkState, result: Any = None, error: str = "") -> WorkStatus:
        return WorkStatus(self.work.key, state, result, error, self._worker)
