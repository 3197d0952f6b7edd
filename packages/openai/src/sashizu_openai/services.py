"""What all models at one endpoint share: connections, slots, and what was learned of its bills."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import AbstractAsyncContextManager, asynccontextmanager, nullcontext
from dataclasses import dataclass

import anyio
from anyio.lowlevel import EventLoopToken, current_token
from sashizu_core.bounds import Overhead

from sashizu_openai.client import Client
from sashizu_openai.endpoints import Endpoint

__all__ = ["Service", "Services"]


@dataclass
class Service:
    """An endpoint in use. `users` counts the open models."""

    client: Client
    overhead: Overhead
    slots: anyio.CapacityLimiter | None
    users: int = 0

    def slot(self) -> AbstractAsyncContextManager[object]:
        """The right to make a call; waits where the endpoint takes few at once."""
        return nullcontext() if self.slots is None else self.slots


class Services:
    """The endpoints in use: one client for each endpoint and event loop."""

    def __init__(self) -> None:
        self._services: dict[tuple[Endpoint, EventLoopToken], Service] = {}
        self._overheads: dict[Endpoint, Overhead] = {}

    @asynccontextmanager
    async def use(self, endpoint: Endpoint) -> AsyncIterator[Service]:
        """Yields the service of an endpoint; the last to leave closes its connections."""
        key = endpoint, current_token()
        service = self._services.get(key)
        if service is None:
            service = self._services[key] = self._start(endpoint)
        service.users += 1
        try:
            yield service
        finally:
            service.users -= 1
            if service.users == 0:
                del self._services[key]
                await service.client.close()

    def _start(self, endpoint: Endpoint) -> Service:
        return Service(
            Client(endpoint),
            self._overheads.setdefault(endpoint, Overhead()),
            None if endpoint.slots is None else anyio.CapacityLimiter(endpoint.slots),
        )
