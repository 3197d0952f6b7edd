"""Changing files: checked against what was there, atomically, all of them or none."""

from __future__ import annotations

import contextlib
import errno
import os
import stat
import sys
import threading
from collections.abc import Sequence
from dataclasses import dataclass
from types import TracebackType
from typing import Literal, Self

from sashizu_core.errors import ToolError
from sashizu_core.workspace.dirs import Dir
from sashizu_core.workspace.faults import explained
from sashizu_core.workspace.names import is_git_folder, parts_of
from sashizu_core.workspace.preimage import (
    Before,
    Change,
    Changed,
    check_expected,
    digest_of,
    read_before,
    same_file,
    status_of,
)

__all__ = ["apply_changes"]

_HOW_LINKS_FAIL = {errno.EPERM, errno.ENOTSUP, errno.EOPNOTSUPP, errno.EMLINK, errno.ENOSYS}

_commit = threading.Lock()
"""One process has many agents: between the last check and the change, only one may act."""


@dataclass(slots=True)
class _Staged:
    """A change that is ready: everything it needs is on the disk already."""

    change: Change
    folder: Dir
    name: str
    before: Before | None
    temp: str = ""
    backup: str = ""
    done: bool = False

    @property
    def idle(self) -> bool:
        """Whether the file is already what it should become."""
        return self.change.data == (None if self.before is None else self.before.data)


def _write_all(fd: int, data: bytes) -> None:
    view = memoryview(data)
    while view:
        view = view[os.write(fd, view) :]


class _Transaction:
    """Changes on their way. Leaving it cleans up; after an error nothing has changed."""

    def __init__(self, root: Dir) -> None:
        self._root = root
        self._staged: list[_Staged] = []
        self._opened: list[Dir] = []
        self._made: dict[int, tuple[Dir, str]] = {}  # by the folder that was made
        self._kept = False

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if not self._kept:
            self._undo()
        for staged in self._staged:
            for leftover in (staged.temp, staged.backup):
                if leftover:
                    with contextlib.suppress(OSError):
                        staged.folder.unlink(leftover)
        for folder in reversed(self._opened):
            folder.close()  # first: Windows removes nothing that is open
            made = self._made.get(id(folder))
            if made is not None and not self._kept:
                with contextlib.suppress(OSError):  # somebody else uses it meanwhile
                    made[0].rmdir(made[1])

    # --- staging: everything that can fail for want of room or right ------------------------------

    def stage(self, change: Change, *, undoable: bool) -> None:
        """Check one change and put what it needs on the disk."""
        *above, name = parts_of(change.path)
        if change.data is None and not self._exists(above):
            folder, before = self._root, None
        else:
            folder = self._parent(above)
            before = read_before(folder, name, change.path)
        staged = _Staged(change, folder, name, before)
        if not staged.idle:
            check_expected(change, before)
        self._staged.append(staged)
        if staged.idle:
            return
        if change.data is not None:
            staged.temp = self._temp_name()
            self._write_temp(staged, staged.temp, change.data)
        if before is not None and undoable:
            self._keep_backup(staged, before)

    def _exists(self, above: Sequence[str]) -> bool:
        try:
            folder, _ = self._root.open_dir("/".join(above) or ".")
        except FileNotFoundError:
            return False
        folder.close()
        return True

    def _parent(self, above: Sequence[str]) -> Dir:
        """Open the folder of a file, making what is missing; no link is followed."""
        folder = self._root
        for part in above:
            made = False
            try:
                child = folder.child_dir(part)
            except FileNotFoundError:
                with contextlib.suppress(FileExistsError):
                    folder.mkdir(part)
                    made = True
                folder.sync()
                child = folder.child_dir(part)
            self._opened.append(child)
            if made:
                self._made[id(child)] = (folder, part)
            folder = child
        return folder

    @staticmethod
    def _temp_name() -> str:
        return f".sashizu-{os.urandom(8).hex()}.tmp"

    @staticmethod
    def _write_temp(staged: _Staged, name: str, data: bytes) -> None:
        before = staged.before
        fd = staged.folder.create(name, 0o666 if before is None else 0o600)
        try:
            _write_all(fd, data)
            if before is not None and sys.platform != "win32":
                os.fchmod(fd, stat.S_IMODE(before.status.st_mode) & 0o777)
                with contextlib.suppress(PermissionError):
                    os.fchown(fd, before.status.st_uid, before.status.st_gid)
            os.fsync(fd)
        finally:
            os.close(fd)

    def _keep_backup(self, staged: _Staged, before: Before) -> None:
        backup = self._temp_name()
        staged.backup = backup
        try:
            staged.folder.link(staged.name, backup)
        except OSError:
            self._write_temp(staged, backup, before.data)

    # --- committing: renames alone ----------------------------------------------------------------

    def commit(self) -> list[Changed]:
        with _commit:
            for staged in self._staged:
                self._check_again(staged)
            for staged in self._staged:
                if not staged.idle:
                    self._commit_one(staged)
                    staged.done = True
            self._kept = True
        for staged in self._staged:
            if staged.done:
                staged.folder.sync()
        return [_outcome(staged) for staged in self._staged]

    @staticmethod
    def _check_again(staged: _Staged) -> None:
        if staged.idle and staged.before is None:
            return
        now = status_of(staged.folder, staged.name)
        was = None if staged.before is None else staged.before.status
        if not same_file(now, was):
            raise ToolError(
                f"cannot change {staged.change.path!r}: somebody else changed it meanwhile; "
                "read it again"
            )

    @staticmethod
    def _commit_one(staged: _Staged) -> None:
        folder, name = staged.folder, staged.name
        if staged.change.data is None:
            folder.unlink(name)
        elif staged.before is not None:
            folder.replace(staged.temp, name)
        else:
            _move_to_free_name(folder, staged.temp, name)

    def _undo(self) -> None:
        """Put back what was there, as far as the changes got."""
        for staged in reversed(self._staged):
            if not staged.done:
                continue
            if staged.before is None:
                staged.folder.unlink(staged.name)
            else:
                staged.folder.replace(staged.backup, staged.name)


