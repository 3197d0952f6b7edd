"""The tool `write_file`."""

from __future__ import annotations

from collections.abc import Sequence

import anyio.to_thread
from pydantic import Field

from sashizu_core.builtin.typed import Arguments, TypedTool
from sashizu_core.errors import ToolError
from sashizu_core.grants import PathRequest, PermissionRequest
from sashizu_core.protocols import ToolContext
from sashizu_core.types import StepKind, ToolResult

__all__ = ["WriteFile", "WriteFileArguments"]

MAX_CONTENT = 16 * 1024 * 1024


class WriteFileArguments(Arguments):
    path: str = Field(description="The file, relative to the workspace. Missing folders are made.")
    content: str = Field(max_length=MAX_CONTENT, description="All of the file's text.")
    overwrite: str | None = Field(
        None,
        pattern=r"^[0-9a-fA-F]{64}$",
        description=(
            "To replace a file that exists: its sha256 as read_file reports it. Without it only a "
            "new file is written."
        ),
    )


class WriteFile(TypedTool[WriteFileArguments]):
    """Atomic; a file that exists is replaced only by who knows what it holds."""

    name = "write_file"
    description = (
        "Write a whole text file. A file that exists is replaced only if 'overwrite' is its "
        "sha256, so read it first. To change parts of a file use apply_patch."
    )
    arguments = WriteFileArguments
    kind = StepKind.EFFECT

    def requests(
        self, arguments: WriteFileArguments, context: ToolContext
    ) -> Sequence[PermissionRequest]:
        return [PathRequest(context.workspace.name(arguments.path), "write")]

    async def run(self, arguments: WriteFileArguments, context: ToolContext) -> ToolResult:
        try:
            data = arguments.content.encode()
        except UnicodeEncodeError as error:
            raise ToolError("write_file: 'content' is not valid Unicode text") from error
        changed = await anyio.to_thread.run_sync(
            context.workspace.write_bytes, arguments.path, data, arguments.overwrite or "absent"
        )
        return ToolResult(
            f"{changed.action}: {changed.path}, {changed.bytes:,} bytes, sha256 {changed.sha256}"
        )
