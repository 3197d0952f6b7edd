"""The engine that judges what is asked by what is granted.

`deny > ask > allow > default deny`, over the whole chain of ancestors: a request is allowed only if
every ceiling and the agent's own grants allow it. A rule, a policy or a further ceiling can take
away; nothing but a grant gives.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from hashlib import sha256

from sashizu_core.granted_paths import PROTECTED, Touch, clean, covers, lies_in
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
    Subject,
    ToolRequest,
)
from sashizu_core.protocols import Policy, Readable
from sashizu_core.types import Decision

__all__ = [
    "PROTECTED",
    "authorize",
    "combined",
    "effective",
    "grants_sha256",
    "narrow",
    "readable",
]


def _granting(path: str, touch: Touch, grants: Grants) -> str | None:
    """The grant that reaches a path, as it is written in the definition."""
    for granted in grants.fs_read if touch == "read" else grants.fs_write:
        folder = clean(granted)
        if folder is not None and covers(folder, path, touch):
            return granted
    return None


# --- one request, one level -----------------------------------------------------------------------


def _lies_in_pattern(path: str, pattern: str) -> bool:
    """Whether a rule's path reaches a path, without regard to case.

    A pattern that cannot be understood reaches everything: a broken rule must not permit.
    """
    folder = clean(pattern)
    return pattern == "*" or folder is None or lies_in(path.lower(), folder.lower())


def _matches(rule: Rule, request: PermissionRequest) -> bool:
    match request:
        case PathRequest(path, access):
            return rule.touches == access and _lies_in_pattern(path, rule.pattern)
        case ToolRequest(tool):
            return rule.touches == "tool" and rule.pattern in ("*", tool)
        case SpawnRequest(agent):
            return rule.touches == "spawn" and rule.pattern in ("*", agent)
        case NetRequest(host=host):
            return rule.touches == "net" and rule.pattern in ("*", host)
        case ExecRequest(argv):
            words = rule.pattern.split()
            return rule.touches == "exec" and (words == ["*"] or argv[: len(words)] == tuple(words))
        case McpRequest(server, tool):
            return rule.touches == "tool" and rule.pattern in ("*", f"{server}/{tool}")
        case DeviceRequest(device):
            return rule.touches == "device" and rule.pattern in ("*", device)


def _allowing(request: PermissionRequest, grants: Grants) -> str | None:
    """The grant that allows a request, as text, or None."""
    match request:
        case PathRequest(path, access):
            granted = _granting(path, access, grants)
            return None if granted is None else f"fs.{access}: {granted}"
        case ToolRequest(tool):
            if grants.tools is None:
                return "tools: *"
            return f"tools: {tool}" if tool in grants.tools else None
        case SpawnRequest(agent):
            return f"spawn: {agent}" if agent in grants.spawn or "*" in grants.spawn else None
        case NetRequest() | ExecRequest() | McpRequest() | DeviceRequest():
            return None  # nothing asks for these yet, so no grant is understood


def _text(request: PermissionRequest) -> str:
    match request:
        case PathRequest(path, access):
            return f"{access} {path!r}"
        case ToolRequest(tool):
            return f"call the tool {tool!r}"
        case SpawnRequest(agent):
            return f"start the agent {agent!r}"
        case NetRequest(scheme, host, port, path):
            return f"connect to {scheme}://{host}:{port}{path}"
        case ExecRequest(argv):
            return f"run {' '.join(argv)!r}"
        case McpRequest(server, tool):
            return f"call the tool {tool!r} of the server {server!r}"
        case DeviceRequest(device):
            return f"use the device {device!r}"


def _judge(request: PermissionRequest, grants: Grants, who: str) -> Decision:
    """What one level of the chain says."""
    where = f" ({grants.source})" if grants.source else ""
    if isinstance(request, PathRequest) and clean(request.path) != request.path:
        return Decision("deny", f"{who} may not {_text(request)}: the path is not normalised")
    matching = [rule for rule in grants.rules if _matches(rule, request)]
    for rule in matching:
        if rule.verdict == "deny":
            text = f"deny {rule.touches}: {rule.pattern}"
            return Decision(
                "deny", f"{who} may not {_text(request)}: {text!r}{where}", text, "rule"
            )
    allowing = _allowing(request, grants)
    if allowing is None:
        return Decision("deny", f"{who} may not {_text(request)}: no grant allows it{where}")
    for rule in matching:
        text = f"ask {rule.touches}: {rule.pattern}"
        return Decision("ask", f"{who} asks to {_text(request)}: {text!r}{where}", text, "rule")
    return Decision("allow", "allowed by the agent's grants", allowing, "rule")


# --- the engine -----------------------------------------------------------------------------------


def authorize(
    requests: Iterable[PermissionRequest], subject: Subject, policies: Iterable[Policy] = ()
) -> Decision:
    """Judge everything one tool call would touch: all of it must be allowed, on every level.

    `policies` may deny or ask; that one of them allows changes nothing. A call that asks for
    nothing, or a subject without grants, is denied.
    """
    asked = tuple(requests)
    opinions = tuple(policies)
    if not asked or not subject.chain:
        missing = "grants" if asked else "request"
        return Decision("deny", f"{subject.agent_name} has no {missing}: nothing is allowed")
    decisions: list[Decision] = []
    for request in asked:
        own_first = [_judge(request, level, subject.agent_name) for level in subject.chain[::-1]]
        views = [policy.check(request, subject) for policy in opinions]
        decisions.append(combined([*own_first, *(view for view in views if view is not None)]))
    worst = combined(decisions)
    if not worst.allowed:
        return worst
    rules = "; ".join(dict.fromkeys(decision.rule for decision in decisions))
    return Decision("allow", worst.reason, rules, "rule")


def combined(decisions: Sequence[Decision]) -> Decision:
    """Deny outranks ask, ask outranks allow; among equals the first."""
    for verdict in ("deny", "ask", "allow"):
        for decision in decisions:
            if decision.verdict == verdict:
                return decision
    return Decision("deny", "nobody allowed it")


# --- chains ---------------------------------------------------------------------------------------


def narrow(parent_chain: Sequence[Grants], own: Grants) -> tuple[Grants, ...]:
    """The chain of a child: its own grants under those of all its ancestors."""
    return (*parent_chain, own)


def _common(first: Iterable[str], second: Iterable[str], touch: Touch) -> tuple[str, ...]:
    """The paths that both of two lists of grants reach."""
    mine, theirs = ([c for g in paths if (c := clean(g))] for paths in (first, second))
    found = {
        deeper
        for a in mine
        for b in theirs
        for deeper, upper in ((a, b), (b, a))
        if covers(upper, deeper, touch)
    }
    return tuple(sorted(found))


def _common_tools(
    first: frozenset[str] | None, second: frozenset[str] | None
) -> frozenset[str] | None:
    if first is None or second is None:
        return second if first is None else first
    return first & second


def _common_agents(first: frozenset[str], second: frozenset[str]) -> frozenset[str]:
    if "*" in first:
        return second
    return first if "*" in second else first & second


def effective(chain: Sequence[Grants]) -> Grants:
    """The one set of grants that allows exactly what a chain allows."""
    if not chain:
        return Grants()
    whole = chain[0]
    for level in chain[1:]:
        whole = Grants(
            tools=_common_tools(whole.tools, level.tools),
            fs_read=_common(whole.fs_read, level.fs_read, "read"),
            fs_write=_common(whole.fs_write, level.fs_write, "write"),
            net=tuple(sorted(set(whole.net) & set(level.net))),
            exec=tuple(sorted(set(whole.exec) & set(level.exec))),
            spawn=_common_agents(whole.spawn, level.spawn),
            rules=tuple(dict.fromkeys((*whole.rules, *level.rules))),
        )
    return whole


def grants_sha256(chain: Sequence[Grants]) -> str:
    """The fingerprint of a chain: 64 hexadecimal digits, equal for equal grants.

    What the grants say counts, in what order of levels; where they were read does not.
    """
    levels = [
        {
            "tools": None if level.tools is None else sorted(level.tools),
            "fs_read": sorted(level.fs_read),
            "fs_write": sorted(level.fs_write),
            "net": sorted(level.net),
            "exec": sorted(level.exec),
            "spawn": sorted(level.spawn),
            "rules": sorted([rule.verdict, rule.touches, rule.pattern] for rule in level.rules),
        }
        for level in chain
    ]
    text = json.dumps(levels, sort_keys=True, separators=(",", ":"))
    return sha256(text.encode("utf-8", "surrogatepass")).hexdigest()


# --- what may be read -----------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class _SubjectReadable:
    """See `Readable`. Holds the chain's effective grants, so that a question is a few compares."""

    grants: Grants
    anything: bool

    def __call__(self, path: str) -> bool:
        if not self.anything or clean(path) != path:
            return False
        request = PathRequest(path, "read")
        if any(_matches(rule, request) for rule in self.grants.rules):
            return False
        return _granting(path, "read", self.grants) is not None

    def roots(self, beneath: str | None = None) -> tuple[str, ...]:
        if beneath is not None and self(beneath):
            return (beneath,)
        inside = [
            path
            for granted in self.grants.fs_read
            if (path := clean(granted)) and (beneath is None or lies_in(path, beneath))
        ]
        outermost = [
            path
            for path in dict.fromkeys(inside)
            if not any(other != path and lies_in(path, other) for other in inside)
        ]
        return tuple(sorted(path for path in outermost if self(path)))


def readable(subject: Subject) -> Readable:
    """What a subject may read without asking anybody, its ceilings considered."""
    return _SubjectReadable(effective(subject.chain), bool(subject.chain))
