"""From the name of a program to the file that is executed.

Trusted folders are those of the operator's `PATH`, and the system's: absolute, outside the
workspace, and changed by nobody but the operator and root. Programs that a workspace brings, in a
virtual environment or in `node_modules`, are any code.
"""

from __future__ import annotations

import os
import stat
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from sashizu_core.errors import ToolError
from sashizu_core.workspace import Workspace

from sashizu_sandbox.shell.shims import behind_shims

__all__ = ["OWN_FOLDERS", "Program", "Programs", "trusted_folders"]

_SYSTEM_FOLDERS = ("/usr/local/bin", "/usr/bin", "/bin")

OWN_FOLDERS = (".venv/bin", "venv/bin", "node_modules/.bin")
"""Where a workspace keeps programs of its own."""


@dataclass(frozen=True, slots=True)
class Program:
    """A file to execute: `path` is absolute, `identity` its device and inode.

    `own` programs lie in the workspace.
    """

    name: str
    path: Path
    identity: tuple[int, int]
    own: bool = False

    def check(self) -> None:
        """Look again, before it is started.

        Raises:
            ToolError: it has been replaced since it was judged.
        """
        if _identity(self.path) != self.identity:
            raise ToolError(f"{self.path} is not the file any more that was judged; try again")


def _identity(path: Path) -> tuple[int, int] | None:
    """Device and inode of an executable file that not everybody can change."""
    try:
        status = path.stat()
    except OSError:
        return None
    if not stat.S_ISREG(status.st_mode) or not os.access(path, os.X_OK):
        return None
    return status.st_dev, status.st_ino


def _open_to_others(path: Path) -> bool:
    """Whether others than root and we could change a file or folder."""
    try:
        status = path.stat()
    except OSError:
        return True
    ours = status.st_uid in (0, os.getuid())
    return not ours or bool(status.st_mode & stat.S_IWOTH)


def trusted_folders(roots: Sequence[Path], search: str | None = None) -> tuple[Path, ...]:
    """The folders that programs are taken from, first come first served.

    `roots` are the workspace's; `search` is a list like `PATH`, which it is by default.
    """
    listed = (os.environ.get("PATH", "") if search is None else search).split(os.pathsep)
    found = []
    named = (Path(text) for text in dict.fromkeys((*listed, *_SYSTEM_FOLDERS)) if text)
    absolute = (folder for folder in named if folder.is_absolute())
    for folder in dict.fromkeys(one for each in absolute for one in behind_shims(each)):
        if not folder.is_dir():
            continue
        real = Path(os.path.realpath(folder))
        inside = any(p.is_relative_to(root) for p in (folder, real) for root in roots)
        if not inside and not _open_to_others(real):
            found.append(folder)
    return tuple(found)


class Programs:
    """Finds the programs of one workspace; what was found once is remembered."""

    def __init__(self, workspace: Workspace, search: str | None = None) -> None:
        self._workspace = workspace
        self.folders = trusted_folders(workspace.roots, search)
        self.own_folders = tuple(workspace.root / folder for folder in OWN_FOLDERS)
        self._trusted: dict[str, Program | None] = {}

    def trusted(self, name: str) -> Program | None:
        """A program of a trusted folder."""
        if name not in self._trusted:
            self._trusted[name] = next(self._candidates(name), None)
        return self._trusted[name]

    def _candidates(self, name: str) -> Iterator[Program]:
        for folder in self.folders:
            path = folder / name
            identity = _identity(path)
            if identity is None:
                continue
            real = Path(os.path.realpath(path))
            if not self._inside(real) and not _open_to_others(real):
                yield Program(name, path, identity)

    def _inside(self, path: Path) -> bool:
        return any(path.is_relative_to(root) for root in self._workspace.roots)

    def own(self, name: str) -> Program | None:
        """A program that the workspace brings in one of its own folders."""
        for folder in self.own_folders:
            path = folder / name
            if (identity := _identity(path)) is not None:
                return Program(name, path, identity, own=True)
        return None

    def at(self, path: Path) -> Program | None:
        """The program at an absolute path: a trusted one, or one in the workspace."""
        identity = _identity(path)
        if identity is None:
            return None
        for found in (self.trusted(path.name), self.own(path.name)):
            if found is not None and found.identity == identity:
                return found
        if not path.is_relative_to(self._workspace.root):
            return None
        return Program(f"./{path.relative_to(self._workspace.root)}", path, identity, own=True)
