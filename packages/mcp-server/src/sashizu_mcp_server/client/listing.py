"""What a server says of its tools, as far as it can be used."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from sashizu_core.tool_fingerprint import tool_fingerprint
from sashizu_core.types import ToolSchema

from sashizu_mcp_server.client.arguments import ArgumentsCheck, UnusableSchema
from sashizu_mcp_server.client.words import clean_line, clean_text, clean_value

__all__ = ["MOST_TOOLS", "Listing", "ServedTool", "read_listing"]

MOST_TOOLS = 500
"""Tools of one server."""

MOST_DESCRIPTION = 2_000
"""Characters of a description that a model is shown."""

_NAME = re.compile(r"[A-Za-z0-9_.-]{1,128}")


@dataclass(frozen=True, slots=True)
class ServedTool:
    """One tool as its server tells of it.

    `sha256` fingerprints everything that is told of it, in hexadecimal. `schema` is what a model is
    shown, without what nobody sees. `read_only` is only what the server says of itself.
    """

    server: str
    name: str
    sha256: str
    schema: ToolSchema
    check: ArgumentsCheck
    read_only: bool

    @property
    def qualified(self) -> str:
        return f"{self.server}/{self.name}"


@dataclass(frozen=True, slots=True)
class Listing:
    """The tools of a server by name, and why it has not the others that it told of."""

    tools: Mapping[str, ServedTool]
    left_out: Mapping[str, str]


def read_listing(server: str, told: Iterable[Mapping[str, Any]]) -> Listing:
    """Make tools of what a server told: each a mapping as the protocol has it."""
    tools: dict[str, ServedTool] = {}
    left_out: dict[str, str] = {}
    for count, tool in enumerate(told):
        name = str(tool.get("name", ""))
        shown = clean_line(name, 80)
        if count >= MOST_TOOLS:
            left_out[shown] = f"the server tells of more than {MOST_TOOLS} tools"
        elif not _NAME.fullmatch(name):
            left_out[shown] = "its name has other characters than letters, digits and '_.-'"
        elif name in tools or name in left_out:
            tools.pop(name, None)
            left_out[name] = "the server tells of two tools of this name"
        else:
            try:
                tools[name] = _served(server, name, tool)
            except UnusableSchema as error:
                left_out[name] = str(error)
    return Listing(tools, left_out)


def _served(server: str, name: str, tool: Mapping[str, Any]) -> ServedTool:
    parameters = tool.get("inputSchema")
    if not isinstance(parameters, Mapping):
        raise UnusableSchema("it has no schema")
    check = ArgumentsCheck(parameters)
    annotations = tool.get("annotations")
    hints = annotations if isinstance(annotations, Mapping) else {}
    said = clean_text(str(tool.get("description") or tool.get("title") or ""), MOST_DESCRIPTION)
    return ServedTool(
        server,
        name,
        tool_fingerprint(tool),
        ToolSchema(
            f"{server}/{name}",
            f"A tool of the server {server!r}, which describes it so: {said or '(not at all)'}",
            clean_value(parameters, MOST_DESCRIPTION),
        ),
        check,
        hints.get("readOnlyHint") is True,
    )
