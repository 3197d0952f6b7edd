"""Agents of Claude Code: `.claude/agents/NAME.md`, YAML between `---` and the prompt below it."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

from sashizu_core.agents.definition import AgentDefinition
from sashizu_core.agents.foreign import READING_TOOLS, Translation
from sashizu_core.agents.yaml_source import definition_of
from sashizu_core.documents import Document, KeyPath
from sashizu_core.errors import ConfigError
from sashizu_core.server_entries import SERVER_NAME
from sashizu_core.yaml_text import read_yaml

__all__ = ["read_claude_agent"]

_FRONT = re.compile(r"---[ \t]*\r?\n(.*?)^---[ \t]*(?:\r?\n|$)", re.DOTALL | re.MULTILINE)
_KNOWN = frozenset({"name", "description", "tools", "disallowedTools", "mcpServers"})
_LOST = {
    "model": "its models are named otherwise; choose one with --model",
    "permissionMode": "nothing but the listed tools is granted",
    "maxTurns": "set 'run.max_turns' in sashizu.toml",
    "skills": "an agent that lists the tool Skill chooses among all of them",
    "hooks": "hooks are read from settings, not from agents",
    "memory": "memory is not kept",
    "background": "every agent of a run works at the same time",
    "effort": "effort is not part of a definition",
    "isolation": "write it as YAML, in '.sashizu/agents'",
    "initialPrompt": "the goal of the task takes its place",
    "color": "the display chooses its own",
}
_TOOLS = {
    "Read": ("read_file",),
    "Grep": ("grep", "codebase_search"),
    "Glob": ("list_files",),
    "LS": ("list_files",),
    "Write": ("write_file",),
    "Edit": ("apply_patch",),
    "MultiEdit": ("apply_patch",),
    "NotebookEdit": ("apply_patch",),
    "Skill": ("read_skill",),
}
_ABSENT = {
    "Bash": "it needs the package 'sashizu-sandbox'",
    "WebFetch": "it needs the package 'sashizu-sandbox'",
    "WebSearch": "no installed package offers it",
    "Agent": "starting agents is granted in YAML, by 'spawn'",
    "Task": "starting agents is granted in YAML, by 'spawn'",
}
_SERVER_TOOL = re.compile(r"mcp__([A-Za-z0-9_.-]+?)__([A-Za-z0-9_.-]+)")


def read_claude_agent(text: str, file: Path) -> tuple[AgentDefinition, tuple[str, ...]]:
    """Read one definition; returns it and what was not taken over.

    Without `tools` it may read the whole workspace, use all tools of its servers and do nothing
    else.

    Raises:
        ConfigError: there is no front matter, it is no YAML, or lacks `name` or `description`.
    """
    front = _FRONT.match(text)
    if front is None:
        raise ConfigError(
            "does not begin with front matter: lines of YAML between two lines '---'",
            file=file,
            line=1,
            column=1,
        )
    document = read_yaml(front[1], file, first_line=2)
    for key in ("name", "description"):
        if not isinstance(document.data.get(key), str):
            raise document.error((key,), f"{key!r} is missing or no text")
    agent = Translation(document)
    agent.warn_of_others(_KNOWN, _LOST)
    _take_tools(agent, document)
    _take_servers(agent, document)
    data = {
        "name": agent.text("name"),
        "goal": agent.text("description"),
        "instructions": text[front.end() :].strip(),
        "tools": agent.tools(),
        "servers": agent.servers,
    }
    return definition_of(data, document), tuple(agent.warnings)


def _take_tools(agent: Translation, document: Document) -> None:
    if document.data.get("tools") is None:
        agent.add_tools(*READING_TOOLS)
    for path, entry in _entries(document, "tools"):
        agent.add_tools(*_ours(agent, path, entry))
    for _, entry in _entries(document, "disallowedTools"):
        agent.remove_tools(*_TOOLS.get(_bare(entry), ()))


def _take_servers(agent: Translation, document: Document) -> None:
    """A table of servers, or a list of tables and of names that are described elsewhere.

    Who lists no tools has all of its servers'.
    """
    value: Any = document.data.get("mcpServers") or {}
    listed = document.data.get("tools") is None
    for part in value if isinstance(value, list) else [value]:
        if isinstance(part, dict):
            agent.add_servers(("mcpServers",), part, listed=listed)
        elif isinstance(part, str) and SERVER_NAME.fullmatch(part):
            agent.add_tools(*([f"{part}/*"] if listed else ()))
        else:
            raise document.error(("mcpServers",), "'mcpServers': write tables or names of servers")


def _entries(document: Document, key: str) -> list[tuple[KeyPath, str]]:
    """The names in a list, or in text between commas that stand outside of parentheses."""
    value: Any = document.data.get(key)
    if value is None:
        return []
    if isinstance(value, str):
        names = [name.strip() for name in re.split(r",(?![^()]*\))", value)]
        return [((key,), name) for name in names if name]
    if isinstance(value, list) and all(isinstance(item, str) for item in value):
        return [((key, index), item.strip()) for index, item in enumerate(value)]
    raise document.error((key,), f"{key!r}: write names between commas, or a list of names")


def _bare(entry: str) -> str:
    """`Bash(git log:*)` is `Bash`."""
    return entry.partition("(")[0].strip()


def _ours(agent: Translation, path: KeyPath, entry: str) -> tuple[str, ...]:
    """Our tools for one of theirs; warns where there is none or less."""
    name = _bare(entry)
    if server := _SERVER_TOOL.fullmatch(name):
        return (f"{server[1]}/{server[2]}",)
    if name not in _TOOLS:
        why = _ABSENT.get(name, "there is no such tool")
        agent.warn(path, f"the tool {entry!r} is not taken over: {why}")
        return ()
    if name != entry:
        agent.warn(path, f"the tool {entry!r} is not taken over: its rule in brackets is not read")
        return ()
    return _TOOLS[name]
