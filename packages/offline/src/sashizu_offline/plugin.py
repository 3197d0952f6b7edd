"""What sashizu-offline offers: the model `offline` and the tool `analyze`."""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager

from sashizu_core.hookspecs import hookimpl
from sashizu_core.protocols import Model, Tool
from sashizu_core.specs import ModelSpec, ToolSpec

__all__ = ["register_models", "register_tools"]


@asynccontextmanager
async def _open_model(name: str) -> AsyncIterator[Model]:
    from sashizu_offline.model import OfflineModel

    yield OfflineModel(name)


@asynccontextmanager
async def _open_analyze() -> AsyncIterator[Tool]:
    from sashizu_offline.analyze import AnalyzeTool

    yield AnalyzeTool()


@hookimpl
def register_models() -> Sequence[ModelSpec]:
    return [
        ModelSpec(
            "offline",
            "rules and parsers instead of a language model: needs no key and no network",
            _open_model,
        )
    ]


@hookimpl
def register_tools() -> Sequence[ToolSpec]:
    return [
        ToolSpec(
            "analyze",
            "analyse files without running them: defects, security, derivable tests",
            _open_analyze,
            needs=("fs.read",),
        )
    ]
