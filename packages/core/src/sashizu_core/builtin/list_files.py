"""The tool `list_files`."""

from __future__ import annotations

from collections.abc import Sequence

import anyio.to_thread
from pydantic import Field

from sashizu_core.builtin.searched import Searched, read_requests, searched
from sashizu_core.builtin.text import Lines
from sashizu_core.builtin.typed import Arguments, TypedTool
from sashizu_core.grants import PermissionRequest
from sashizu_core.protocols import ToolContext
from sashizu_core.types import ToolResult

__all__ = ["ListFiles", "ListFilesArguments"]


class ListFilesArguments(Arguments):
    path: str | None = Field(
        None, description="The folder, relative to the workspace; without it, all you may read."
    )
    depth: int | None = Field(
        None, ge=1, le=100, description="How many levels to enter; without it, all of them."
    )
    limit: int = Field(1000, ge=1, le=10_000, description="The most entries to return.")


class ListFiles(TypedTool[ListFilesArguments]):
    """One path a line, sorted; a folder that is not entered ends in `/`."""

    name = "list_files"
    description = (
        "List the files of a folder and of the folders in it, one path a line, without what "
        ".gitignore leaves out. Folders at the given depth are listed with a '/' at the end."
    )
    arguments = ListFilesArguments

    def requests(
        self, arguments: ListFilesArguments, context: ToolContext
    ) -> Sequence[PermissionRequest]:
        return read_requests(arguments.path, context)

    async def run(self, arguments: ListFilesArguments, context: ToolContext) -> ToolResult:
        found = await anyio.to_thread.run_sync(
            lambda: searched(arguments.path, context, depth=arguments.depth)
        )
        return ToolResult(_text(found, arguments))


def _text(found: Searched, arguments: ListFilesArguments) -> str:
    entered = {entry.path.rpartition("/")[0] for entry in found.entries}
    names = [entry.path for entry in found.entries if entry.kind == "file"]
    if arguments.depth is not None:
        folders = {entry.path for entry in found.entries if entry.kind == "folder"}
        names = sorted([*names, *(f"{folder}/" for folder in folders - entered)])
    lines = Lines()
    for name in names[: arguments.limit]:
        if not lines.add(name):
            break
    notes = []
    if len(lines) < len(names):
        notes.append(
            f"cut: the first {len(lines)} of {len(names)} entries; ask for a folder or a depth"
        )
    if not found.complete:
        notes.append("there are more files than are looked at; ask for a folder")
    if not names:
        notes.append("no files")
    return lines.text(notes)
