"""How agents that change files are kept apart."""

from __future__ import annotations

from pathlib import Path
from typing import Protocol

from sashizu_core.types import Changes, MergePlan

__all__ = ["IsolatedFolder", "Isolation"]


class IsolatedFolder(Protocol):
    """The folder of one agent instance."""

    @property
    def root(self) -> Path:
        """The workspace of the agent: in place of the run's, as it was when the run began."""
        ...

    @property
    def branch(self) -> str: ...

    @property
    def readable(self) -> tuple[Path, ...]:
        """Further absolute paths that programs working in the folder need to read."""
        ...

    async def conclude(self) -> Changes | None:
        """Keep what the agent changed; None where that is nothing. Called once, at its end.

        Raises:
            SashizuError: it cannot be kept; the folder stays as it is.
        """
        ...


class Isolation(Protocol):
    """Makes the folders of one run."""

    async def separate(self, agent: str, agent_id: str) -> IsolatedFolder:
        """A folder for one agent instance, verified.

        Raises:
            SashizuError: it cannot be made; nothing of it is left.
        """
        ...

    async def merge_plan(self) -> MergePlan | None:
        """What merging the changes that were kept would do; None without any. Changes nothing.

        Raises:
            SashizuError: it cannot be told.
        """
        ...
