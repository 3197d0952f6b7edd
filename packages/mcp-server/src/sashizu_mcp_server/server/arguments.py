"""What the server's tools take: models that clients' JSON is read by, and its schemas made of."""

from __future__ import annotations

from collections.abc import Mapping
from functools import cache
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field

__all__ = [
    "AuditQuery",
    "Bounds",
    "CreateAgent",
    "Delegate",
    "DelegateParallel",
    "NoArguments",
    "RunQuery",
    "RunRef",
    "Started",
    "Supervise",
    "WaitForRun",
    "input_schema",
]

Name = Annotated[str, Field(min_length=1, max_length=200)]
Text = Annotated[str, Field(max_length=1_000_000)]
Path = Annotated[str, Field(min_length=1, max_length=4096)]


class _Arguments(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", hide_input_in_errors=True)


class NoArguments(_Arguments):
    """Nothing."""


class Bounds(_Arguments):
    """What a client allows at most, of what the server does: it can take away and never give."""

    tools: tuple[Name, ...] | None = Field(None, description="The only tools agents may have.")
    fs_read: tuple[Path, ...] | None = Field(
        None, description="The only files and folders they may read, relative to the workspace."
    )
    fs_write: tuple[Path, ...] | None = Field(
        None, description="The only files and folders they may write."
    )
    net: tuple[Path, ...] | None = Field(None, description="The only URLs they may connect to.")
    exec: tuple[Text, ...] | None = Field(
        None, description="The only commands they may run, as their first words."
    )
    spawn: tuple[Name, ...] | None = Field(None, description="The only agents they may start.")


class Started(_Arguments):
    budget: tuple[Annotated[str, Field(max_length=40)], ...] = Field(
        (),
        max_length=8,
        description="Limits of the whole run, such as '60000' tokens, '2.5usd', '40requests', "
        "'15m'.",
    )
    deadline_s: float | None = Field(None, gt=0, le=1e7, description="Seconds the run may take.")
    bounds: Bounds | None = Field(None, description="Narrows what the agents may do.")
    wait: bool = Field(
        True,
        description="false returns a run_id at once: poll run_status, then get run_result. Use it "
        "where calls time out.",
    )


_REBALANCE = "What agents leave of limits of their own goes to those that ask for more."


class Delegate(Started):
    agent: Name = Field(description="The agent's name; list_agents tells them.")
    goal: Text = Field("", description="What is asked of it; without it, what it always does.")
    scope: tuple[Path, ...] = Field(
        (), max_length=1000, description="Paths to look at, relative to the workspace."
    )
    inputs: dict[str, Text] = Field(default_factory=dict, description="Named texts for the agent.")


class _Part(_Arguments):
    agent: Name = Field(description="The agent's name.")
    goal: Text = Field("", description="What is asked of it; without it, the goal of all.")
    scope: tuple[Path, ...] = Field((), max_length=1000, description="Paths to look at.")
    inputs: dict[str, Text] = Field(default_factory=dict, description="Named texts for the agent.")


class DelegateParallel(Started):
    tasks: Annotated[tuple[_Part, ...], Field(min_length=1, max_length=200)] = Field(
        description="One for each agent; the same agent twice is two instances."
    )
    goal: Text = Field("", description="What is asked of those tasks that say no goal.")
    scope: tuple[Path, ...] = Field((), max_length=1000, description="Paths for all of them.")
    jobs: int | None = Field(None, ge=1, le=200, description="How many work at once.")
    rebalance: bool = Field(False, description=_REBALANCE)


class Supervise(Started):
    goal: Annotated[str, Field(min_length=1, max_length=1_000_000)] = Field(
        description="What is to be reached."
    )
    agents: tuple[Name, ...] = Field(
        (), max_length=100, description="The agents that may be used; without any, all."
    )
    strategy: Literal["sequential", "parallel", "hybrid"] = Field(
        "hybrid", description="One step at a time, all at once, or as the plan says."
    )
    merge: Literal["concatenate", "voting", "first-success", "highest-score", "judge"] = Field(
        "concatenate", description="How one answer is made of several."
    )
    scope: tuple[Path, ...] = Field((), max_length=1000, description="Paths to look at.")
    models: tuple[Name, ...] = Field(
        (), max_length=16, description="Each step runs on every one of these models at once."
    )
    rebalance: bool = Field(False, description=_REBALANCE)
    plan_only: bool = Field(False, description="Make the plan, and run nothing of it.")


class CreateAgent(Started):
    prompt: Annotated[str, Field(min_length=1, max_length=100_000)] = Field(
        description="What the agent should be for."
    )


class RunRef(_Arguments):
    run_id: Annotated[str, Field(min_length=4, max_length=40)] = Field(
        description="The run's id, as it was returned."
    )


class RunQuery(_Arguments):
    run_id: Annotated[str, Field(max_length=40)] | None = Field(
        None, description="The run's id; without it, all runs."
    )


class WaitForRun(RunRef):
    wait_s: float = Field(
        0, ge=0, le=3600, description="Seconds to wait for the run to end before answering."
    )


class AuditQuery(_Arguments):
    sql: Annotated[str, Field(min_length=1, max_length=20_000)] = Field(
        description="One SELECT over the views of the record, such as token_usage, tool_calls, "
        "security_events, runs, agent_tree, events."
    )
    limit: int = Field(200, ge=1, le=10_000, description="The most rows.")


@cache
def input_schema(model: type[BaseModel]) -> Mapping[str, Any]:
    """The JSON Schema of arguments, without the titles that are made of names."""
    return _inlined(model.model_json_schema())


def _inlined(schema: dict[str, Any]) -> dict[str, Any]:
    """The schema with its definitions where they are used: not every client follows `$ref`."""
    definitions = schema.pop("$defs", {})

    def walk(node: Any) -> Any:
        if isinstance(node, list):
            return [walk(part) for part in node]
        if not isinstance(node, dict):
            return node
        if "$ref" in node:
            target = definitions[str(node["$ref"]).rsplit("/", 1)[1]]
            return {**walk(target), **{k: v for k, v in node.items() if k != "$ref"}}
        return {
            key: (
                {name: walk(part) for name, part in value.items()}
                if key == "properties"
                else walk(value)
            )
            for key, value in node.items()
            if not (key == "title" and isinstance(value, str))
        }

    found: dict[str, Any] = walk(schema)
    found.pop("description", None)
    return found
