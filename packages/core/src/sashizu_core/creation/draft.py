"""Definitions of agents as a model writes them: their schema, and what is wrong with one."""

from __future__ import annotations

import json
from collections.abc import Callable, Collection, Mapping
from copy import deepcopy
from typing import Any

from sashizu_core.agents import AgentDefinition, Catalogue, effective_tools
from sashizu_core.agents.definition import agent_key
from sashizu_core.agents.yaml_source import definition_of
from sashizu_core.documents import Document
from sashizu_core.errors import ConfigError, UsageError
from sashizu_core.specs import ToolSpec

__all__ = ["RESERVED", "draft_problem", "draft_schema", "read_draft"]

RESERVED = "sashizu-"
"""How the names of agents begin that sashizu itself makes."""

_ASKED = (
    "name",
    "goal",
    "instructions",
    "tools",
    "success_criteria",
    "artifacts",
    "budget",
    "spawn",
    "verify",
)
"""What of a definition a model is asked for; the rest is for people to decide."""

_UNASKED_OF_BUDGETS = ("warn_at", "fallback_at")

_WRITING = frozenset({"apply_patch", "shell", "write_file"})
"""Tools that can write what an agent declares."""


def draft_schema() -> dict[str, Any]:
    """The JSON Schema of a draft: that of a definition, each key required, without references."""
    whole = AgentDefinition.model_json_schema()
    parts = whole.get("$defs", {})
    for key in _UNASKED_OF_BUDGETS:
        del parts["Budget"]["properties"][key]
    asked = {key: whole["properties"][key] for key in _ASKED}
    schema: dict[str, Any] = _plain({**whole, "properties": asked}, parts)
    return schema


def _plain(schema: Any, parts: Mapping[str, Any]) -> Any:
    """A schema with what it refers to in its place; objects have all their keys and no more."""
    if isinstance(schema, list):
        return [_plain(part, parts) for part in schema]
    if not isinstance(schema, dict):
        return schema
    if "$ref" in schema:
        return _plain(parts[schema["$ref"].rpartition("/")[2]], parts)
    choices = schema.get("anyOf", [])
    if {"type": "boolean"} in choices:  # paths: a list says all that true and false could
        lists = next(part for part in choices if part.get("type") == "array")
        schema = {**deepcopy(lists), "description": schema.get("description", "")}
    kept = {
        key: _plain(value, parts)
        for key, value in schema.items()
        if key not in ("default", "title", "$defs", "properties")
    }
    if "properties" in schema:
        named = schema["properties"].items()
        kept["properties"] = {key: _plain(value, parts) for key, value in named}
        kept["required"] = list(kept["properties"])
        kept["additionalProperties"] = False
    return kept


def read_draft(text: str) -> AgentDefinition:
    """The definition in a draft.

    Raises:
        ConfigError: it is no definition; says everything that is wrong.
    """
    try:
        written = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise ConfigError(f"the definition is no JSON: {error}") from None
    if not isinstance(written, dict):
        raise ConfigError("the definition is no JSON object")
    if unasked := sorted(written.keys() - set(_ASKED)):
        raise ConfigError(f"the definition has keys that were not asked for: {', '.join(unasked)}")
    return definition_of(written, Document(written))


def draft_problem(catalogue: Catalogue, tools: Mapping[str, ToolSpec]) -> Callable[[str], str]:
    """A check of drafts: says what is wrong with one, in words for the model; empty if nothing."""
    taken = {agent_key(entry.name.rpartition(":")[2]) for entry in catalogue}
    taken |= {problem.key for problem in catalogue.problems}

    def problem(text: str) -> str:
        try:
            definition = read_draft(text)
            return "; ".join(_faults(definition, taken, tools))
        except UsageError as error:
            return str(error)

    return problem


def _faults(
    definition: AgentDefinition, taken: Collection[str], tools: Mapping[str, ToolSpec]
) -> list[str]:
    """What a valid definition says that cannot be meant.

    Raises:
        UsageError: it lists a tool that nobody knows.
    """
    found = []
    key = agent_key(definition.name)
    if key in taken:
        found.append(f"the name {definition.name!r} is taken; choose another")
    if key.startswith(RESERVED) or key != definition.name:
        found.append(
            f"{definition.name!r} is no name for a new agent: write small letters and digits, "
            f"parts joined by '-', and do not begin with {RESERVED!r}"
        )
    present, absent = effective_tools(definition, tools)
    found += [f"the tool {name!r} would not exist: {why}" for name, why in absent.items()]
    if not present:
        found.append("it has no tool at all, so that it could do nothing; list some")
    if definition.artifacts and not _WRITING & present.keys():
        found.append(f"'artifacts' need one of the tools {', '.join(sorted(_WRITING))}")
    if definition.verify and "shell" not in present:
        found.append("'verify' needs the tool 'shell' and the programs in 'tools.shell.exec'")
    return found
