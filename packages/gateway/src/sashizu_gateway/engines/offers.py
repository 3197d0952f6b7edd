"""The specs of all engines."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from functools import partial

from sashizu_core.protocols import Model
from sashizu_core.settings import Settings
from sashizu_core.specs import ModelSpec

__all__ = ["engine_specs"]

_SUMMARIES = {
    "codex": "Codex, as an agent with tools of its own",
    "claude": "Claude Code, as an agent with tools of its own",
    "command": "any program that speaks lines of JSON, as an agent",
}


def engine_specs(settings: Settings) -> list[ModelSpec]:
    """`NAME/*` for each kind of program."""
    return [
        ModelSpec(f"{name}/*", summary, partial(_open, settings, name), engine=True)
        for name, summary in _SUMMARIES.items()
    ]


@asynccontextmanager
async def _open(settings: Settings, kind: str, name: str) -> AsyncIterator[Model]:
    from sashizu_gateway.engines.engine import ForeignEngine
    from sashizu_gateway.engines.tongues import TONGUES
    from sashizu_gateway.settings import gateway_settings

    yield ForeignEngine(name, TONGUES[kind], gateway_settings(settings))