def _move_to_free_name(folder: Dir, temp: str, name: str) -> None:
    """Give a file a second name, never one that exists; the first is removed at the end."""
    try:
        folder.link(temp, name)
    except OSError as error:
        if error.errno not in _HOW_LINKS_FAIL:
            raise
        # A file system without hard links: look, then rename.
        if status_of(folder, name) is not None:
            raise FileExistsError(errno.EEXIST, os.strerror(errno.EEXIST), name) from error
        folder.replace(temp, name)


def _outcome(staged: _Staged) -> Changed:
    data = staged.change.data
    if data is None:
        action: Literal["deleted", "unchanged"] = "unchanged" if staged.idle else "deleted"
        return Changed(staged.change.path, action, None, 0)
    if staged.idle:
        return Changed(staged.change.path, "unchanged", digest_of(data), len(data))
    made = "created" if staged.before is None else "replaced"
    return Changed(staged.change.path, made, digest_of(data), len(data))  # type: ignore[arg-type]


def _check_target(path: str) -> None:
    parts = parts_of(path)
    if path.startswith("/"):
        raise ToolError(f"cannot change {path!r}: outside the workspace files are only read")
    if not parts:
        raise ToolError("cannot change '.': it is the workspace itself")
    if any(is_git_folder(part) for part in parts):
        raise ToolError(f"cannot change {path!r}: git alone writes what is in its folder")


def apply_changes(root: Dir, changes: Sequence[Change]) -> list[Changed]:
    """Make all changes or none; `path`s are names. What is already so stays untouched.

    The bytes are on the disk before the first file changes, and the names after it; a reader sees a
    file as it was or as it becomes. Only the death of the process between two renames can leave
    some of several files changed.

    Raises:
        ToolError: nothing was changed, and why.
    """
    seen: set[str] = set()
    for change in changes:
        _check_target(change.path)
        if change.path in seen:
            raise ToolError(f"cannot change {change.path!r} twice at once")
        seen.add(change.path)
    current = changes[0].path if changes else ""
    with _Transaction(root) as transaction:
        try:
            for change in changes:
                current = change.path
                transaction.stage(change, undoable=len(changes) > 1)
            return transaction.commit()
        except (OSError, ValueError) as error:
            raise explained("change", current, error) from error
