"""The table `[gpu]` of the settings."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

from pydantic import Field
from sashizu_core.settings import Settings, Table

__all__ = ["GpuSettings", "gpu_settings"]


class GpuSettings(Table):
    """`[gpu]`: which backends are asked, and how often.

    `backends` are names, in no order; None are all that are installed. `fake` is a file that the
    backend `fake` tells its devices from; without one there is no such backend. `sample` and
    `processes` are seconds between two measurements. Calls of a `batch` wait for local models
    behind those of the `interactive`.
    """

    backends: tuple[str, ...] | None = None
    fake: Path | None = None
    priority: Literal["interactive", "batch"] = "interactive"
    sample: Annotated[float, Field(ge=0.1, le=3600)] = 1.0
    processes: Annotated[float, Field(ge=2, le=3600)] = 5.0


def gpu_settings(settings: Settings) -> GpuSettings:
    """The table, validated.

    Raises:
        ConfigError: a key is unknown or a value is wrong.
    """
    return settings.plugin("gpu", GpuSettings)
