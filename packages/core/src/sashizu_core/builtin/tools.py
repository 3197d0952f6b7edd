"""The tools of core as specs: the real things are imported when they are opened."""

from __future__ import annotations

from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from importlib import import_module

from sashizu_core.protocols import Tool
from sashizu_core.specs import ToolSpec

__all__ = ["delegate_tool", "file_tools", "skill_tool"]

_READ = ("fs.read",)
_WRITE = ("fs.write",)

_TOOLS = (
    ("list_files", "ListFiles", "list the files of a folder", _READ),
    ("read_file", "ReadFile", "read lines of a text file", _READ),
    ("grep", "Grep", "find lines that match a regular expression", _READ),
    ("codebase_search", "CodebaseSearch", "find passages by their words, best first", _READ),
    ("apply_patch", "ApplyPatch", "change files as a patch says", _READ + _WRITE),
    ("write_file", "WriteFile", "write a whole text file", _WRITE),
)


def _spec(name: str, class_name: str, summary: str, needs: tuple[str, ...]) -> ToolSpec:
    @asynccontextmanager
    async def open_() -> AsyncGenerator[Tool]:
        yield getattr(import_module(f"sashizu_core.builtin.{name}"), class_name)()

    # Definitions written for Codex list the same tools with this prefix.
    return ToolSpec(name, summary, open_, needs, aliases=(f"codex_{name}",))


def file_tools() -> list[ToolSpec]:
    """One spec for each tool, in the order in which models see them."""
    return [_spec(*tool) for tool in _TOOLS]


def delegate_tool() -> ToolSpec:
    """The tool that starts agents, for agents that may."""
    return _spec("delegate", "Delegate", "have another agent do a part of the work", ("spawn",))


def skill_tool() -> ToolSpec:
    """The tool that reads skills, for agents that are told of some."""
    return _spec("read_skill", "ReadSkill", "read a skill that the agent was told of", ())
