"""The table `[winai]` of the settings."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field
from sashizu_core.settings import Settings, Table

__all__ = ["WinAiSettings", "winai_settings"]

Name = Annotated[str, Field(min_length=1, max_length=200)]


class WinAiSettings(Table):
    """`[winai]`: `actions` are the ids of the App Actions that agents may invoke; none by default.

    An id that ends in `*` stands for all that begin like it. `timeout` is how many seconds an
    action may take. `fake` has the fake backend answer, which uses nothing of Windows.
    """

    actions: tuple[Name, ...] = ()
    timeout: Annotated[float, Field(gt=0, le=3600)] = 60.0
    fake: bool = False

    def allows(self, action: str) -> bool:
        """Whether agents may invoke an action."""
        return any(
            action.startswith(name[:-1]) if name.endswith("*") else action == name
            for name in self.actions
        )


def winai_settings(settings: Settings) -> WinAiSettings:
    """The table, validated.

    Raises:
        ConfigError: a key is unknown or a value is wrong.
    """
    return settings.plugin("winai", WinAiSettings)
