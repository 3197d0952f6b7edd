"""What sashizu-mcp-server offers: the tools of MCP servers, and the commands of the server."""

from __future__ import annotations

from collections.abc import Sequence

from sashizu_core.hookspecs import hookimpl
from sashizu_core.settings import Settings
from sashizu_core.specs import ToolSpec

__all__ = ["register_tools"]


@hookimpl
def register_tools(settings: Settings) -> Sequence[ToolSpec]:
    return []
