"""Which files a tool looks at that is given a folder: never one that is not granted."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from sashizu_core.errors import ToolError
from sashizu_core.grants import PathRequest
from sashizu_core.protocols import ToolContext
from sashizu_core.workspace import Entry, Workspace

__all__ = ["Searched", "read_requests", "searched", "tick"]


@dataclass(frozen=True, slots=True)
class Searched:
    """What lies beneath the roots of a search; `complete` as in `Listing`."""

    entries: tuple[Entry, ...]
    complete: bool

    @property
    def files(self) -> tuple[str, ...]:
        return tuple(entry.path for entry in self.entries if entry.kind == "file")


def tick() -> None:
    """End the work of a thread whose caller was cancelled."""
    from anyio import from_thread

    from_thread.check_cancelled()


def _roots(path: str | None, context: ToolContext) -> tuple[str, ...]:
    """Where to begin: the path, or what of it is granted; without a path, all that is granted."""
    name = None if path is None else context.workspace.name(path)
    return context.readable.roots(name) or (name or ".",)


def read_requests(path: str | None, context: ToolContext) -> list[PathRequest]:
    """What a search of a path asks for: to read each of its roots."""
    return [PathRequest(root, "read") for root in _roots(path, context)]


def searched(
    path: str | None,
    context: ToolContext,
    *,
    depth: int | None = None,
    check: Callable[[], None] = tick,
) -> Searched:
    """All that lies at or beneath a path and may be read, without what git ignores. Blocks.

    Raises:
        ToolError: there is no such path.
    """
    workspace = context.workspace
    asked = None if path is None else workspace.name(path)
    entries: list[Entry] = []
    complete = True
    for root in _roots(path, context):
        if root != asked and not _there(workspace, root):
            continue  # a grant of something that does not exist yet
        found = workspace.walk(root, depth=depth, readable=context.readable, tick=check)
        entries += found.entries
        complete = complete and found.complete
    return Searched(tuple(dict.fromkeys(entries)), complete)


def _there(workspace: Workspace, path: str) -> bool:
    try:
        workspace.stat(path)
    except ToolError:
        return False
    return True
