"""The specs of all endpoints."""

from __future__ import annotations

import os
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from functools import partial
from typing import TYPE_CHECKING

from sashizu_core.errors import UsageError
from sashizu_core.protocols import Model
from sashizu_core.settings import Settings
from sashizu_core.specs import ModelSpec
from sashizu_core.types import ModelInfo

from sashizu_openai.endpoints import Endpoint, read_endpoints
from sashizu_openai.windows import Window, window_of

if TYPE_CHECKING:
    from sashizu_openai.services import Services

__all__ = ["model_specs"]


def model_specs(settings: Settings, env: Mapping[str, str] = os.environ) -> list[ModelSpec]:
    """`NAME/*` for each endpoint, and `NAME` where its table names a model.

    Raises:
        ConfigError: a table `[models.NAME]` is wrong.
    """
    shop = _Shop()
    specs = []
    for endpoint in read_endpoints(settings, env):
        opens = partial(shop.open, endpoint)
        keys = tuple(endpoint.secrets)
        family = f"{endpoint.name}/*"
        specs.append(ModelSpec(family, _summary(endpoint, "any model"), opens, keys))
        if endpoint.model is not None:
            summary = _summary(endpoint, endpoint.model)
            specs.append(ModelSpec(endpoint.name, summary, opens, keys))
    return specs


def _summary(endpoint: Endpoint, what: str) -> str:
    api = "Responses" if endpoint.api == "responses" else "Chat Completions"
    kind = "local, " if endpoint.local else ""
    return f"{what} at {endpoint.base_url} ({kind}{api})"


class _Shop:
    """Opens models. What talks to the network is imported when the first one is asked for."""

    def __init__(self) -> None:
        self._services: Services | None = None

    @asynccontextmanager
    async def open(self, endpoint: Endpoint, name: str) -> AsyncIterator[Model]:
        """Yields a model by its full name.

        Raises:
            UsageError: the environment lacks what the endpoint needs, or the name names no model.
        """
        if endpoint.problem:
            raise UsageError(endpoint.problem)
        own = endpoint.model if name == endpoint.name else name.removeprefix(f"{endpoint.name}/")
        if not own or own == "*":
            raise UsageError(f"{name!r} names no model: write {endpoint.name}/MODEL")
        from sashizu_openai.model import OpenAIModel
        from sashizu_openai.services import Services

        if self._services is None:
            self._services = Services()
        async with self._services.use(endpoint) as service:
            yield OpenAIModel(_info(name, endpoint, own), endpoint, own, service)


def _info(name: str, endpoint: Endpoint, model: str) -> ModelInfo:
    window = (window_of(model) if endpoint.official else None) or Window(None, None)
    most = endpoint.max_output_tokens or window.output
    return ModelInfo(
        name=name,
        provider=endpoint.name,
        endpoint=endpoint.base_url,
        context_window=endpoint.context_window or window.context,
        max_output_tokens=most,
        min_output_tokens=min(256, most or 256),
        local=endpoint.local,
        price=endpoint.price,
        counts=endpoint.counts and endpoint.api == "responses",
        efforts=window.efforts if endpoint.efforts is None else endpoint.efforts,
    )
