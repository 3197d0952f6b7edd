"""What an agent is: goal, tools, permissions, budget, criteria, artifacts."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable
from decimal import Decimal
from pathlib import PurePosixPath
from typing import Annotated, Any, Literal

from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    ValidationInfo,
    WithJsonSchema,
    field_validator,
)

from sashizu_core.granted_urls import understood_urls
from sashizu_core.grants import Grants
from sashizu_core.server_entries import ServerEntry
from sashizu_core.types import Limits

__all__ = ["AgentDefinition", "agent_key", "tool_name"]

NAME = r"^[A-Za-z0-9](?:[A-Za-z0-9 ._-]{0,62}[A-Za-z0-9_])?$"
"""Names of agents: no separator of paths, lists (`,`), budgets (`=`) or scopes (`:`)."""

_TOOL = r"^[A-Za-z0-9_.-]{1,64}(?:/(?:\*|[A-Za-z0-9_.-]{1,128}))?$"
_SERVER = r"^[A-Za-z0-9_.-]{1,64}$"
_SPAWN = r"^(?:\*|(?:repo:)?[A-Za-z0-9][A-Za-z0-9 ._-]{0,63})$"
_ISOLATION = r"^[a-z][a-z0-9-]*$"


def agent_key(name: str) -> str:
    """What two names share that mean the same agent: `Python Reviewer` and `python-reviewer`."""
    return re.sub(r"[ _]", "-", name).lower()


def tool_name(listed: str) -> str:
    """The name of a tool as it is registered: `codex_grep` is `grep`."""
    return listed.removeprefix("codex_")


# --- the values -----------------------------------------------------------------------------------


def _inside(path: str) -> str:
    """A path beneath the workspace, as permission requests write it."""
    if not path or "\0" in path or "\\" in path:
        raise ValueError(f"{path!r} is no path; write it with '/', relative to the workspace")
    pure = PurePosixPath(path)
    if pure.is_absolute() or ".." in pure.parts or path.startswith("~") or path[1:2] == ":":
        raise ValueError(f"{path!r} leads outside the workspace; write a path beneath it")
    return pure.as_posix()


def _folder(path: str) -> str:
    inside = _inside(path)
    if "*" in inside:
        raise ValueError(
            f"{path!r} is a pattern; name the folder: a grant reaches everything beneath it"
        )
    return inside


def _granted_paths(value: Any) -> Any:
    """True is the whole workspace, False nothing; a list names what is granted."""
    if isinstance(value, bool):
        return (".",) if value else ()
    if not isinstance(value, list | tuple) or not all(isinstance(item, str) for item in value):
        raise ValueError("write true, false, or a list of paths")
    return tuple(dict.fromkeys(_folder(item) for item in value))


def _json_object(value: dict[str, Any]) -> dict[str, Any]:
    try:
        json.dumps(value, allow_nan=False)
    except (TypeError, ValueError) as error:
        raise ValueError(f"is no JSON Schema: {error}") from error
    import jsonschema  # asked for by few definitions, and slow to import

    validator = jsonschema.Draft202012Validator
    try:
        validator.check_schema(value, format_checker=validator.FORMAT_CHECKER)
    except jsonschema.exceptions.SchemaError as error:
        raise ValueError(f"is no JSON Schema at {error.json_path}: {error.message}") from error
    return value


def _number(value: Any) -> Any:
    if isinstance(value, bool) or not isinstance(value, int | float | str | Decimal):
        raise ValueError("write a number")  # noqa: TRY004 - pydantic collects these
    return str(value) if isinstance(value, float) else value


def _unique(values: tuple[str, ...]) -> tuple[str, ...]:
    return tuple(dict.fromkeys(values))


Text = Annotated[str, Field(min_length=1, max_length=200_000)]
Paths = Annotated[
    tuple[str, ...],
    BeforeValidator(_granted_paths),
    WithJsonSchema(
        {"anyOf": [{"type": "boolean"}, {"type": "array", "items": {"type": "string"}}]}
    ),
]
Count = Annotated[int, Field(strict=True, ge=1, le=10**15)]
Seconds = Annotated[float, BeforeValidator(_number), Field(gt=0, le=10**9, allow_inf_nan=False)]
Share = Annotated[float, BeforeValidator(_number), Field(gt=0, le=1, allow_inf_nan=False)]
Usd = Annotated[
    Decimal,
    BeforeValidator(_number),
    Field(gt=0, le=10**6, allow_inf_nan=False),
    WithJsonSchema({"type": "number", "exclusiveMinimum": 0, "maximum": 10**6}),
]
ToolName = Annotated[str, Field(pattern=_TOOL)]


class _Part(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", hide_input_in_errors=True)


# --- the parts ------------------------------------------------------------------------------------


class FsTools(_Part):
    """Which files an agent may touch, as folders and files beneath the workspace."""

    read: Paths = Field(
        default=(), description="What it may read: true for all, or a list of paths."
    )
    write: Paths = Field(
        default=(), description="What it may write: true for all, or a list of paths."
    )


class NetTools(_Part):
    """Where an agent may connect to."""

    allow: Annotated[tuple[Text, ...], AfterValidator(understood_urls)] = Field(
        default=(), description="Addresses it may connect to."
    )


class ShellTools(_Part):
    """Which programs an agent may start."""

    exec: tuple[Text, ...] = Field(default=(), description="Programs it may start.")


class Tools(_Part):
    """The tools of an agent, and what bounds them; a tool that is not listed does not exist."""

    mcp: Annotated[tuple[ToolName, ...], AfterValidator(_unique)] = Field(
        default=(),
        description="Tools by name: a built-in one, `server/tool`, or all: `server/*`.",
    )
    fs: FsTools = FsTools()
    net: NetTools = NetTools()
    shell: ShellTools = ShellTools()


class ContextPolicy(_Part):
    """How much an agent may read and write in all."""

    max_tokens: Count | None = Field(
        default=None, description="Used as `budget.tokens` where that is not given."
    )
    retention: Literal["job", "session", "permanent"] | None = Field(
        default=None,
        description="With `session` its conversation can be continued for 30 days, with "
        "`permanent` for ever; by default, and with `job`, it is not kept.",
    )


class SecretsPolicy(_Part):
    """How secrets are treated."""

    redact: bool = Field(
        default=False,
        description="With `true` the agent's model is shown no secrets either; records and reports "
        "never hold any.",
    )


class Policies(_Part):
    """Rules beside the grants."""

    shell: tuple[str, ...] | None = Field(default=None, description="Not read; use `tools.shell`.")
    net: tuple[str, ...] | None = Field(default=None, description="Not read; use `tools.net`.")
    context: ContextPolicy = ContextPolicy()
    secrets: SecretsPolicy = SecretsPolicy()


class Budget(_Part):
    """What one instance of the agent may use; what is not given is bounded by the run alone."""

    tokens: Count | None = Field(default=None, description="Input and output tokens.")
    usd: Usd | None = Field(default=None, description="US dollars.")
    requests: Count | None = Field(default=None, description="Model calls; each attempt counts.")
    seconds: Seconds | None = Field(default=None, description="Seconds from start to end.")
    agents: Count | None = Field(default=None, description="Agents, itself included.")
    warn_at: Share | None = Field(
        default=None,
        description="The share of a limit, such as 0.8, from which on it is told to wrap up; 1 is "
        "never; by default `run.warn_at` of the settings.",
    )
    fallback_at: Share | None = Field(
        default=None, description="The share of a limit from which on `fallback` goes on."
    )


class Spawn(_Part):
    """Which agents an agent may start."""

    agents: tuple[Annotated[str, Field(pattern=_SPAWN)], ...] = Field(
        default=(), description="Names of agents, or `*` for any."
    )
    max: Count | None = Field(default=None, description="How many in all.")
    depth: Count | None = Field(
        default=None, description="How many levels below it; 1 keeps them from starting any."
    )


class AgentDefinition(_Part):
    """One agent, from a YAML, TOML or Markdown file."""

    name: str = Field(pattern=NAME, description="What it is called; never a path.")
    goal: Text = Field(description="What it is for, in a sentence.")
    instructions: str = Field(default="", description="How it should work, in any length.")
    tools: Tools = Field(default=Tools(), description="Its tools, and what bounds them.")
    policies: Policies = Field(default=Policies(), description="Rules beside the grants.")
    success_criteria: tuple[Text, ...] = Field(
        default=(),
        description="What its final answer is judged by; each is reported with evidence.",
    )
    artifacts: tuple[Annotated[str, AfterValidator(_inside)], ...] = Field(
        default=(), description="Files it must produce, as paths or patterns beneath the workspace."
    )
    model: Text | None = Field(default=None, description="The model it uses, `PROVIDER/NAME`.")
    engine: str | None = Field(
        default=None,
        pattern=_ISOLATION,
        description="Who does the work with tools of its own, in place of a model with ours: "
        "`codex`, `claude`, `command`, or what plugins offer; `model` is then a model of its own.",
    )
    command: tuple[Text, ...] = Field(
        default=(), description="The program of `engine: command`, and its arguments."
    )
    fallback: Text | None = Field(
        default=None,
        description="The model that goes on where `model` fails for good, and from "
        "`budget.fallback_at` on.",
    )
    budget: Budget = Field(default=Budget(), description="What one instance may use.")
    servers: dict[Annotated[str, Field(pattern=_SERVER)], ServerEntry] = Field(
        default={}, description="Servers of tools of its own, by name."
    )
    spawn: Spawn = Field(default=Spawn(), description="Which agents it may start.")
    isolation: str | None = Field(
        default=None,
        pattern=_ISOLATION,
        description="`worktree` gives it a git worktree of its own, `none` never does; by default "
        "it has one where it may write and works beside others in a git repository. `process` has "
        "it work in a process of its own. Plugins may offer further names.",
    )
    output: Annotated[dict[str, Any], AfterValidator(_json_object)] | None = Field(
        default=None, description="The JSON Schema of its final answer."
    )
    verify: tuple[Text, ...] = Field(
        default=(),
        description="Commands that must pass after the answer, run by the tool `shell`.",
    )

    # Each sees the fields above its own.
    @field_validator("fallback")
    @classmethod
    def _of_a_model(cls, fallback: str | None, info: ValidationInfo) -> str | None:
        if fallback is not None and info.data.get("engine") is not None:
            raise ValueError("an agent with an 'engine' has none: no model of ours does its work")
        return fallback

    @field_validator("budget")
    @classmethod
    def _with_something_to_fall_back_on(cls, budget: Budget, info: ValidationInfo) -> Budget:
        if budget.fallback_at is not None and info.data.get("fallback", "") is None:
            raise ValueError("'fallback_at' needs a model to go on with: add 'fallback'")
        return budget

    def grants(self) -> Grants:
        """What the definition allows: its listed tools and what bounds them, nothing else."""
        return Grants(
            tools=frozenset(tool_name(listed) for listed in self.tools.mcp),
            fs_read=self.tools.fs.read,
            fs_write=self.tools.fs.write,
            net=self.tools.net.allow,
            exec=self.tools.shell.exec,
            spawn=frozenset(self.spawn.agents),
            source=f"agent {self.name}",
        )

    def limits(self) -> Limits:
        """The limits of one instance; itself counts as an agent."""
        budget = self.budget
        spawned = None if self.spawn.max is None else self.spawn.max + 1
        return Limits(
            tokens=budget.tokens or self.policies.context.max_tokens,
            nusd=None if budget.usd is None else max(1, int(budget.usd * 10**9)),
            requests=budget.requests,
            agents=_smaller([budget.agents, spawned]),
            seconds=budget.seconds,
            depth=self.spawn.depth,
        )


def _smaller(values: Iterable[int | None]) -> int | None:
    return min((value for value in values if value is not None), default=None)
