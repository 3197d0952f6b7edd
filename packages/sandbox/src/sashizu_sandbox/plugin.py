"""What sashizu-sandbox offers: sandboxes, and the tools that need one."""

from __future__ import annotations

from collections.abc import Sequence

from sashizu_core.hookspecs import hookimpl
from sashizu_core.settings import Settings
from sashizu_core.specs import SandboxSpec, ToolSpec

__all__ = ["register_sandboxes", "register_tools"]


@hookimpl
def register_sandboxes(settings: Settings) -> Sequence[SandboxSpec]:
    return []


@hookimpl
def register_tools(settings: Settings) -> Sequence[ToolSpec]:
    return []
