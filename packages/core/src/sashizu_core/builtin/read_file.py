"""The tool `read_file`."""

from __future__ import annotations

from collections.abc import Sequence
from hashlib import sha256
from typing import Self

import anyio.lowlevel
import anyio.to_thread
from pydantic import Field, model_validator

from sashizu_core.builtin.text import Lines, decoded, shown, split_lines
from sashizu_core.builtin.typed import Arguments, TypedTool
from sashizu_core.errors import ToolError
from sashizu_core.grants import PathRequest, PermissionRequest
from sashizu_core.protocols import ToolContext
from sashizu_core.types import ToolResult

__all__ = ["ReadFile", "ReadFileArguments"]

MAX_FILE_BYTES = 16 * 1024 * 1024
MAX_AT_ONCE_BYTES = 64 * 1024


class ReadFileArguments(Arguments):
    path: str = Field(description="The file, relative to the workspace.")
    first: int = Field(1, ge=1, description="The first line to return; lines count from 1.")
    last: int | None = Field(
        None, ge=1, description="The last line to return; without it, the end of the file."
    )

    @model_validator(mode="after")
    def _in_order(self) -> Self:
        if self.last is not None and self.last < self.first:
            raise ValueError(f"last ({self.last}) comes before first ({self.first})")
        return self


class ReadFile(TypedTool[ReadFileArguments]):
    """Numbered lines (six places, a tab, the text), then a note with size and SHA-256."""

    name = "read_file"
    description = (
        "Read a text file, or some lines of it. Each line is shown as its number, a tab and its "
        "text. The last line, in brackets, has the file's line count, size and sha256."
    )
    arguments = ReadFileArguments

    def requests(
        self, arguments: ReadFileArguments, context: ToolContext
    ) -> Sequence[PermissionRequest]:
        return [PathRequest(context.workspace.name(arguments.path), "read")]

    async def run(self, arguments: ReadFileArguments, context: ToolContext) -> ToolResult:
        workspace, readable = context.workspace, context.readable
        data = workspace.read_at_once(arguments.path, MAX_AT_ONCE_BYTES, readable=readable)
        if data is None:
            data = await anyio.to_thread.run_sync(
                lambda: workspace.read_bytes(arguments.path, MAX_FILE_BYTES, readable=readable)
            )
        else:
            await anyio.lowlevel.checkpoint_if_cancelled()
        return ToolResult(_text(data, arguments))


def _text(data: bytes, arguments: ReadFileArguments) -> str:
    every = split_lines(decoded(data, arguments.path))
    about = f"{len(data):,} bytes; sha256 {sha256(data).hexdigest()}"
    if not every:
        return f"[the file is empty; {about}]"
    if arguments.first > len(every):
        raise ToolError(
            f"{arguments.path!r} has {len(every)} lines; there is no line {arguments.first}"
        )
    last = min(arguments.last or len(every), len(every))
    lines = Lines()
    for number in range(arguments.first, last + 1):
        if not lines.add(f"{number:>6}\t{shown(every[number - 1])}"):
            break
    end = arguments.first + len(lines) - 1
    cut = f" (cut, there is no room for more; go on with first={end + 1})" if end < last else ""
    return lines.text([f"lines {arguments.first}-{end} of {len(every)}{cut}; {about}"])
