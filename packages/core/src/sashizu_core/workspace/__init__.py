"""The one way to files: everything below a folder, nothing outside it."""

from __future__ import annotations

from sashizu_core.workspace.globs import PathGlob
from sashizu_core.workspace.preimage import Change, Changed
from sashizu_core.workspace.tree import Entry, Listing
from sashizu_core.workspace.workspace import FileStat, Workspace

__all__ = ["Change", "Changed", "Entry", "FileStat", "Listing", "PathGlob", "Workspace"]
