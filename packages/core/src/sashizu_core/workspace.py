"""The one way to files: everything below a folder, nothing outside it."""

from __future__ import annotations

from pathlib import Path

__all__ = ["Workspace"]


class Workspace:
    """A folder and what lies beneath it."""

    def __init__(self, root: Path) -> None:
        self.root = root
