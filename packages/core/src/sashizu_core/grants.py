"""What an agent can ask for, and what it can be given."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal

__all__ = [
    "DeviceRequest",
    "ExecRequest",
    "Grants",
    "McpRequest",
    "NetRequest",
    "PathRequest",
    "PermissionRequest",
    "Rule",
    "SpawnRequest",
    "Subject",
    "ToolRequest",
    "Touched",
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
class ExecRequest:
    """To run one program: `argv` is what is executed, without a shell.

    `program` is the absolute path that `argv[0]` was resolved to, empty when it was not.
    `any_code` says that it runs code which it is given or finds in files: an interpreter, a test
    runner, a build tool. `doubt` says what of the arguments was not understood, empty when all was.
    `enforced_by` names the sandbox that will hold the program, empty when none does.
    """

    argv: tuple[str, ...]
    program: str
    any_code: bool = False
    doubt: str = ""
    enforced_by: str = ""


@dataclass(frozen=True, slots=True)
class McpRequest:
    """To call a tool of an MCP server; `schema_sha256` fingerprints what it says it takes."""

    server: str
    tool: str
    schema_sha256: str


@dataclass(frozen=True, slots=True)
class DeviceRequest:
    """To use a device by its stable name, such as a GPU."""

    device: str


@dataclass(frozen=True, slots=True)
class NetRequest:
    """To connect to one URL's origin and path.

    `scheme` and `host` are lower case; `host` is an A-label, an IPv4 address, or an IPv6 address
    without brackets; `path` begins with `/` and is percent-encoded, without query. It is empty
    where it cannot be known, as in a tunnel: then only a grant without a path allows it.
    """

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


PermissionRequest = (
    PathRequest | ExecRequest | NetRequest | ToolRequest | McpRequest | SpawnRequest | DeviceRequest
)


Touched = Literal["read", "write", "exec", "net", "tool", "spawn", "device"]
"""What a rule is about."""


@dataclass(frozen=True, slots=True)
class Rule:
    """An exception to what is granted: it denies, or has somebody asked. It never widens.

    `touches` says what is asked for: to read or write a path, to run a program, to connect to a
    host, to call a tool (of a server: `server/tool`), to start an agent, to use a device.
    `pattern` is a path (and all that lies in it), the first words of a command line, a host or URL,
    or a name; `"*"` is any. `reason` is for the person who meets the rule; `source` says where it
    was read, as `FILE:LINE`. Neither is part of what makes two rules equal.
    """

    verdict: Literal["deny", "ask"]
    touches: Touched
    pattern: str
    reason: str = field(default="", compare=False)
    source: str = field(default="", compare=False)


@dataclass(frozen=True, slots=True)
class Grants:
    """What an agent may do; nothing by default.

    Paths are relative to the workspace, where `"."` grants all of it, or absolute. `None` for
    `tools` means every tool that the other grants allow; it is used for ceilings, never for an
    agent's own grants. `net` are patterns of URLs, `exec` first words of command lines, `devices`
    names of devices. `rules` are exceptions; `source` says where the grants were read.
    `silent_on` is None for what an agent has itself; for a ceiling it names those of `exec` and
    `net` that the ceiling says nothing of, and that were filled in from what is beneath it.
    """

    tools: frozenset[str] | None = frozenset()
    fs_read: tuple[str, ...] = ()
    fs_write: tuple[str, ...] = ()
    net: tuple[str, ...] = ()
    exec: tuple[str, ...] = ()
    spawn: frozenset[str] = frozenset()
    source: str = ""
    rules: tuple[Rule, ...] = ()
    devices: frozenset[str] = frozenset()
    silent_on: frozenset[str] | None = field(default=None, compare=False)


@dataclass(frozen=True, slots=True)
class Subject:
    """Who asks: an agent instance and the grants of itself and its ancestors, outermost first."""

    agent_id: str
    agent_name: str
    chain: tuple[Grants, ...]
