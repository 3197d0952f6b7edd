"""Tool names as the APIs allow them, and back; and ids of tool calls that are unique."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterable, Mapping

from sashizu_core.types import ToolCall, ToolSchema

__all__ = ["own_names", "unique_ids", "wire_name"]

_ALLOWED = re.compile(r"[A-Za-z0-9_-]{1,64}")
_FORBIDDEN = re.compile(r"[^A-Za-z0-9_-]")


def wire_name(name: str) -> str:
    """The name itself where the APIs allow it, else a readable one that no other tool gets."""
    if _ALLOWED.fullmatch(name):
        return name
    digest = hashlib.sha256(name.encode("utf-8", "surrogatepass")).hexdigest()[:8]
    return f"{_FORBIDDEN.sub('_', name)[:55]}_{digest}"


def own_names(tools: Iterable[ToolSchema]) -> Mapping[str, str]:
    """The tools' own names by the names that are sent."""
    return {wire_name(tool.name): tool.name for tool in tools}


def unique_ids(calls: Iterable[ToolCall]) -> tuple[ToolCall, ...]:
    """The same calls; an id that is missing or was given before gets the call's position."""
    taken: set[str] = set()
    unique = []
    for position, call in enumerate(calls):
        call_id = call.id or f"call-{position}"
        while call_id in taken:
            call_id = f"{call_id}-{position}"
        taken.add(call_id)
        unique.append(ToolCall(call_id, call.name, call.arguments))
    return tuple(unique)
