"""What a run was asked and what it knew, as JSON that is kept with its record.

It holds every definition that the run's agents could name, so that whoever makes the run again, or
goes on with it, needs none of the files of that day.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from sashizu_core.agents import AgentDefinition, Catalogue
from sashizu_core.redaction import Redactor
from sashizu_core.runtime.asked import Asked
from sashizu_core.runtime.written_plan import (
    FORMAT,
    definition_from,
    other_version,
    plain_definition,
    plain_task,
    task_from,
    written,
)
from sashizu_core.trust import TrustStore
from sashizu_core.types import Limits, Task

__all__ = ["WrittenRun", "plain_run", "read_run", "written_run"]

_TABLES = ("run", "spawn", "policy")
"""The settings that a run is shaped by; those of plugins may hold keys, and are not kept."""


@dataclass(frozen=True, slots=True)
class WrittenRun:
    """What a run was asked. `supervised` is what a supervisor was asked, None for other runs.

    `brought` are the names of those of its `agents` that came from the repository.
    """

    tasks: tuple[Task, ...]
    budget: Limits
    deadline_s: float | None
    jobs: int
    model: str | None
    isolation: str
    rebalance: bool
    root: Path
    tables: Mapping[str, Mapping[str, Any]]
    agents: tuple[AgentDefinition, ...]
    conversation: bool
    beneath: bool
    supervised: Mapping[str, Any] | None
    brought: tuple[str, ...] = ()


def written_run(asked: Asked, catalogue: Catalogue, redactor: Redactor) -> str:
    """Everything that `read_run` reads, without secrets."""
    return written(plain_run(asked, catalogue), redactor)


def plain_run(asked: Asked, catalogue: Catalogue) -> dict[str, Any]:
    """Everything that `read_run` reads, as JSON values that may hold secrets."""
    values: dict[str, Any] = {
        "format": FORMAT,
        "tasks": [plain_task(task) for task in asked.tasks],
        "budget": asdict(asked.budget),
        "deadline_s": asked.deadline_s,
        "jobs": asked.jobs,
        "model": asked.model,
        "isolation": asked.isolation,
        "rebalance": asked.rebalance,
        "root": str(asked.root),
        "tables": {name: asked.settings.tables.get(name, {}) for name in _TABLES},
        "agents": [plain_definition(definition) for definition in _trusted(asked.root, catalogue)],
        "conversation": asked.conversation is not None,
        "beneath": asked.received is not None,
        "supervised": asked.supervised,
        "brought": [
            *(asked.past.brought if asked.past is not None else ()),
            *(entry.name for entry in catalogue if entry.scope == "repository"),
        ],
    }
    plain: dict[str, Any] = json.loads(json.dumps(values, default=str))
    return plain


def _trusted(root: Path, catalogue: Catalogue) -> list[AgentDefinition]:
    """The definitions that may be used: whoever goes on asks for no trust any more."""
    barred: set[str] = set()
    if any(entry.scope == "repository" for entry in catalogue):
        barred = {file.agent for file in TrustStore().untrusted(root, catalogue)}
    return [entry.definition for entry in catalogue if entry.name not in barred]


def read_run(values: Mapping[str, Any]) -> WrittenRun:
    """What was written down.

    Raises:
        SashizuError: it was written by another version.
    """
    try:
        return WrittenRun(
            tasks=tuple(task_from(task) for task in values["tasks"]),
            budget=Limits(**values["budget"]),
            deadline_s=values["deadline_s"],
            jobs=values["jobs"],
            model=values["model"],
            isolation=values["isolation"],
            rebalance=values["rebalance"],
            root=Path(values["root"]),
            tables=values["tables"],
            agents=tuple(definition_from(each) for each in values["agents"]),
            conversation=values["conversation"],
            beneath=values["beneath"],
            supervised=values["supervised"],
            brought=tuple(map(str, values.get("brought", ()))),
        )
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise other_version(error) from error
