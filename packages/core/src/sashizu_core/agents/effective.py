"""Which of its listed tools an agent has, and why it does not have the others."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

from sashizu_core.agents.definition import AgentDefinition, tool_name
from sashizu_core.errors import UsageError, nearest
from sashizu_core.grants import Grants
from sashizu_core.specs import ToolSpec

__all__ = ["allows_tool", "effective_tools", "served_tools"]

_PACKAGES = {"analyze": "sashizu-offline", "shell": "sashizu-sandbox", "fetch": "sashizu-sandbox"}
"""Tools of packages that may not be installed."""

_OFFERED_BY_NOBODY = frozenset(
    {
        "api_client",
        "ast_analyzer",
        "brave_search",
        "code_indexer",
        "crawler",
        "csharp_language_server",
        "cve_lookup",
        "database_query",
        "dependency_scanner",
        "file_search",
        "image_analyzer",
        "pdf_reader",
        "python_language_server",
        "screenshot_tool",
        "search",
        "search_replace",
        "typescript_language_server",
        "unity_analyzer",
        "web_search",
    }
)
"""Names that older definitions list, and that a plugin may offer one day."""


def effective_tools(
    definition: AgentDefinition,
    tools: Mapping[str, ToolSpec],
    grants: Grants | None = None,
    *,
    served: bool = False,
) -> tuple[dict[str, ToolSpec], dict[str, str]]:
    """The tools that exist for an agent, and why the other listed ones do not, both by name.

    `tools` are those that plugins offer; `grants` are what is granted: by default what the
    definition says, and writing its artifacts, which every run grants. A tool exists if it is
    listed *and* everything that bounds it is granted. With `served` somebody asks servers for their
    tools, which are in neither answer.

    Raises:
        UsageError: a listed name is no tool that anybody knows; names the nearest.
    """
    granted = _granted(definition) if grants is None else grants
    aliases = {alias: spec for spec in tools.values() for alias in spec.aliases}
    present: dict[str, ToolSpec] = {}
    absent: dict[str, str] = {}
    for listed in definition.tools.mcp:
        name = tool_name(listed)
        spec = tools.get(listed) or tools.get(name) or aliases.get(listed) or aliases.get(name)
        if spec is None and served and "/" in listed:
            continue
        if spec is None:
            absent[listed] = _why_absent(definition, listed, tools)
        elif lacking := [need for need in spec.needs if not _is_granted(need, granted)]:
            absent[listed] = f"'tools.{lacking[0]}' grants nothing"
        else:
            present[spec.name] = spec
    return present, absent


def served_tools(definition: AgentDefinition, tools: Mapping[str, ToolSpec]) -> tuple[str, ...]:
    """What a definition lists of servers: names that no plugin offers, with a `/` in them."""
    return tuple(name for name in definition.tools.mcp if "/" in name and name not in tools)


def allows_tool(spec: ToolSpec, granted: Grants) -> bool:
    """Whether grants name a tool and grant something of everything that bounds it."""
    named = granted.tools is None or spec.name in granted.tools
    return named and all(_is_granted(need, granted) for need in spec.needs)


def _granted(definition: AgentDefinition) -> Grants:
    grants = definition.grants()
    return replace(grants, fs_write=(*grants.fs_write, *definition.artifacts))


def _is_granted(need: str, grants: Grants) -> bool:
    match need:
        case "fs.read":
            return bool(grants.fs_read)
        case "fs.write":
            return bool(grants.fs_write)
        case "net":
            return bool(grants.net)
        case "shell.exec":
            return bool(grants.exec)
        case "spawn":
            return bool(grants.spawn)
        case _:
            return False


def _why_absent(definition: AgentDefinition, listed: str, tools: Mapping[str, ToolSpec]) -> str:
    name = tool_name(listed)
    if "/" in listed:
        return "tools of servers need the package 'sashizu-mcp-server'"
    if package := _PACKAGES.get(name):
        return f"needs the package {package!r}"
    if name in _OFFERED_BY_NOBODY:
        return "no installed package offers it"
    known = {*tools, *_PACKAGES}
    raise UsageError(
        f"agent {definition.name!r} lists an unknown tool {listed!r}{nearest(name, known)}; "
        f"known: {', '.join(sorted(known))}"
    )
