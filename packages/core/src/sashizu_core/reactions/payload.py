"""What a command is told on stdin: the fields that programs share, and names that they know."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from sashizu_core.types import ToolCall

__all__ = ["shared_name", "tool_input", "tool_names"]

_NAMES: Mapping[str, tuple[str, ...]] = {
    "shell": ("Bash",),
    "read_file": ("Read",),
    "grep": ("Grep",),
    "codebase_search": ("Grep",),
    "list_files": ("Glob", "LS"),
    "write_file": ("Write",),
    "apply_patch": ("Edit", "MultiEdit", "Write"),
    "fetch": ("WebFetch",),
    "delegate": ("Task", "Agent"),
    "read_skill": ("Skill",),
}
"""What other programs call our tools; the first is the one that commands are told."""

LARGEST_TEXT = 64 * 1024
"""Characters of one text that a command is told."""


def tool_names(tool: str) -> Sequence[str]:
    """All names that a matcher may name a tool by: ours, theirs, and `mcp__SERVER__TOOL`."""
    server, slash, name = tool.partition("/")
    if slash:
        return (tool, f"mcp__{server}__{name}")
    return (tool, *_NAMES.get(tool, ()))


def shared_name(tool: str) -> str:
    """The one name that a command is told."""
    if tool == "apply_patch":  # Codex has a tool of this name, and of this argument
        return tool
    names = tool_names(tool)
    return names[1] if len(names) > 1 else tool


def tool_input(call: ToolCall, root: Path) -> Mapping[str, Any]:
    """The arguments of a call, with `file_path` beside our `path`, and `command` for a patch."""
    try:
        given = json.loads(call.arguments or "{}")
    except (ValueError, RecursionError):
        return {}
    if not isinstance(given, dict):
        return {}
    if isinstance(path := given.get("path"), str) and "file_path" not in given:
        given["file_path"] = str(root / path)
    if call.name == "apply_patch" and isinstance(patch := given.get("patch"), str):
        given.setdefault("command", patch)
    if call.name == "shell" and isinstance(argv := given.get("argv"), list):
        given.setdefault("command", " ".join(map(str, argv)))
    return given
