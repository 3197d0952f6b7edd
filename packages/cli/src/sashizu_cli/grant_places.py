"""Where the file of an agent says what it is granted."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from sashizu_core.errors import ConfigError
from sashizu_core.granted_paths import clean

if TYPE_CHECKING:
    from sashizu_core.agents import AgentEntry
    from sashizu_core.documents import Document, KeyPath

__all__ = ["GrantPlaces"]

_KEYS: dict[str, KeyPath] = {
    "tools": ("tools", "mcp"),
    "fs.read": ("tools", "fs", "read"),
    "fs.write": ("tools", "fs", "write"),
    "net": ("tools", "net", "allow"),
    "shell.exec": ("tools", "shell", "exec"),
    "spawn": ("spawn", "agents"),
}


class GrantPlaces:
    """Finds grants in an agent's file; knows lines where the file is YAML."""

    def __init__(self, entry: AgentEntry) -> None:
        self._entry = entry
        self._document = _document(entry.file)

    def of(self, kind: str, value: str) -> str:
        """`FILE:LINE` of a grant such as `fs.read`, `src`; the file alone where that is unknown.

        What the file does not say is given by the run: its folder for artifacts, a scope outside.
        """
        path = _KEYS.get(kind)
        if self._entry.file is None:
            return f"agent {self._entry.name}"
        if self._document is None or path is None:
            return str(self._entry.file)
        found = self._find(self._document, path, value)
        place = self._document.place(found) if found else None
        return f"{self._entry.file}:{place.line}" if place else "given by the run"

    def of_rule(self, rule: str, source: str) -> str:
        """The same for the rule of a decision, whose source may name the agent alone."""
        kind, _, value = rule.partition(": ")
        return self.of(kind, value) if source == f"agent {self._entry.name}" else source

    def _find(self, document: Document, path: KeyPath, value: str) -> KeyPath:
        listed: object = document.data
        for key in path:
            listed = listed.get(key) if isinstance(listed, dict) else None
        if listed is True:
            return path if value == "." else ()
        if not isinstance(listed, list):
            return ()
        for index, item in enumerate(listed):
            text = str(item)
            if value in (text, text.removeprefix("codex_"), clean(text)):
                return (*path, index)
        return path if path == _KEYS["tools"] else ()  # a tool may be listed by another name


def _document(file: Path | None) -> Document | None:
    if file is None or file.suffix not in (".yaml", ".yml"):
        return None
    from sashizu_core.agents.read import LARGEST_FILE
    from sashizu_core.documents import read_text
    from sashizu_core.yaml_text import read_yaml

    try:
        return read_yaml(read_text(file, limit_bytes=LARGEST_FILE), file)
    except (ConfigError, FileNotFoundError):
        return None
