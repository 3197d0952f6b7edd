"""One tool call on its way: understood, and run by its tool."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from sashizu_core.errors import ArgumentsError, RecordError, SashizuError, ToolError, nearest
from sashizu_core.grants import ExecRequest, PathRequest, PermissionRequest
from sashizu_core.protocols import Tool, ToolContext
from sashizu_core.turn.tool_results import MAX_RESULT_BYTES, cut_text
from sashizu_core.types import Decision, ToolCall, ToolResult

__all__ = ["PendingCall"]


@dataclass(slots=True)
class PendingCall:
    """One tool call on its way: `result` is set as soon as it is known."""

    call: ToolCall
    seq: int
    tool: Tool | None = None
    arguments: Any = None
    decision: Decision | None = None
    result: ToolResult | None = None
    error_type: str = ""
    writes: tuple[str, ...] = ()
    starts: bool = False

    def understand(
        self, tools: Mapping[str, Tool], context: ToolContext
    ) -> Sequence[PermissionRequest]:
        """Find the tool, read the arguments, and hear what the call would touch."""
        call = self.call
        tool = tools.get(call.name)
        if tool is None:
            known = ", ".join(tools) or "none"
            hint = nearest(call.name, tools)
            self.result = ToolResult(
                f"there is no tool {call.name!r}; known: {known}{hint}", is_error=True
            )
            self.error_type = "unknown_tool"
            return ()
        try:
            self.arguments = tool.parse(call.arguments)
            requests = tool.requests(self.arguments, context)
        except ArgumentsError as error:
            self.result = ToolResult(str(error), is_error=True)
            self.error_type = "malformed_arguments"
            return ()
        except ToolError as error:
            self.result = ToolResult(str(error), is_error=True)
            self.error_type = "not_understood"
            return ()
        self.tool = tool
        self.starts = any(isinstance(request, ExecRequest) for request in requests)
        self.writes = tuple(
            request.path
            for request in requests
            if isinstance(request, PathRequest) and request.access == "write"
        )
        return requests

    async def run(self, tool: Tool, context: ToolContext) -> ToolResult:
        """Run a tool; whatever goes wrong inside it becomes an answer to the model."""
        try:
            result = await tool.run(self.arguments, context)
        except RecordError:
            raise
        except SashizuError as error:
            self.error_type = type(error).__name__
            return ToolResult(str(error), is_error=True)
        except Exception as error:  # noqa: BLE001 - a bug of a tool ends this call and nothing else
            self.error_type = type(error).__name__
            return ToolResult(f"{self.call.name} failed: {type(error).__name__}: {error}", True)
        if len(result.content) * 4 > MAX_RESULT_BYTES:
            return replace(result, content=cut_text(result.content, MAX_RESULT_BYTES))
        return result
