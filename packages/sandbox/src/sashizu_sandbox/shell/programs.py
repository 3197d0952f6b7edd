"""From the name of a program to the file that is executed.

Trusted folders are those of the operator's `PATH`, and the system's: absolute, outside the
workspace, and changed by nobody but the operator and root. Programs that a workspace brings, in a
virtual environment or in `node_modules`, are any code. A link of the workspace that leaves it
counts only if it leads to a trusted program, or to a Python: else it would choose what of the
machine is shown and run.
"""

from __future__ import annotations

import os
import stat
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from sashizu_core.errors import ToolError
from sashizu_core.program_homes.interpreters import is_trusted_python, open_to_others
from sashizu_core.program_homes.looking import is_folder
from sashizu_core.workspace import Workspace

from sashizu_sandbox.shell.shims import behind_shims

__all__ = ["OWN_FOLDERS", "Program", "Programs", "trusted_folders"]

_SYSTEM_FOLDERS = ("/usr/local/bin", "/usr/bin", "/bin")

OWN_FOLDERS = (".venv/bin", "venv/bin", "node_modules/.bin")
"""Where a workspace keeps programs of its own."""


@dataclass(frozen=True, slots=True)
class Program:
    """A file to execute: `path` is absolute, `identity` its device and inode.

    `real` is where the path led when it was looked at. `own` programs lie in the workspace.
    """

    name: str
    path: Path
    identity: tuple[int, int]
    real: Path
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


def trusted_folders(roots: Sequence[Path], search: str | None = None) -> tuple[Path, ...]:
    """The folders that programs are taken from, first come first served.

    `roots` are the workspace's; `search` is a list like `PATH`, which it is by default.
    """
    listed = (os.environ.get("PATH", "") if search is None else search).split(os.pathsep)
    found = []
    named = (Path(text) for text in dict.fromkeys((*listed, *_SYSTEM_FOLDERS)) if text)
    absolute = (folder for folder in named if folder.is_absolute())
    for folder in dict.fromkeys(one for each in absolute for one in behind_shims(each)):
        if not is_folder(folder):
            continue
        real = Path(os.path.realpath(folder))
        inside = any(p.is_relative_to(root) for p in (folder, real) for root in roots)
        if not inside and not open_to_others(real):
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
            if not self._inside(real) and not open_to_others(real):
                yield Program(name, path, identity, real)

    def _inside(self, path: Path) -> bool:
        return any(path.is_relative_to(root) for root in self._workspace.roots)

    def own(self, name: str) -> Program | None:
        """A program that the workspace brings in one of its own folders."""
        for folder in self.own_folders:
            if (found := self._brought(name, folder / name)) is not None:
                return found
        return None

    def why_not(self, path: Path) -> str:
        """Why a program that the workspace brings does not count; empty where there is none."""
        real = Path(os.path.realpath(path))
        if not path.is_relative_to(self._workspace.root) or _identity(path) is None:
            return ""
        if self._inside(real) or self._may_be_meant(path.name, real):
            return ""
        return (
            f"{path} is a link to {real}, which lies outside the workspace and is neither in a "
            "trusted folder nor a Python that nobody else can change"
        )

    def _brought(self, name: str, path: Path) -> Program | None:
        """A program of the workspace, unless a link leads out of it to what is not trusted."""
        identity = _identity(path)
        real = Path(os.path.realpath(path))
        if identity is None or _identity(real) != identity:
            return None
        if not self._inside(real) and not self._may_be_meant(path.name, real):
            return None
        return Program(name, path, identity, real, own=True)

    def _may_be_meant(self, name: str, real: Path) -> bool:
        """Whether a link of the workspace may lead to a real path outside of it."""
        names = dict.fromkeys((name, real.name))
        trusted = (found.real for each in names for found in self._candidates(each))
        return real in trusted or is_trusted_python(real)

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
        return self._brought(f"./{path.relative_to(self._workspace.root)}", path)
