"""The table `[gpu]` of the settings."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

from pydantic import Field
from sashizu_core.settings import Settings, Table

__all__ = ["GpuSettings", "gpu_settings"]


class GpuSettings(Table):
    """`[gpu]`: `fake` is a file that the backend `fake` tells its devices from.

    Without one there is no such backend. `native` asks our own driver too, if it is loaded; off
    unless somebody wants it. Calls of a `batch` wait for local models behind those of the
    `interactive`; `calls_per_agent` is how many calls of agents of one name may be at work on local
    models at once, all of them where it is left out.
    """

    fake: Path | None = None
    native: bool = False
    priority: Literal["interactive", "batch"] = "interactive"
    calls_per_agent: Annotated[int, Field(strict=True, ge=1, le=10_000)] | None = None


def gpu_settings(settings: Settings) -> GpuSettings:
    """The table, validated.

    Raises:
        ConfigError: a key is unknown or a value is wrong.
    """
    return settings.plugin("gpu", GpuSettings)
