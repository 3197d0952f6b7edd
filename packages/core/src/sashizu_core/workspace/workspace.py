"""The workspace: a folder, what lies in it, and further folders that are only read."""

from __future__ import annotations

import os
import stat
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Self

from sashizu_core.errors import ToolError, UsageError
from sashizu_core.workspace.cached import read_cached
from sashizu_core.workspace.changes import apply_changes
from sashizu_core.workspace.dirs import Dir, Kind, Opener, open_dir
from sashizu_core.workspace.faults import explained
from sashizu_core.workspace.globs import BadGlob, PathGlob, is_literal
from sashizu_core.workspace.ignore import IgnoreFile
from sashizu_core.workspace.names import Names, joined, parts_of
from sashizu_core.workspace.preimage import Change, Changed
from sashizu_core.workspace.reading import file_sha256, read_open_file
from sashizu_core.workspace.tree import Entry, Listing, Walk, read_ignore_file

__all__ = ["FileStat", "Workspace"]

MAX_READ_BYTES = 16 * 1024 * 1024
MAX_WALK_ENTRIES = 100_000
MAX_NAMED = 4096

Readable = Callable[[str], bool]


@dataclass(frozen=True, slots=True)
class FileStat:
    """What is known of a file or folder without reading it.

    `path` is where it really lies, `bytes` the size of a file and 0 for anything else. `version` is
    another after every write to a file: its number and its time of change in nanoseconds.
    """

    path: str
    kind: Kind
    bytes: int
    version: tuple[int, int] = (0, 0)


