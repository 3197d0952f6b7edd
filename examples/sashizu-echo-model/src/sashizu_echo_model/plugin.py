"""What sashizu-echo-model offers: the models `echo/*`."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Sequence
from contextlib import asynccontextmanager

from sashizu_core.hookspecs import hookimpl
from sashizu_core.protocols import Model
from sashizu_core.settings import Settings, Table
from sashizu_core.specs import ModelSpec

__all__ = ["EchoSettings", "register_models"]


class EchoSettings(Table):
    """The table `[echo]`."""

    prefix: str = ""


@hookimpl
def register_models(settings: Settings) -> Sequence[ModelSpec]:
    table = settings.plugin("echo", EchoSettings)

    @asynccontextmanager
    async def open_(name: str) -> AsyncGenerator[Model]:
        from sashizu_echo_model.model import EchoModel

        yield EchoModel(name, table.prefix)

    return [ModelSpec("echo/*", "says back what it was told", open_)]
