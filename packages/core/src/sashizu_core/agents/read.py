"""One agent file of any format."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from pathlib import Path

from sashizu_core.agents.claude_markdown import read_claude_agent
from sashizu_core.agents.codex_toml import read_codex_agent
from sashizu_core.agents.definition import AgentDefinition
from sashizu_core.agents.entries import AgentEntry, Scope
from sashizu_core.agents.yaml_source import read_yaml_agent
from sashizu_core.documents import read_source, read_text
from sashizu_core.errors import ConfigError

__all__ = ["LARGEST_FILE", "claimed_name", "read_agent_file", "read_agent_text"]

LARGEST_FILE = 256 * 1024
"""Bytes of an agent file that are read."""

_FORMATS: Mapping[str, Callable[[str, Path], tuple[AgentDefinition, tuple[str, ...]]]] = {
    ".yaml": read_yaml_agent,
    ".yml": read_yaml_agent,
    ".toml": read_codex_agent,
    ".md": read_claude_agent,
}


_CLAIM = re.compile(r"^name[ \t]*[:=][ \t]*[\"']?([^\"'#\r\n]+)", re.MULTILINE)


def claimed_name(file: Path) -> str:
    """What a file that is no agent seems to call itself; its stem where it does not say."""
    try:
        text = read_text(file, limit_bytes=LARGEST_FILE, follow_links=False)
    except (ConfigError, FileNotFoundError):
        return file.stem
    found = _CLAIM.search(text)
    return found[1].strip() if found else file.stem


def read_agent_text(text: str, file: Path) -> tuple[AgentDefinition, tuple[str, ...]]:
    """Read the text of an agent file; its ending says the format.

    Returns:
        The definition, and one sentence for each thing that was not understood.

    Raises:
        ConfigError: the text is no agent; says where.
    """
    read = _FORMATS.get(file.suffix)
    if read is None:
        known = ", ".join(_FORMATS)
        raise ConfigError(
            f"the ending {file.suffix!r} is no format of agents; known: {known}", file=file
        )
    return read(text, file)


def read_agent_file(file: Path, scope: Scope = "user") -> AgentEntry:
    """Read an agent file; one of a repository is not read through a link.

    Raises:
        ConfigError: it cannot be read, or is no agent; says where.
    """
    try:
        source = read_source(file, limit_bytes=LARGEST_FILE, follow_links=scope != "repository")
    except FileNotFoundError as error:
        raise ConfigError("there is no such file", file=file) from error
    definition, warnings = read_agent_text(source.text, file)
    return AgentEntry(definition, file, scope, warnings, source.sha256)