class Workspace:
    """A folder and what lies beneath it.

    Every method takes paths as people and models write them and means the file of that name beneath
    `root`, or beneath one of the folders in `extra`, which are only read and whose files have
    absolute names. Symbolic links are followed for reading where they stay beneath, and never for
    writing. All methods but `read_at_once` and those for names block; call them from a thread.

    `readable` arguments are asked about the place where a file really lies, after it was opened:
    a link into a folder that is not granted opens nothing.

    Args:
        root: the folder; it must exist.
        extra: further folders; for a file, the folder it lies in.
        opener: how folders are opened; the strongest way this system has, unless said otherwise.

    Raises:
        UsageError: a folder does not exist, or cannot be opened.
    """

    def __init__(
        self,
        root: Path,
        extra: Sequence[Path] = (),
        *,
        opener: Opener = open_dir,
    ) -> None:
        self._dirs: dict[str, Dir] = {}
        aliases: list[tuple[str, str]] = []
        self.root = self._open_root(root, opener, aliases)
        for path in extra:
            self._open_root(path, opener, aliases)
        first, *others = self._dirs
        self._named: dict[str, str] = {}  # a text always means the same
        self._names = Names(first, tuple(others), tuple(aliases), sys.platform == "win32")

    @classmethod
    def open(cls, root: Path | str, extra: Sequence[Path | str] = ()) -> Self:
        """A workspace, for `with`."""
        return cls(Path(root), [Path(path) for path in extra])

    def _open_root(self, path: Path, opener: Opener, aliases: list[tuple[str, str]]) -> Path:
        try:
            real = Path(os.path.realpath(path, strict=True))
            real = real if real.is_dir() or not self._dirs else real.parent
            name = _absolute_name(real)
            if name not in self._dirs:
                self._dirs[name] = opener(real)
        except OSError as error:
            self.close()
            reason = (error.strerror or str(error)).lower()
            raise UsageError(f"cannot use {str(path)!r} as a workspace: {reason}") from error
        if (shown := _absolute_name(path.absolute())) != name:
            aliases.append((shown, name))
        return real

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    def close(self) -> None:
        """Let the folders go; nothing can be opened any more."""
        for folder in self._dirs.values():
            folder.close()

    @property
    def roots(self) -> tuple[Path, ...]:
        """The folder itself and the further ones, absolute and resolved."""
        return tuple(self._path_of(name) for name in self._dirs)

    # --- names ------------------------------------------------------------------------------------

    def name(self, text: str) -> str:
        """The one name of the file that a text means; it need not exist.

        Relative to the workspace, or absolute in one of the further folders.

        Raises:
            ToolError: it means nothing in here.
        """
        if (known := self._named.get(text)) is None:
            known = self._names.of(text)
            if len(self._named) < MAX_NAMED:
                self._named[text] = known
        return known

    def path(self, name: str) -> Path:
        """Where a name lies, for programs that are given paths. Says nothing about what is there.

        Raises:
            ToolError: it means nothing in here.
        """
        name = self.name(name)
        return self._path_of(name) if name.startswith("/") else self.root / name

    @staticmethod
    def _path_of(absolute: str) -> Path:
        return Path(absolute[1:] if sys.platform == "win32" else absolute)

    def _place(self, text: str) -> tuple[str, str, Dir]:
        """The name of a text, the root it lies in as a prefix of names, and that root."""
        name = self.name(text)
        if not name.startswith("/"):
            return name, ".", self._dirs[self._names.root]
        found = self._names.in_extra(name)
        assert found is not None, "a name is absolute only in a further root"
        return found[1], found[0], self._dirs[found[0]]

    # --- reading ----------------------------------------------------------------------------------

    @contextmanager
    def _opened(
        self, action: str, text: str, readable: Readable | None
    ) -> Iterator[tuple[int, str]]:
        """A file open for reading, and the name of the place where it really lies."""
        inside, prefix, root = self._place(text)
        try:
            fd, real = root.open_file(inside)
        except OSError as error:
            raise explained(action, text, error) from error
        try:
            name = self._real_name(prefix, real)
            if readable is not None and not readable(name):
                raise ToolError(f"cannot {action} {text!r}: no grant covers the place it leads to")
            yield fd, name
        except (OSError, ValueError) as error:
            raise explained(action, text, error) from error
        finally:
            os.close(fd)

    def _real_name(self, prefix: str, real: str) -> str:
        if prefix == ".":
            return real
        return self._names.of(prefix if real == "." else joined(prefix, real))

    def read_bytes(
        self, path: str, limit: int = MAX_READ_BYTES, *, readable: Readable | None = None
    ) -> bytes:
        """All of a regular file of at most `limit` bytes.

        Raises:
            ToolError: there is none, it is larger, or it changed while it was read.
        """
        with self._opened("read", path, readable) as (fd, _):
            return read_open_file(fd, limit)

    def read_at_once(
        self, path: str, limit: int, *, readable: Readable | None = None
    ) -> bytes | None:
        """What `read_bytes` would give, where the system has it in memory; does not block.

        None for everything else: links, what is larger than `limit` bytes, what is not there, and
        whatever may have to be waited for.

        Raises:
            ToolError: the path means nothing in here.
        """
        inside, prefix, root = self._place(path)
        fd = root.open_at_once(inside)
        if fd is None:
            return None
        try:
            if readable is not None and not readable(self._real_name(prefix, inside)):
                return None
            return read_cached(fd, limit)
        finally:
            os.close(fd)

    def sha256(self, path: str, *, readable: Readable | None = None) -> str:
        """The digest of a regular file of any size, as 64 hexadecimal digits.

        Raises:
            ToolError: there is none, or it changed while it was read.
        """
        with self._opened("read", path, readable) as (fd, _):
            return file_sha256(fd)[0]

    def stat(self, path: str, *, readable: Readable | None = None) -> FileStat:
        """What a path leads to.

        Raises:
            ToolError: nothing, or something outside.
        """
        try:
            folder, name = self._opened_dir("look at", path, readable)
        except NotADirectoryError:
            with self._opened("look at", path, readable) as (fd, name):
                status = os.fstat(fd)
                if stat.S_ISREG(status.st_mode):
                    version = (status.st_ino, status.st_ctime_ns)
                    return FileStat(name, "file", status.st_size, version)
                return FileStat(name, "other", 0)
        folder.close()
        return FileStat(name, "folder", 0)

    def exists(self, path: str) -> bool:
        """Whether a path leads to a regular file or a folder in here."""
        try:
            return self.stat(path).kind != "other"
        except ToolError:
            return False

    # --- folders ----------------------------------------------------------------------------------

    def walk(
        self,
        path: str = ".",
        *,
        limit: int = MAX_WALK_ENTRIES,
        depth: int | None = None,
        readable: Readable | None = None,
        ignore: bool = True,
        tick: Callable[[], None] | None = None,
    ) -> Listing:
        """What lies in a folder, sorted, without `.git` and what `.gitignore` files leave out.

        The folder itself is walked even if it is ignored; a path of a file is that file. `limit` is
        the most entries, `depth` how many levels are entered, `tick` is called between entries.

        Raises:
            ToolError: there is no such folder, or it leads to a place that is not readable.
        """
        try:
            folder, name = self._opened_dir("list", path, readable)
        except NotADirectoryError:
            found = self.stat(path, readable=readable)
            return Listing((Entry(found.path, found.kind),))
        try:
            above = self._ignore_files_above(name) if ignore else []
            names = {self._names.root: "."}
            walk = Walk(
                limit=limit, depth=depth, keep=readable, ignore=ignore, tick=tick, names=names
            )
            return walk.run(folder, name, above)
        finally:
            folder.close()

    def _opened_dir(self, action: str, text: str, readable: Readable | None) -> tuple[Dir, str]:
        """An open folder, and the name of the place where it really lies."""
        inside, prefix, root = self._place(text)
        try:
            folder, real = root.open_dir(inside)
        except NotADirectoryError:
            raise
        except OSError as error:
            raise explained(action, text, error) from error
        name = self._real_name(prefix, real)
        if readable is not None and not readable(name):
            folder.close()
            raise ToolError(f"cannot {action} {text!r}: no grant covers the place it leads to")
        return folder, name

    def _ignore_files_above(self, name: str) -> list[IgnoreFile]:
        """The ignore files from a root down to the parent of a folder, nearest first."""
        inside, prefix, root = self._place(name)
        files: list[IgnoreFile] = []
        parts = parts_of(inside)
        for count in range(len(parts)):
            folder, _ = root.open_dir("/".join(parts[:count]) or ".")
            try:
                file = read_ignore_file(folder, len(parts_of(prefix)) + count)
            finally:
                folder.close()
            if file is not None:
                files.insert(0, file)
        return files

    def glob(self, pattern: str, *, limit: int = 10_000) -> tuple[str, ...]:
        """The regular files whose names match `pattern`, sorted; ignored ones too, never in `.git`.

        `*`, `?` and `[…]` match within a component, `**` across them; links are not followed.

        Raises:
            ToolError: it is no pattern, leads outside, or matches more than `limit` files.
        """
        name = self._names.of(pattern, is_glob=True)
        parts = parts_of(name)
        fixed = next((i for i, part in enumerate(parts) if not is_literal(part)), len(parts))
        try:
            glob = PathGlob.parse(name)
        except BadGlob as error:
            raise ToolError(f"{pattern!r} is no pattern: {error}") from error
        above = parts[: min(fixed, len(parts) - 1)]
        folder = ("/" if name.startswith("/") else "") + "/".join(above) or "."
        if not self.exists(folder):
            return ()
        depth = None if "**" in parts else max(1, len(parts) - len(above))
        found = self.walk(folder, depth=depth, ignore=False)
        names = tuple(file for file in found.files if glob.matches(parts_of(file)))
        if len(names) > limit or not found.complete:
            raise ToolError(f"{pattern!r} matches too much; name a folder in it")
        return names

    # --- writing ----------------------------------------------------------------------------------

    def write_bytes(self, path: str, data: bytes, expect_sha256: str | None = None) -> Changed:
        """Write a whole file, atomically; missing folders are made, the mode is kept.

        `expect_sha256` is what the file must be now: a digest, or `"absent"`. A file that already
        has these bytes is left alone.

        Raises:
            ToolError: nothing was changed: the file is another than expected, a link, in `.git`,
                in a further root, or the disk is full.
        """
        return self.change([Change(path, data, expect_sha256)])[0]

    def change(self, changes: Sequence[Change]) -> list[Changed]:
        """Write and delete several files, all or none; the outcomes in the order given.

        Raises:
            ToolError: nothing was changed, and why.
        """
        named = [Change(self.name(c.path), c.data, c.expect) for c in changes]
        return apply_changes(self._dirs[self._names.root], named)


def _absolute_name(path: Path) -> str:
    """An absolute path as a name: `/C:/folder` on Windows."""
    text = path.as_posix()
    return text if text.startswith("/") else f"/{text}"
