"""The table `[policy]`: what the operator allows at most, in the shape of agents' permissions."""

from __future__ import annotations

from collections.abc import Callable
from typing import Annotated, Any, Literal

from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    ValidationInfo,
    field_validator,
)

from sashizu_core.granted_paths import clean
from sashizu_core.granted_rules import example, rule_matches, rule_text
from sashizu_core.granted_urls import understood_urls, url_pattern
from sashizu_core.grants import Rule, Touched
from sashizu_core.operator_policy import OperatorPolicy

__all__ = ["CeilingSettings", "PolicySettings", "RuleSettings"]

_EXAMPLES = {
    "read": "a path such as 'src/a.py'",
    "write": "a path such as 'src/a.py'",
    "exec": "a command line such as 'git push origin'",
    "net": "a URL such as 'https://example.org/docs'",
    "tool": "the name of a tool",
    "spawn": "the name of an agent",
    "device": "the name of a device",
}


class _Part(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", hide_input_in_errors=True)


# --- the values -----------------------------------------------------------------------------------


def _paths(value: Any) -> Any:
    """True is the whole workspace, False nothing; a list names folders and files."""
    if isinstance(value, bool):
        return (".",) if value else ()
    if not isinstance(value, list | tuple) or not all(isinstance(item, str) for item in value):
        raise ValueError("write true, false, or a list of paths")
    for item in value:
        if clean(item) is None or "*" in item or item.startswith("~"):
            raise ValueError(
                f"{item!r} is no path; name a folder or file, relative to the workspace or absolute"
            )
    return tuple(value)


def _commands(values: tuple[str, ...]) -> tuple[str, ...]:
    for value in values:
        if not value.split():
            raise ValueError("a command is empty; write its first words, such as 'git log'")
    return values


Paths = Annotated[tuple[str, ...], BeforeValidator(_paths)]
Names = tuple[Annotated[str, Field(min_length=1)], ...]


# --- the tables -----------------------------------------------------------------------------------


class FsCeiling(_Part):
    """Which files agents may touch."""

    read: Paths | None = None
    write: Paths | None = None


class NetCeiling(_Part):
    """Where agents may connect to."""

    allow: Annotated[tuple[str, ...], AfterValidator(understood_urls)] | None = None


class ShellCeiling(_Part):
    """Which programs agents may start."""

    exec: Annotated[tuple[str, ...], AfterValidator(_commands)] | None = None


class ToolsCeiling(_Part):
    """Which tools agents may have, and what bounds them."""

    mcp: Names | None = None
    devices: Names | None = None
    fs: FsCeiling = FsCeiling()
    net: NetCeiling = NetCeiling()
    shell: ShellCeiling = ShellCeiling()


class SpawnCeiling(_Part):
    """Which agents agents may start."""

    agents: Names | None = None


class CeilingSettings(_Part):
    """What every agent is allowed at most; what is not named is not bounded."""

    tools: ToolsCeiling = ToolsCeiling()
    spawn: SpawnCeiling = SpawnCeiling()


class RuleSettings(_Part):
    """One exception. Its examples are tried whenever the settings are read."""

    verdict: Literal["deny", "ask"]
    touches: Touched
    pattern: Annotated[str, Field(min_length=1)]
    reason: str = ""
    match: tuple[str, ...] = ()
    not_match: tuple[str, ...] = ()

    @field_validator("pattern")
    @classmethod
    def _is_understood(cls, pattern: str, info: ValidationInfo) -> str:
        touches = info.data.get("touches")
        means: Callable[[str], Any] = {"read": clean, "write": clean, "net": url_pattern}.get(
            touches or "", str.strip
        )
        if pattern != "*" and not means(pattern):
            raise ValueError(f"{pattern!r} means nothing for what a rule {touches!r} is about")
        return pattern

    @field_validator("match", "not_match")
    @classmethod
    def _agrees(cls, examples: tuple[str, ...], info: ValidationInfo) -> tuple[str, ...]:
        if not {"verdict", "touches", "pattern"} <= info.data.keys():
            return examples  # what is wrong with those is said already
        rule = Rule(info.data["verdict"], info.data["touches"], info.data["pattern"])
        expected = info.field_name == "match"
        for text in examples:
            request = example(rule.touches, text)
            if request is None:
                raise ValueError(f"the example {text!r} is not {_EXAMPLES[rule.touches]}")
            if rule_matches(rule, request) != expected:
                does = "matches" if not expected else "does not match"
                raise ValueError(f"the rule {rule_text(rule)!r} {does} the example {text!r}")
        return examples


class PolicySettings(_Part):
    """The table `[policy]`: a ceiling and rules for every agent. A project cannot set it."""

    ceiling: CeilingSettings | None = None
    rule: tuple[RuleSettings, ...] = ()

    def operator_policy(self, source: str, place: Callable[[int], str]) -> OperatorPolicy:
        """What the table says. `place` tells where the rule of an index was read."""
        ceiling = self.ceiling or CeilingSettings()
        tools, spawn = ceiling.tools, ceiling.spawn.agents
        return OperatorPolicy(
            tools=_set(tools.mcp),
            fs_read=tools.fs.read,
            fs_write=tools.fs.write,
            net=tools.net.allow,
            exec=tools.shell.exec,
            spawn=_set(spawn),
            devices=_set(tools.devices),
            rules=tuple(
                Rule(rule.verdict, rule.touches, rule.pattern, rule.reason, place(index))
                for index, rule in enumerate(self.rule)
            ),
            source=source,
        )


def _set(names: tuple[str, ...] | None) -> frozenset[str] | None:
    return None if names is None else frozenset(names)
