"""Tools of servers as their agent's record tells of them, so that a replay asks no server."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any

from sashizu_core.errors import SashizuError
from sashizu_core.grants import McpRequest, PermissionRequest
from sashizu_core.protocols import Tool, ToolContext, ToolsServed
from sashizu_core.redaction import Redactor
from sashizu_core.types import StepKind, ToolResult, ToolSchema

__all__ = ["RecordedTool", "tools_from", "written_tools"]

FORMAT = 1


class RecordedTool:
    """A tool of a server as it was described then. It reads no arguments, and is never run."""

    def __init__(self, schema: ToolSchema, kind: StepKind, fingerprint: str) -> None:
        self._schema = schema
        self._kind = kind
        server, _, name = schema.name.partition("/")
        self._request = McpRequest(server, name, fingerprint)

    @property
    def schema(self) -> ToolSchema:
        return self._schema

    @property
    def kind(self) -> StepKind:
        return self._kind

    def parse(self, arguments: str) -> str:
        """The text as it is: whether it fitted what the server asked for is on record."""
        return arguments

    def requests(
        self,
        arguments: Any,  # noqa: ARG002 - as `Tool` has it
        context: ToolContext,  # noqa: ARG002
    ) -> Sequence[PermissionRequest]:
        return (self._request,)

    async def run(self, arguments: Any, context: ToolContext) -> ToolResult:  # noqa: ARG002
        raise SashizuError(f"a replay asks no server, and {self._schema.name!r} was to be called")


def written_tools(served: ToolsServed, redactor: Redactor) -> str:
    """What servers told of the tools that an agent has, as JSON without secrets."""
    tools = [
        {
            "name": name,
            "description": tool.schema.description,
            "parameters": tool.schema.parameters,
            "kind": tool.kind.value,
            "sha256": served.fingerprints.get(name, ""),
        }
        for name, tool in served.tools.items()
    ]
    values = {"format": FORMAT, "tools": tools, "absent": dict(served.absent)}
    return json.dumps(redactor.value(values), ensure_ascii=False)


def tools_from(text: str) -> ToolsServed:
    """What `written_tools` wrote.

    Raises:
        SashizuError: it was written by another version.
    """
    try:
        return _tools(json.loads(text))
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise SashizuError(
            "what the record says of tools of servers was written by another version of sashizu "
            f"({type(error).__name__}: {error})"
        ) from error


def _tools(values: Mapping[str, Any]) -> ToolsServed:
    if values["format"] != FORMAT:
        raise ValueError(f"its format is {values['format']!r}")
    tools: dict[str, Tool] = {}
    fingerprints: dict[str, str] = {}
    for each in values["tools"]:
        schema = ToolSchema(each["name"], each["description"], each["parameters"])
        fingerprints[schema.name] = each["sha256"]
        tools[schema.name] = RecordedTool(schema, StepKind(each["kind"]), each["sha256"])
    return ToolsServed(tools, dict(values["absent"]), fingerprints)
