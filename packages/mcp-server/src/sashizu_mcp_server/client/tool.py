"""A tool of a server, as agents call it."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from typing import Any

import anyio.to_thread
from mcp.shared.dispatcher import ProgressFnT
from mcp_types import (
    AudioContent,
    CallToolResult,
    EmbeddedResource,
    ImageContent,
    ResourceLink,
    TextContent,
    TextResourceContents,
)
from sashizu_core.grants import McpRequest, PermissionRequest
from sashizu_core.protocols import ToolContext
from sashizu_core.types import StepKind, ToolResult, ToolSchema

from sashizu_mcp_server.client.faults import ToolChanged
from sashizu_mcp_server.client.listing import ServedTool
from sashizu_mcp_server.client.pins import PinBook, PinState
from sashizu_mcp_server.client.session import ServerSession
from sashizu_mcp_server.client.words import clean_line, clean_text

__all__ = ["McpTool"]

MOST_TEXT = 300_000
"""Characters of one result; what enters a conversation is cut further."""

MOST_PARTS = 1_000


class McpTool:
    """One tool of one server, for the agents that share its session.

    It only reads where the operator trusts the server and the server says so.
    """

    def __init__(self, served: ServedTool, session: ServerSession, book: PinBook) -> None:
        self._served = served
        self._session = session
        self._book = book

    @property
    def schema(self) -> ToolSchema:
        return self._served.schema

    @property
    def kind(self) -> StepKind:
        believed = self._session.config.trusted and self._served.read_only
        return StepKind.PURE if believed else StepKind.EFFECT

    def parse(self, arguments: str) -> dict[str, Any]:
        return self._served.check.parse(self._served.qualified, arguments)

    def requests(self, arguments: Any, context: ToolContext) -> Sequence[PermissionRequest]:  # noqa: ARG002
        served = self._served
        return (McpRequest(served.server, served.name, served.sha256),)

    async def run(self, arguments: Any, context: ToolContext) -> ToolResult:
        if self._state() != "approved":  # and yet allowed: whoever was asked said yes
            await anyio.to_thread.run_sync(self._approve)
        progress = _progress(context.progress) if context.progress is not None else None
        try:
            with self._session.calling(context):
                result = await self._session.connection.call(self._served, arguments, progress)
        except ToolChanged as changed:
            await self._session.tell_changed(self._served.name, changed.digest)
            raise
        return ToolResult(_text(result), is_error=bool(result.is_error))

    def _state(self) -> PinState:
        served = self._served
        return self._book.state(served.server, served.name, served.sha256)

    def _approve(self) -> None:
        served, identity = self._served, self._session.config.identity
        self._book.pin(identity, served.server, {served.name: served.sha256})


def _progress(show: Callable[[str], None]) -> ProgressFnT:
    async def told(progress: float, total: float | None, message: str | None) -> None:
        of = f" of {total:g}" if total else ""
        show(clean_line(message or f"{progress:g}{of}", 200))

    return told


def _text(result: CallToolResult) -> str:
    """A result as text; what is no text is named, with its size."""
    parts = [_part(part) for part in result.content[:MOST_PARTS]]
    if not any(isinstance(part, TextContent) for part in result.content) and (
        result.structured_content is not None
    ):
        parts.append(json.dumps(result.structured_content, ensure_ascii=False))
    return clean_text("\n".join(parts), MOST_TEXT)


def _part(part: Any) -> str:
    match part:
        case TextContent():
            return str(part.text)
        case ImageContent() | AudioContent():
            return f"[left out: {part.mime_type}, {len(part.data) * 3 // 4} bytes]"
        case ResourceLink():
            return f"[resource: {part.uri}]"
        case EmbeddedResource() if isinstance(part.resource, TextResourceContents):
            return str(part.resource.text)
        case EmbeddedResource():
            return f"[left out: the resource {part.resource.uri}]"
        case _:
            return "[left out: a part that is not known]"
