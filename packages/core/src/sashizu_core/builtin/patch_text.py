"""Reading patches: unified diffs, and the form that begins with `*** Begin Patch`."""

from __future__ import annotations

from sashizu_core.builtin.patch_begin import BeginPatch
from sashizu_core.builtin.patch_lines import FilePatch, Hunk, PatchError
from sashizu_core.builtin.patch_unified import UnifiedDiff

__all__ = ["FilePatch", "Hunk", "PatchError", "read_patch"]


def read_patch(text: str) -> tuple[FilePatch, ...]:
    """The files of a patch, in order, each named once.

    Raises:
        PatchError: see there.
    """
    lines = [line.removesuffix("\r") for line in text.split("\n")]
    is_begin_patch = text.lstrip().startswith("*** Begin Patch")
    files = tuple(BeginPatch(lines).files() if is_begin_patch else UnifiedDiff(lines).files())
    if not files:
        raise PatchError("the patch names no file")
    seen: set[str] = set()
    for name in (name for file in files for name in (file.path, file.move_to) if name):
        if name in seen:
            raise PatchError(f"the patch names {name!r} more than once; make it one change")
        seen.add(name)
    return files
