"""What one set of grants says to one request."""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable

from sashizu_core.granted_commands import ANY_CODE, oddity_of_command, reaches_command
from sashizu_core.granted_paths import Touch, clean, covers
from sashizu_core.granted_rules import rule_matches, rule_text
from sashizu_core.granted_urls import oddity_of_url, reaches, url_pattern
from sashizu_core.grants import (
    DeviceRequest,
    ExecRequest,
    Grants,
    McpRequest,
    NetRequest,
    PathRequest,
    PermissionRequest,
    Rule,
    SpawnRequest,
    ToolRequest,
)
from sashizu_core.secret_files import secret_depth
from sashizu_core.types import Decision

__all__ = ["granted_path", "judge", "request_text", "whole_server"]

_SERVER = re.compile(r"[A-Za-z0-9_.-]{1,128}")


def granted_path(path: str, touch: Touch, grants: Grants) -> str | None:
    """The grant that reaches a path, as it is written; None if none does."""
    for granted in grants.fs_read if touch == "read" else grants.fs_write:
        folder = clean(granted)
        if folder is not None and covers(folder, path, touch):
            return granted
    return None


def request_text(request: PermissionRequest) -> str:
    """A request in words; what it holds is quoted, so that it stays on its line."""
    match request:
        case PathRequest(path, access):
            return f"{access} {path!r}"
        case ToolRequest(tool):
            return f"call the tool {tool!r}"
        case SpawnRequest(agent):
            return f"start the agent {agent!r}"
        case NetRequest(scheme, host, port, path):
            where = f"[{host}]" if ":" in host else host
            return f"connect to {f'{scheme}://{where}:{port}{path}'!r}"
        case ExecRequest(argv):
            return f"run {' '.join(argv)!r}"
        case McpRequest(server, tool):
            return f"call the tool {tool!r} of the server {server!r}"
        case DeviceRequest(device):
            return f"use the device {device!r}"


def judge(request: PermissionRequest, grants: Grants, who: str) -> Decision:
    """What one level of a chain says: `deny > ask > allow > default deny`."""
    may_not = f"{who} may not {request_text(request)}"
    if odd := _oddity(request):
        return Decision("deny", f"{may_not}: {odd}", source=grants.source)
    matching = [rule for rule in grants.rules if rule_matches(rule, request)]
    for rule in matching:
        if rule.verdict == "deny":
            return _ruled(rule, grants, may_not)
    allowing = _allowing(request, grants)
    if allowing is None:
        where = f" ({grants.source})" if grants.source else ""
        return Decision("deny", f"{may_not}: {_lacking(request)}{where}", source=grants.source)
    if isinstance(request, ExecRequest) and request.any_code and not request.enforced_by:
        return Decision("deny", f"{may_not}: {ANY_CODE}", source=grants.source)
    for rule in matching:
        return _ruled(rule, grants, f"{who} asks to {request_text(request)}")
    return Decision("allow", "allowed by the agent's grants", allowing, "rule", grants.source)


def _ruled(rule: Rule, grants: Grants, what: str) -> Decision:
    """The decision that a rule makes, and where the rule was read."""
    text, source = rule_text(rule), rule.source or grants.source
    reason = f"{what}: {text!r}" + (f", {rule.reason}" if rule.reason else "")
    where = f" ({source})" if source else ""
    return Decision(rule.verdict, reason + where, text, "rule", source)


def _oddity(request: PermissionRequest) -> str:
    """Why a request is refused whatever is granted; empty if it is not."""
    match request:
        case PathRequest(path):
            return "" if clean(path) == path else "the path is not normalised"
        case NetRequest():
            return oddity_of_url(request)
        case ExecRequest():
            return oddity_of_command(request)
        case McpRequest(server, tool):
            plain = _SERVER.fullmatch(server) and _SERVER.fullmatch(tool)
            return "" if plain else "that is no name of a server's tool"
        case _:
            return ""


def _lacking(request: PermissionRequest) -> str:
    """What there would have to be for a request that no grant allows."""
    if isinstance(request, PathRequest) and secret_depth(request.path) >= 0:
        return "it may hold secrets, and no grant names it"
    return "no grant allows it"


def _allowing(request: PermissionRequest, grants: Grants) -> str | None:
    """The grant that allows a request, as text, or None."""
    match request:
        case PathRequest(path, access):
            granted = granted_path(path, access, grants)
            return None if granted is None else f"fs.{access}: {granted}"
        case ToolRequest(tool):
            return _tool(tool, grants.tools)
        case McpRequest(server, tool):
            return _tool(f"{server}/{tool}", grants.tools)
        case SpawnRequest(agent):
            return f"spawn: {agent}" if _named(agent, grants.spawn) else None
        case DeviceRequest(device):
            return f"devices: {device}" if _named(device, grants.devices) else None
        case NetRequest():
            return _first("net", (text for text in grants.net if _connects(text, request)))
        case ExecRequest(argv):
            return _first("shell.exec", (g for g in grants.exec if reaches_command(g, argv)))


def _tool(name: str, tools: frozenset[str] | None) -> str | None:
    if tools is None:
        return "tools: *"
    return next((f"tools: {known}" for known in (name, whole_server(name)) if known in tools), None)


def whole_server(tool: str) -> str:
    """All tools of the server that a tool is of: `docs/*` for `docs/find`; empty for another."""
    server, slash, _ = tool.partition("/")
    return f"{server}/*" if slash else ""


def _named(name: str, granted: Collection[str]) -> bool:
    return name in granted or "*" in granted


def _first(kind: str, granted: Iterable[str]) -> str | None:
    found = next(iter(granted), None)
    return None if found is None else f"{kind}: {found}"


def _connects(text: str, request: NetRequest) -> bool:
    pattern = url_pattern(text)
    return pattern is not None and reaches(pattern, request)
