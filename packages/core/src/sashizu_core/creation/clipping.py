"""Takes from a definition what its maker may not give: a wider wish is refused, never granted."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from decimal import Decimal
from typing import Any

from sashizu_core.agents import AgentDefinition
from sashizu_core.agents.definition import tool_name
from sashizu_core.granted_paths import clean, lies_in
from sashizu_core.granted_rules import rule_matches
from sashizu_core.granted_urls import url_pattern
from sashizu_core.grants import (
    ExecRequest,
    Grants,
    PathRequest,
    PermissionRequest,
    SpawnRequest,
    ToolRequest,
)
from sashizu_core.permissions import effective, narrow
from sashizu_core.types import Limits

__all__ = ["RefusedWish", "clipped"]


@dataclass(frozen=True, slots=True)
class RefusedWish:
    """Something that a definition asked for and did not get.

    `what` is the key in the definition, `wish` what it asked for, `got` what it has instead, empty
    for nothing; `why` is for a person.
    """

    what: str
    wish: str
    got: str
    why: str


def clipped(
    definition: AgentDefinition, ceilings: Sequence[Grants], limits: Limits
) -> tuple[AgentDefinition, tuple[RefusedWish, ...]]:
    """The definition under what its maker may do and use, and what of it was refused.

    `ceilings` is the chain of those above, outermost first; `limits` what the maker itself may use.
    """
    refused: list[RefusedWish] = []
    own = definition.grants()
    whole = effective(narrow(ceilings, own))
    who = ", ".join(dict.fromkeys(level.source for level in ceilings if level.source))
    clip = _Clip(ceilings, who or "those above", refused)
    tools = [
        name
        for name in definition.tools.mcp
        if clip.kept("tools.mcp", name, whole.tools is None or tool_name(name) in whole.tools)
    ]
    fs, net, shell = definition.tools.fs, definition.tools.net, definition.tools.shell
    changed: dict[str, Any] = {
        "tools": {
            "mcp": tools,
            "fs": {
                "read": clip.listed("tools.fs.read", fs.read, whole.fs_read),
                "write": clip.listed("tools.fs.write", fs.write, whole.fs_write),
            },
            "net": {"allow": clip.listed("tools.net.allow", net.allow, whole.net)},
            "shell": {"exec": clip.listed("tools.shell.exec", shell.exec, whole.exec)},
        },
        "spawn": {
            **definition.spawn.model_dump(),
            "agents": clip.listed("spawn.agents", definition.spawn.agents, whole.spawn),
        },
        "budget": _budget(definition, limits, refused),
    }
    if not changed["tools"]["shell"]["exec"] or "shell" not in map(tool_name, tools):
        changed["verify"] = []
        refused += [
            RefusedWish("verify", command, "", "it may start no program")
            for command in definition.verify
        ]
    written = {**definition.model_dump(exclude_unset=True), **changed}
    return AgentDefinition.model_validate(written), tuple(refused)


@dataclass(frozen=True, slots=True)
class _Clip:
    """Compares wishes with what is allowed, and notes what is refused."""

    ceilings: Sequence[Grants]
    who: str
    refused: list[RefusedWish]

    def kept(self, what: str, wish: str, allowed: bool) -> bool:
        """Whether one wish is allowed as it is."""
        why = self._denied(what, wish) if allowed else f"not allowed by {self.who}"
        if why:
            self.refused.append(RefusedWish(what, wish, "", why))
        return not why

    def listed(self, what: str, wishes: Iterable[str], allowed: Iterable[str]) -> list[str]:
        """What is allowed of a list: its entries, or narrower ones in their place."""
        same = {_plain(what, wish): wish for wish in wishes}
        granted = list(dict.fromkeys(_plain(what, grant) for grant in allowed))
        narrower = [
            grant for grant in granted if grant not in same and not self._denied(what, grant)
        ]
        kept = []
        for form, wish in same.items():
            if form in granted:
                if self.kept(what, wish, allowed=True):
                    kept.append(wish)
                continue
            got = ", ".join(grant for grant in narrower if _is_part(what, grant, form))
            self.refused.append(RefusedWish(what, wish, got, f"not allowed by {self.who}"))
        return [*kept, *narrower]

    def _denied(self, what: str, wish: str) -> str:
        """The rule of a level above that denies a wish as a whole; empty if none does."""
        request = _request(what, wish)
        if request is None:
            return ""
        for level in self.ceilings:
            for rule in level.rules:
                if rule.verdict == "deny" and rule_matches(rule, request):
                    return f"denied by a rule in {rule.source or level.source or self.who}"
        return ""


def _plain(what: str, wish: str) -> str:
    """A wish in the one form in which grants are compared."""
    match what:
        case "tools.fs.read" | "tools.fs.write":
            return clean(wish) or wish
        case "tools.net.allow":
            pattern = url_pattern(wish)
            return wish if pattern is None else str(pattern)
        case "tools.shell.exec":
            return " ".join(wish.split())
        case _:
            return wish


def _is_part(what: str, grant: str, wish: str) -> bool:
    """Whether a grant may be what is left of a wish; both are plain."""
    if what.startswith("tools.fs."):
        return lies_in(grant, wish)
    if what == "tools.shell.exec":
        return wish == "*" or grant.startswith(wish)
    return what != "spawn.agents" or wish == "*"


def _request(what: str, wish: str) -> PermissionRequest | None:
    match what:
        case "tools.mcp":
            return ToolRequest(tool_name(wish))
        case "tools.fs.read":
            return PathRequest(clean(wish) or wish, "read")
        case "tools.fs.write":
            return PathRequest(clean(wish) or wish, "write")
        case "tools.shell.exec":
            return ExecRequest(tuple(wish.split()), "")
        case "spawn.agents":
            return SpawnRequest(wish)
        case _:
            return None


def _budget(
    definition: AgentDefinition, limits: Limits, refused: list[RefusedWish]
) -> dict[str, Any]:
    """The budget under the maker's own limits."""
    budget = definition.budget
    usd = None if limits.nusd is None else Decimal(limits.nusd) / 10**9
    tops = {
        "tokens": limits.tokens,
        "usd": usd,
        "requests": limits.requests,
        "seconds": limits.seconds,
        "agents": limits.agents,
    }
    for unit, top in tops.items():
        wish = getattr(budget, unit)
        if wish is not None and top is not None and wish > top:
            why = "its maker may use no more itself"
            refused.append(RefusedWish(f"budget.{unit}", f"{wish}", f"{top}", why))
            budget = budget.model_copy(update={unit: top})
    return budget.model_dump(exclude_none=True)
