"""How agents that change files are kept apart."""

from __future__ import annotations

from pathlib import Path
from typing import Protocol, runtime_checkable

from sashizu_core.types import Changes, MergePlan

__all__ = ["IsolatedFolder", "Isolation", "LastingIsolation"]


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


@runtime_checkable
class LastingIsolation(Isolation, Protocol):
    """An isolation whose folders outlast their run, so that another one can go on with them."""

    async def take_up(self, agent: str, agent_id: str, earlier_id: str) -> IsolatedFolder:
        """The folder of an agent instance of an earlier run, with all that lies in it.

        From now on it is that of `agent_id`, and of this run.

        Raises:
            SashizuError: it is gone.
        """
        ...

    async def beside(
        self, agent: str, agent_id: str, earlier_id: str, *, as_it_ended: bool
    ) -> IsolatedFolder:
        """A further folder, with the files that an agent instance of an earlier run began with.

        With `as_it_ended`, with those that were kept of it. The earlier one stays as it is.

        Raises:
            SashizuError: what it began with is not there any more.
        """
        ...
