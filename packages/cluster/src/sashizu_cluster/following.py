"""Follows many works with one question at a time, however many wait for news of them."""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

import anyio
from anyio import to_thread

from sashizu_cluster.board import News
from sashizu_cluster.errors import DatabaseGone

__all__ = ["Following"]

logger = logging.getLogger(__name__)

LOOK_S = 0.2
"""How often it is looked, in seconds."""

_PATIENCE_S = 60.0
"""How long a server may be away before those who wait hear of it, in seconds."""


@dataclass(eq=False, slots=True)
class _Waiting:
    key: str
    after: int
    news: News | None = None
    error: Exception | None = None
    there: anyio.Event = field(default_factory=anyio.Event)


class Following:
    """Waits for what is new of works; `ask` gives the news of some, and blocks."""

    def __init__(self, ask: Callable[[Sequence[str]], Mapping[str, News]]) -> None:
        self._ask = ask
        self._waiting: set[_Waiting] = set()
        self._some = anyio.Event()

    async def news(self, key: str, after: int, *, ended: bool = False) -> News | None:
        """Wait until a work has told more, or has ended; None where it is gone.

        With `ended`, only its end counts.

        Raises:
            DatabaseGone: the server was away for a minute.
        """
        waiting = _Waiting(key, -1 if ended else after)
        self._waiting.add(waiting)
        self._some.set()
        try:
            await waiting.there.wait()
        finally:
            self._waiting.discard(waiting)
        if waiting.error is not None:
            raise waiting.error
        return waiting.news

    async def look(self) -> None:
        """Look until cancelled; a server that is away is waited for."""
        away_since: float | None = None
        while True:
            await self._some.wait()
            try:
                await self._looked()
                away_since = None
            except DatabaseGone as error:
                now = anyio.current_time()
                away_since = now if away_since is None else away_since
                if now - away_since > _PATIENCE_S:
                    self._tell(error)
            if not self._waiting:
                self._some = anyio.Event()
            await anyio.sleep(LOOK_S)

    async def _looked(self) -> None:
        keys = sorted({waiting.key for waiting in self._waiting})
        found = await to_thread.run_sync(self._ask, keys) if keys else {}
        for waiting in list(self._waiting):
            if waiting.key not in keys:
                continue
            news = found.get(waiting.key)
            more = news is None or news.final or -1 < waiting.after < news.told
            if more:
                waiting.news = news
                waiting.there.set()

    def _tell(self, error: Exception) -> None:
        for waiting in self._waiting:
            waiting.error = error
            waiting.there.set()
