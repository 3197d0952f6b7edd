"""The tool `apply_patch`."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from hashlib import sha256

import anyio.to_thread
from pydantic import Field, field_validator

from sashizu_core.builtin.patch_apply import DoesNotApply, added_text, applied
from sashizu_core.builtin.patch_text import FilePatch, read_patch
from sashizu_core.builtin.typed import Arguments, TypedTool
from sashizu_core.errors import ToolError
from sashizu_core.grants import PathRequest, PermissionRequest
from sashizu_core.protocols import ToolContext
from sashizu_core.types import StepKind, ToolResult
from sashizu_core.workspace import Change, Changed

__all__ = ["ApplyPatch", "ApplyPatchArguments"]

MAX_FILE_BYTES = 16 * 1024 * 1024
ABSENT = "absent"


class ApplyPatchArguments(Arguments):
    patch: str = Field(
        max_length=MAX_FILE_BYTES,
        description=(
            "A unified diff ('--- a/path', '+++ b/path', '@@ -1,3 +1,4 @@'), or: '*** Begin "
            "Patch'; for each file '*** Add File: path' with lines that begin with '+', '*** "
            "Delete File: path', or '*** Update File: path' with changes that begin with '@@' and "
            "an optional line that stands above, then lines that begin with ' ', '-' or '+'; "
            "'*** End Patch'."
        ),
    )

    @field_validator("patch")
    @classmethod
    def _is_patch(cls, patch: str) -> str:
        read_patch(patch)
        return patch

    @cached_property
    def files(self) -> tuple[FilePatch, ...]:
        return read_patch(self.patch)


class ApplyPatch(TypedTool[ApplyPatchArguments]):
    """All files or none; lines that are removed or stand around must be there exactly."""

    name = "apply_patch"
    description = (
        "Change, add, delete or move text files as a patch says: all of them or none. The lines "
        "that the patch removes or shows as context must be in the file exactly. Applying the "
        "same patch again changes nothing."
    )
    arguments = ApplyPatchArguments
    kind = StepKind.EFFECT

    def requests(
        self, arguments: ApplyPatchArguments, context: ToolContext
    ) -> Sequence[PermissionRequest]:
        requests: list[PathRequest] = []
        for file in arguments.files:
            name = context.workspace.name(file.path)
            if file.action != "add":
                requests.append(PathRequest(name, "read"))
            requests.append(PathRequest(name, "write"))
            if file.move_to is not None:
                # When it was moved already, the file is compared where it is now.
                target = context.workspace.name(file.move_to)
                requests += [PathRequest(target, "read"), PathRequest(target, "write")]
        return requests

    async def run(self, arguments: ApplyPatchArguments, context: ToolContext) -> ToolResult:
        return await anyio.to_thread.run_sync(lambda: _run(arguments.files, context))


def _run(files: Sequence[FilePatch], context: ToolContext) -> ToolResult:
    plans = [_planned(file, context) for file in files]
    changes = [change for plan in plans for change in plan.changes]
    outcomes = {made.path: made for made in context.workspace.change(changes)}
    lines = [_told(plan, outcomes, context) for plan in plans]
    if all(made.action == "unchanged" for made in outcomes.values()):
        lines.insert(0, "nothing to do: the patch is applied already")
    return ToolResult("\n".join(lines))


@dataclass(frozen=True, slots=True)
class _Plan:
    """What one file of a patch comes to: no change when it is applied already."""

    file: FilePatch
    changes: tuple[Change, ...]


def _told(plan: _Plan, outcomes: dict[str, Changed], context: ToolContext) -> str:
    made = [outcomes[context.workspace.name(change.path)] for change in plan.changes]
    if all(one.action == "unchanged" for one in made):
        return f"unchanged: {plan.file.move_to or plan.file.path}"
    return "\n".join(
        f"{one.action}: {one.path}"
        + (f", {one.bytes:,} bytes, sha256 {one.sha256}" if one.sha256 else "")
        for one in made
    )


def _planned(file: FilePatch, context: ToolContext) -> _Plan:
    """Compare one file with the patch; nothing is written yet."""
    try:
        return _Plan(file, tuple(_changes(file, context)))
    except DoesNotApply as error:
        raise ToolError(f"the patch does not fit {file.path!r}: {error}") from error


def _changes(file: FilePatch, context: ToolContext) -> Iterator[Change]:
    match file.action:
        case "add":
            yield Change(file.path, added_text(file.hunks).encode(), ABSENT)
        case "delete":
            yield from _deletion(file, context)
        case "update":
            if file.move_to is not None and not context.workspace.exists(file.path):
                yield from _moved_before(file, file.move_to, context)
            else:
                yield from _update(file, context)


def _deletion(file: FilePatch, context: ToolContext) -> Iterator[Change]:
    if not context.workspace.exists(file.path):
        return
    data, text = _read(file.path, context)
    if file.hunks and applied(text, file.hunks).text:
        raise DoesNotApply("it has more lines than the patch deletes")
    yield Change(file.path, None, _digest(data))


def _update(file: FilePatch, context: ToolContext) -> Iterator[Change]:
    data, text = _read(file.path, context)
    result = applied(text, file.hunks)
    if file.move_to is not None:
        yield Change(file.move_to, result.text.encode(), ABSENT)
        yield Change(file.path, None, _digest(data))
    elif not result.already:
        yield Change(file.path, result.text.encode(), _digest(data))


def _moved_before(file: FilePatch, target: str, context: ToolContext) -> Iterator[Change]:
    """Nothing, if the file already is where it should go and what it should be there."""
    _, text = _read(target, context)
    if not applied(text, file.hunks).already and file.hunks:
        raise DoesNotApply(f"it is gone, and {target!r} is not what it should have become")
    yield from ()


def _read(path: str, context: ToolContext) -> tuple[bytes, str]:
    data = context.workspace.read_bytes(path, MAX_FILE_BYTES, readable=context.readable)
    try:
        return data, data.decode()
    except UnicodeDecodeError as error:
        raise ToolError(f"cannot patch {path!r}: it is no UTF-8 text") from error


def _digest(data: bytes) -> str:
    return sha256(data).hexdigest()
