"""What one call of the command line knows: the shared options, and what is loaded from them."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, cast

import typer

if TYPE_CHECKING:
    from sashizu_core.plugins import Registry
    from sashizu_core.settings import Settings
    from sashizu_core.specs import Readiness

__all__ = ["Session", "session_of"]


@dataclass
class Session:
    """The shared options, filled while the words are parsed. `-C` changes the folder itself.

    `answered` says that the driver which `kernel_accelerated` asks for was there. `windows_ai` is
    how `--use-windows-ai` was meant, None without it; `windows_ai_found` what came of looking.
    """

    overrides: list[str] = field(default_factory=list)
    verbose: bool = False
    kernel_accelerated: bool = False
    answered: bool = False
    windows_ai: str | None = None
    windows_ai_found: Readiness | None = None

    def choose(self, executor: str | None, labels: str | None) -> None:
        """Say who runs agents; before the settings are read, as `-c` would."""
        if executor is not None:
            self.overrides.append(f"run.executor={json.dumps(executor)}")
        if labels is not None:
            named = [part.strip() for part in labels.split(",") if part.strip()]
            self.overrides.append(f"run.labels={json.dumps(named)}")

    @cached_property
    def settings(self) -> Settings:
        """All settings, seen from the working directory.

        Raises:
            ConfigError: a settings file or a `-c` is wrong.
        """
        from sashizu_core.settings import load_settings

        return load_settings(Path.cwd(), overrides=self.overrides)

    @cached_property
    def registry(self) -> Registry:
        """What the installed plugins offer.

        Raises:
            PluginError: two plugins offer the same name.
        """
        from sashizu_core.plugins import open_registry

        return open_registry(self.settings)


def session_of(ctx: typer.Context) -> Session:
    """The session of a command's context."""
    return cast(Session, ctx.find_root().obj)
