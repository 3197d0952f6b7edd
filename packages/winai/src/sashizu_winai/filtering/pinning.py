"""Tools are called only as they described themselves first, or as the operator has pinned them."""

from __future__ import annotations

from collections.abc import Mapping

from sashizu_core.grants import McpRequest, PermissionRequest, Subject
from sashizu_core.types import Decision

__all__ = ["METHOD", "PinnedTools"]

METHOD = "method."
"""How the name of a method of the protocol begins where it is judged like a tool."""


class PinnedTools:
    """The policy of one connection. `pins` are SHA-256 by `SERVER/TOOL`."""

    def __init__(self, pins: Mapping[str, str]) -> None:
        self._pins = pins
        self._first: dict[str, str] = {}

    def learn(self, server: str, told: Mapping[str, str]) -> None:
        """What a server tells of its tools, as name to SHA-256; the first time counts."""
        for tool, digest in told.items():
            self._first.setdefault(f"{server}/{tool}", digest)

    def check(self, request: PermissionRequest, subject: Subject) -> Decision | None:
        if not isinstance(request, McpRequest) or request.tool.startswith(METHOD):
            return None
        name = f"{request.server}/{request.tool}"
        pinned = self._pins.get(name)
        expected = pinned or self._first.get(name)
        if expected == request.schema_sha256 and expected:
            return None
        if not request.schema_sha256:
            why = "the server has not told what it takes"
        elif pinned:
            why = f"it describes itself otherwise than it is pinned (now {request.schema_sha256})"
        else:
            why = "it describes itself otherwise than before"
        return Decision(
            "deny",
            f"{subject.agent_name} may not call the tool {name!r}: {why}",
            "mcp_filter: pins" if pinned else "mcp_filter: first told",
            "policy",
        )
