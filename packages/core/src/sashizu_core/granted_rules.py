"""Rules: whether one is about a request, and what its examples say."""

from __future__ import annotations

import re

from sashizu_core.granted_commands import rule_reaches as reaches_command
from sashizu_core.granted_paths import clean, reaches_folded
from sashizu_core.granted_urls import rule_reaches as reaches_url
from sashizu_core.granted_urls import url_request
from sashizu_core.grants import (
    DeviceRequest,
    ExecRequest,
    McpRequest,
    NetRequest,
    PathRequest,
    PermissionRequest,
    Rule,
    SpawnRequest,
    ToolRequest,
    Touched,
)

__all__ = ["example", "rule_matches", "rule_text"]


def rule_text(rule: Rule) -> str:
    """A rule in one line, such as `deny write: src/generated`."""
    return f"{rule.verdict} {rule.touches}: {rule.pattern}"


def rule_matches(rule: Rule, request: PermissionRequest) -> bool:
    """Whether a rule is about a request.

    In doubt it is: without regard to case, and with a pattern that means nothing.
    """
    match request:
        case PathRequest(path, access):
            return rule.touches == access and _reaches_path(rule.pattern, path)
        case ToolRequest(tool):
            return rule.touches == "tool" and _names(rule.pattern, tool)
        case McpRequest(server, tool):
            return rule.touches == "tool" and _names(rule.pattern, f"{server}/{tool}")
        case SpawnRequest(agent):
            return rule.touches == "spawn" and _names(rule.pattern, agent)
        case NetRequest():
            return rule.touches == "net" and reaches_url(rule.pattern, request)
        case ExecRequest():
            return rule.touches == "exec" and reaches_command(rule.pattern, request)
        case DeviceRequest(device):
            return rule.touches == "device" and _names(rule.pattern, device)


def _reaches_path(pattern: str, path: str) -> bool:
    folder = clean(pattern)
    return pattern == "*" or folder is None or reaches_folded(folder, path)


def _names(pattern: str, name: str) -> bool:
    """Whether a pattern names something: by its name, `*`, or `SERVER/*` for all of a server."""
    mine, theirs = (re.sub(r"[ _]", "-", text.casefold()) for text in (name, pattern))
    if theirs.endswith("/*"):
        return mine.startswith(theirs[:-1])
    return theirs == "*" or mine == theirs


def example(touches: Touched, text: str) -> PermissionRequest | None:
    """The request that an example of a rule stands for; None if it is none.

    A path, a command line with blanks between its words, a URL, or a name.
    """
    match touches:
        case "read" | "write":
            path = clean(text)
            return PathRequest(path, touches) if path is not None else None
        case "exec":
            words = tuple(text.split())
            return ExecRequest(words, words[0]) if words else None
        case "net":
            return url_request(text)
        case "tool":
            return ToolRequest(text) if text else None
        case "spawn":
            return SpawnRequest(text) if text else None
        case "device":
            return DeviceRequest(text) if text else None
