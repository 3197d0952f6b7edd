"""What the formats of other programs have in common when they become our definitions."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from sashizu_core.documents import Document, KeyPath
from sashizu_core.errors import nearest
from sashizu_core.server_entries import known_entries

__all__ = ["READING_TOOLS", "Translation"]

READING_TOOLS = ("list_files", "read_file", "grep", "codebase_search", "read_skill")
"""What an agent gets that says nothing of tools."""

WRITING_TOOLS = ("write_file", "apply_patch")


class Translation:
    """Collects a definition while a foreign document is read, and warns of what gets lost."""

    def __init__(self, document: Document) -> None:
        self.document = document
        self.warnings: list[str] = []
        self.servers: dict[str, Any] = {}
        self._read = True
        self._write = False
        self._tools: list[str] = []

    def text(self, key: str) -> Any:
        """A value as it stands; a definition's own validation says whether it is text."""
        return self.document.data.get(key)

    def warn(self, path: KeyPath, message: str) -> None:
        self.warnings.append(str(self.document.error(path, message)))

    def warn_of_others(self, known: frozenset[str], lost: Mapping[str, str]) -> None:
        """Warn of every key that is not known: those of `lost` with the reason."""
        for key in self.document.data:
            if key in lost:
                self.warn((key,), f"{key!r} is not taken over: {lost[key]}")
            elif key not in known:
                self.warn((key,), f"{key!r} is not known{nearest(key, {*known, *lost})}")

    def add_tools(self, *names: str) -> None:
        """List tools; those that write also grant writing to the whole workspace."""
        self._tools += [name for name in names if name not in self._tools]
        self._write = self._write or any(name in WRITING_TOOLS for name in names)

    def remove_tools(self, *names: str) -> None:
        self._tools = [name for name in self._tools if name not in names]
        self._write = any(name in WRITING_TOOLS for name in self._tools)

    def add_servers(self, path: KeyPath, servers: Mapping[str, Any], *, listed: bool) -> None:
        """Take over servers; with `listed` all of their tools are listed too."""
        entries, problems = known_entries(servers)
        for problem in problems:
            self.warn(path, problem)
        self.servers |= {name: entry.model_dump() for name, entry in entries.items()}
        if listed:
            self.add_tools(*(f"{name}/*" for name in entries))

    def tools(self) -> dict[str, Any]:
        """The `tools` of a definition."""
        return {"mcp": self._tools, "fs": {"read": self._read, "write": self._write}}
