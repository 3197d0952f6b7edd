"""The tool `read_skill`: an agent reads what it was only told the name of."""

from __future__ import annotations

import os
from collections.abc import Sequence
from hashlib import sha256
from pathlib import Path

import anyio.to_thread
from pydantic import Field

from sashizu_core.builtin.typed import Arguments, TypedTool
from sashizu_core.errors import ToolError, nearest
from sashizu_core.grants import PermissionRequest
from sashizu_core.protocols import ToolContext
from sashizu_core.skills import Skill, SkillFile
from sashizu_core.types import ToolResult
from sashizu_core.unfollowed import open_unfollowed

__all__ = ["ReadSkill", "ReadSkillArguments"]

MAX_FILE_BYTES = 256 * 1024
MOST_LISTED = 100


class ReadSkillArguments(Arguments):
    name: str = Field(min_length=1, max_length=100, description="The skill, by name.")
    file: str | None = Field(
        None, max_length=500, description="A file of the skill to read in place of its text."
    )


class ReadSkill(TypedTool[ReadSkillArguments]):
    """The text of a skill and the names of its files, or the text of one of them."""

    name = "read_skill"
    description = (
        "Read a skill that you were told of: its text, and the names of its files. With 'file', "
        "read one of those instead."
    )
    arguments = ReadSkillArguments

    def requests(
        self,
        arguments: ReadSkillArguments,  # noqa: ARG002 - as `Tool` has it
        context: ToolContext,  # noqa: ARG002
    ) -> Sequence[PermissionRequest]:
        """Nothing beside the tool itself: what is on offer was chosen for the agent."""
        return []

    async def run(self, arguments: ReadSkillArguments, context: ToolContext) -> ToolResult:
        skill = _named(arguments.name, context)
        if arguments.file is None:
            return ToolResult(_text(skill))
        file = next((file for file in skill.files if file.path == arguments.file), None)
        if file is None:
            known = [file.path for file in skill.files]
            listed = ", ".join(known[:MOST_LISTED]) or "none"
            hint = nearest(arguments.file, known)
            raise ToolError(
                f"the skill {skill.name!r} has no file {arguments.file!r}{hint}; it has: {listed}"
            )
        return ToolResult(await anyio.to_thread.run_sync(_read, skill, file))


def _named(name: str, context: ToolContext) -> Skill:
    for skill in context.skills:
        if skill.name == name:
            return skill
    known = [skill.name for skill in context.skills]
    listed = ", ".join(known) or "none"
    raise ToolError(f"there is no skill {name!r}{nearest(name, known)}; known: {listed}")


def _text(skill: Skill) -> str:
    brought = "which this repository brings" if skill.whose == "repository" else "of the user"
    lines = [f"[the skill {skill.name}, {brought}; it grants nothing]", skill.body]
    if skill.files:
        lines += ["", "[files of the skill, for 'file']"]
        lines += [f"{file.path}  ({file.bytes:,} bytes)" for file in skill.files[:MOST_LISTED]]
        if len(skill.files) > MOST_LISTED:
            lines.append(f"and {len(skill.files) - MOST_LISTED} more")
    return "\n".join(lines)


def _read(skill: Skill, file: SkillFile) -> str:
    """The text of a file, if it is still what it was when the skill was chosen."""
    if file.bytes > MAX_FILE_BYTES:
        raise ToolError(f"{file.path!r} has {file.bytes:,} bytes; {MAX_FILE_BYTES:,} can be read")
    path = skill.folder / Path(file.path)
    try:
        with os.fdopen(open_unfollowed(path, os.O_RDONLY), "rb") as opened:
            data = opened.read(MAX_FILE_BYTES + 1)
    except OSError as error:
        raise ToolError(f"{file.path!r} cannot be read: {error.strerror}") from error
    if sha256(data).hexdigest() != file.sha256:
        raise ToolError(f"{file.path!r} has changed since the run began, and is not read")
    try:
        return data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise ToolError(f"{file.path!r} is no text: byte {error.start} is no UTF-8") from error
