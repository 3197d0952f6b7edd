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

from sashizu_core.granted_commands import common_commands
from sashizu_core.granted_paths import PROTECTED, PROTECTED_ANYWHERE, clean, common_paths, lies_in
from sashizu_core.granted_rules import rule_matches
from sashizu_core.granted_urls import common_urls
from sashizu_core.granting import granted_path, judge, whole_server
from sashizu_core.grants import Grants, PathRequest, PermissionRequest, Subject
from sashizu_core.protocols import Policy, Readable
from sashizu_core.types import Decision

__all__ = [
    "PROTECTED",
    "PROTECTED_ANYWHERE",
    "authorize",
    "combined",
    "effective",
    "grants_sha256",
    "narrow",
    "readable",
]


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
        own_first = [judge(request, level, subject.agent_name) for level in subject.chain[::-1]]
        views = [policy.check(request, subject) for policy in opinions]
        decisions.append(combined([*own_first, *(view for view in views if view is not None)]))
    worst = combined(decisions)
    if not worst.allowed:
        return worst
    rules, sources = (
        "; ".join(dict.fromkeys(text for text in texts if text))
        for texts in ([d.rule for d in decisions], [d.source for d in decisions])
    )
    return Decision("allow", worst.reason, rules, "rule", sources)


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


def _common_tools(
    first: frozenset[str] | None, second: frozenset[str] | None
) -> frozenset[str] | None:
    if first is None or second is None:
        return second if first is None else first
    return frozenset(
        name
        for mine, theirs in ((first, second), (second, first))
        for name in mine
        if name in theirs or whole_server(name) in theirs
    )


def _common_names(first: frozenset[str], second: frozenset[str]) -> frozenset[str]:
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
            fs_read=common_paths(whole.fs_read, level.fs_read, "read"),
            fs_write=common_paths(whole.fs_write, level.fs_write, "write"),
            net=common_urls(whole.net, level.net),
            exec=common_commands(whole.exec, level.exec),
            spawn=_common_names(whole.spawn, level.spawn),
            devices=_common_names(whole.devices, level.devices),
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
            "devices": sorted(level.devices),
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
        if any(rule_matches(rule, request) for rule in self.grants.rules):
            return False
        return granted_path(path, "read", self.grants) is not None

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
