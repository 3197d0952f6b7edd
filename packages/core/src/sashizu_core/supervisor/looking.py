"""What agents may use that look at files and change nothing."""

from __future__ import annotations

from collections.abc import Collection
from typing import Any

__all__ = ["looking"]

_TOOLS = ("list_files", "grep", "read_file")


def looking(tools: Collection[str]) -> dict[str, Any]:
    """The `tools` of a definition that reads: those of `tools` that look at files."""
    return {"mcp": [name for name in _TOOLS if name in tools], "fs": {"read": True}}
