"""What an agent can ask for, and what it can be given."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

__all__ = [
    "Grants",
    "NetRequest",
    "PathRequest",
    "PermissionRequest",
    "Rule",
    "SpawnRequest",
    "Subject",
    "ToolRequest",
]


@dataclass(frozen=True, slots=True)
class PathRequest:
    """To read or write one path and, if it is a folder, what lies in it.

    Relative to the workspace, with `/`, normalised, never with `..`; absolute for a path in one of
    the workspace's further roots.
    """

    path: str
    access: Literal["read", "write"]


@dataclass(frozen=True, slots=True)
class NetRequest:
    """To connect to one URL's origin and path."""

    scheme: str
    host: str
    port: int
    path: str


@dataclass(frozen=True, slots=True)
class ToolRequest:
    """To call a tool by name."""

    tool: str


@dataclass(frozen=True, slots=True)
class SpawnRequest:
    """To start another agent."""

    agent: str


PermissionRequest = PathRequest | NetRequest | ToolRequest | SpawnRequest


@dataclass(frozen=True, slots=True)
class Rule:
    """An exception to what is granted: it denies, or has somebody asked. It never widens.

    `touches` says what is asked for: to read or write a path, to call a tool, to start an agent, to
    connect to a host. `pattern` is a path (and all that lies in it) or a name; `"*"` is any.
    """

    verdict: Literal["deny", "ask"]
    touches: Literal["read", "write", "tool", "spawn", "net"]
    pattern: str


@dataclass(frozen=True, slots=True)
class Grants:
    """What an agent may do; nothing by default.

    Paths are relative to the workspace, where `"."` grants all of it, or absolute. `None` for
    `tools` means every tool that the other grants allow; it is used for ceilings, never for an
    agent's own grants. `rules` are exceptions; `source` says where the grants were read.
    """

    tools: frozenset[str] | None = frozenset()
    fs_read: tuple[str, ...] = ()
    fs_write: tuple[str, ...] = ()
    net: tuple[str, ...] = ()
    exec: tuple[str, ...] = ()
    spawn: frozenset[str] = frozenset()
    source: str = ""
    rules: tuple[Rule, ...] = ()


@dataclass(frozen=True, slots=True)
class Subject:
    """Who asks: an agent instance and the grants of itself and its ancestors, outermost first."""

    agent_id: str
    agent_name: str
    chain: tuple[Grants, ...]
