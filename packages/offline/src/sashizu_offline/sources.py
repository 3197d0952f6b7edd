"""Reads the files that are to be analysed, and says which were left out and why."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from pathlib import PurePosixPath

from sashizu_core.errors import ToolError
from sashizu_core.workspace import Workspace

from sashizu_offline.languages import is_binary_name, language_by_text, language_of

__all__ = ["MAX_FILES", "MAX_FILE_BYTES", "Sources", "read_sources"]

MAX_FILE_BYTES = 1024 * 1024
"""Larger files are generated or data; they are counted as left out."""

MAX_FILES = 20_000
"""More files than this are not read in one call."""

_FOREIGN = frozenset(
    {"node_modules", "site-packages", "vendor", "third_party", "_vendor", ".venv", "venv", ".tox"}
    | {".git", ".hg", ".svn", "__pycache__", ".mypy_cache", ".ruff_cache", "bower_components"}
)
"""Folders of other people's code or of tools."""


_NO_FILE = {
    "link": "link, not followed: what lies in the workspace is read where it lies",
    "other": "special file: a pipe, a socket or a device",
}


def _nothing_is_known(_path: str) -> bool | None:
    return None


@dataclass
class Sources:
    """What was read. `texts` maps paths to texts, `languages` paths to what they are written in.

    `left_out` counts reasons, `unread` are the files themselves (of other people's code the
    folders). `exists` says of any path whether it leads to a file or folder, None
    where that may not be told. `incomplete` says that there are more files, which nobody counted.
    """

    texts: dict[str, str] = field(default_factory=dict)
    languages: dict[str, str] = field(default_factory=dict)
    left_out: Counter[str] = field(default_factory=Counter)
    unread: list[str] = field(default_factory=list)
    incomplete: bool = False
    exists: Callable[[str], bool | None] = _nothing_is_known

    def of(self, language: str) -> dict[str, str]:
        return {p: text for p, text in self.texts.items() if self.languages[p] == language}

    def add(self, path: str, data: bytes) -> None:
        """Take a file, or count why not."""
        if b"\0" in data[:8192]:
            self.leave_out(path, "binary")
        else:
            text = data.decode("utf-8", "replace").removeprefix("\ufeff")
            text = text.replace("\r\n", "\n").replace("\r", "\n")
            self.texts[path] = text
            self.languages[path] = language_of(path) or language_by_text(text)

    def leave_out(self, path: str, reason: str) -> None:
        self.left_out[reason] += 1
        parts = PurePosixPath(path).parts
        foreign = next((i for i, part in enumerate(parts[:-1]) if part in _FOREIGN), None)
        name = path if foreign is None else "/".join(parts[: foreign + 1]) + "/"
        if name not in self.unread[-1:]:
            self.unread.append(name)


def _reason(path: str) -> str:
    """Why a file is not even opened, or an empty text."""
    if any(part in _FOREIGN for part in PurePosixPath(path).parts[:-1]):
        return "other people's code (vendored, installed or of a tool)"
    return "binary" if is_binary_name(path) else ""


def read_sources(
    workspace: Workspace, paths: Iterable[str], readable: Callable[[str], bool]
) -> Sources:
    """Read every text file at or beneath the paths that may be read. Blocks.

    Raises:
        ToolError: a path does not exist.
    """
    found = Sources(exists=_lookup(workspace, readable))
    seen: set[str] = set()
    for wanted in dict.fromkeys(paths):
        listing = workspace.walk(wanted, readable=readable)
        for entry in listing.entries:
            if entry.path in seen or entry.kind == "folder":
                continue
            seen.add(entry.path)
            if entry.kind == "file":
                _take(found, workspace, entry.path, readable)
            else:
                found.leave_out(entry.path, _reason(entry.path) or _NO_FILE[entry.kind])
        for path in listing.unnamed_paths:
            if path not in seen:
                seen.add(path)
                found.leave_out(path, "name is no UTF-8")
        found.incomplete = found.incomplete or not listing.complete
    return found


def _lookup(workspace: Workspace, readable: Callable[[str], bool]) -> Callable[[str], bool | None]:
    known: dict[str, bool | None] = {}

    def exists(path: str) -> bool | None:
        if path not in known:
            known[path] = workspace.exists(path) if readable(path) else None
        return known[path]

    return exists


def _take(found: Sources, workspace: Workspace, path: str, readable: Callable[[str], bool]) -> None:
    reason = _reason(path)
    if not reason and len(found.texts) >= MAX_FILES:
        reason = f"more than {MAX_FILES} files"
    try:
        if not reason and workspace.stat(path, readable=readable).bytes > MAX_FILE_BYTES:
            reason = f"larger than {MAX_FILE_BYTES // 1024} KiB"
        if not reason:
            found.add(path, workspace.read_bytes(path, MAX_FILE_BYTES, readable=readable))
    except ToolError:
        reason = "not readable (special file, changed or gone)"
    if reason:
        found.leave_out(path, reason)
