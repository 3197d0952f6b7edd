"""Agents in YAML: our own format, and what older files of that format hold besides."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from copy import deepcopy
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from sashizu_core.agents.definition import AgentDefinition
from sashizu_core.documents import Document, KeyPath, complaint, dotted
from sashizu_core.yaml_text import read_yaml

__all__ = ["definition_of", "read_yaml_agent"]

UNREAD_SECTIONS = frozenset(
    {
        "asset_management",
        "csharp_idioms",
        "frameworks_support",
        "linters",
        "python_checks",
        "typescript_checks",
        "unity_api_patterns",
        "unity_checks",
        "unity_versions",
    }
)
"""Sections of older reviewer files that no program ever read: skipped with a warning."""


def read_yaml_agent(text: str, file: Path) -> tuple[AgentDefinition, tuple[str, ...]]:
    """Read one definition; returns it and what was not understood.

    Raises:
        ConfigError: it is no YAML, a key is unknown or missing, a value is wrong.
    """
    document = read_yaml(text, file)
    data, warnings = _adapted(document)
    return definition_of(data, document), tuple(warnings)


def definition_of(data: Mapping[str, Any], document: Document) -> AgentDefinition:
    """Validate; complaints point into the document.

    Raises:
        ConfigError: a key is unknown or missing, or a value is wrong.
    """
    try:
        return AgentDefinition.model_validate(data)
    except ValidationError as error:
        raise complaint(error, AgentDefinition, document.error) from None


def _adapted(document: Document) -> tuple[dict[str, Any], list[str]]:
    """The document without what is accepted but means nothing, and a warning for each."""
    data = deepcopy(dict(document.data))
    notes: list[tuple[KeyPath, str]] = []
    for section in sorted(UNREAD_SECTIONS & data.keys()):
        del data[section]
        notes.append(((section,), "is not read"))
    tools = _table(data, "tools")
    if isinstance(shell := tools.get("shell"), list):
        tools["shell"] = {}
        if shell:
            note = "is a list, which allows nothing; write 'exec:' above it"
            notes.append((("tools", "shell"), note))
    notes += _adapt_policies(_table(data, "policies"))
    return data, [str(document.error(path, f"{dotted(path)!r} {note}")) for path, note in notes]


def _adapt_policies(policies: dict[str, Any]) -> Iterator[tuple[KeyPath, str]]:
    """Drop the maps that older files have under `net` and `shell`; say what is not read."""
    for key in ("net", "shell"):
        if policies.get(key):
            yield ("policies", key), f"is not read; what is granted stands in 'tools.{key}'"
        if isinstance(policies.get(key), dict):
            policies[key] = None


def _table(data: dict[str, Any], key: str) -> dict[str, Any]:
    """A table of a table, or an empty one where there is none."""
    found = data.get(key)
    return found if isinstance(found, dict) else {}
