"""What one agent was asked, and everything it worked under, as JSON that is kept with its record.

A replay makes the agent of this again, whatever its files say by then.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, replace
from hashlib import sha256
from pathlib import Path
from typing import Any

from sashizu_core.agents import AgentDefinition
from sashizu_core.errors import SashizuError, UsageError, nearest
from sashizu_core.handoff import grants_from, plain_grants
from sashizu_core.prompt import ArtifactTarget
from sashizu_core.redaction import Redactor
from sashizu_core.runtime.conversation import message_from, plain_message
from sashizu_core.runtime.plan import AgentPlan
from sashizu_core.runtime.teaching import Lessons
from sashizu_core.skills import Guidance, Skill, SkillFile
from sashizu_core.specs import ToolSpec
from sashizu_core.types import Limits, Message, ModelInfo, Price, Task

__all__ = [
    "definition_from",
    "model_infos",
    "other_version",
    "plain_definition",
    "plain_task",
    "plan_from",
    "read_history",
    "read_lessons",
    "task_from",
    "task_key",
    "written",
    "written_plan",
]

FORMAT = 1
_REPOSITORY = "repo:"


def written(values: Mapping[str, Any], redactor: Redactor) -> str:
    """JSON values as a text that holds no secret."""
    return json.dumps(redactor.value(values), ensure_ascii=False)


def written_plan(
    plan: AgentPlan,
    infos: Sequence[ModelInfo],
    lessons: Lessons,
    history: Sequence[Message],
    redactor: Redactor,
) -> str:
    """Everything that `plan_from`, `read_lessons`, `read_history` and `model_infos` read."""
    values: dict[str, Any] = {
        "format": FORMAT,
        "task": plain_task(plan.task),
        "definition": plain_definition(plan.definition),
        "model": plan.model,
        "fallback": plan.fallback,
        "models": [asdict(info) for info in infos],
        "tools": list(plan.tools),
        "absent": dict(plan.absent),
        "grants": plain_grants(plan.grants),
        "ceilings": [plain_grants(level) for level in plan.ceilings],
        "limits": asdict(plan.limits),
        "deadline_s": plan.deadline_s,
        "targets": [[target.declared, target.path] for target in plan.targets],
        "folder": plan.folder,
        "isolation": plan.isolation,
        "host": plan.host,
        "served": list(plan.served),
        "engine": plan.engine,
        "guidance": [asdict(each) for each in lessons.guidance],
        "skills": [{**asdict(each), "folder": str(each.folder)} for each in lessons.skills],
        "history": [plain_message(message) for message in history],
    }
    return written(values, redactor)


def plan_from(values: Mapping[str, Any], tools: Mapping[str, ToolSpec]) -> AgentPlan:
    """The plan that was written down; `tools` are those that there are today.

    Raises:
        UsageError: a tool that it had is not installed.
        SashizuError: it was written by another version.
    """
    try:
        names = values["tools"]
        missing = [name for name in names if name not in tools]
        if missing:
            raise UsageError(
                f"the agent {values['definition']['name']!r} had the tool {missing[0]!r}, which is "
                f"not installed here{nearest(missing[0], tools)}"
            )
        return AgentPlan(
            task=task_from(values["task"]),
            definition=definition_from(values["definition"]),
            model=values["model"],
            tools={name: tools[name] for name in names},
            absent=values["absent"],
            grants=grants_from(values["grants"]),
            limits=Limits(**values["limits"]),
            deadline_s=values["deadline_s"],
            targets=tuple(ArtifactTarget(*pair) for pair in values["targets"]),
            folder=values["folder"],
            isolation=values["isolation"],
            ceilings=tuple(grants_from(level) for level in values["ceilings"]),
            served=tuple(values["served"]),
            engine=values["engine"],
            host=values["host"],
            fallback=values["fallback"],
        )
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise other_version(error) from error


def other_version(error: Exception) -> SashizuError:
    """What to raise where what was written down cannot be read."""
    return SashizuError(
        "what the record says of its agents was written by another version of sashizu "
        f"({type(error).__name__}: {error})"
    )


def model_infos(values: Mapping[str, Any]) -> list[ModelInfo]:
    """What was known of the models that the agent might ask."""
    found = []
    for each in values["models"]:
        price = Price(**each["price"]) if each["price"] is not None else None
        found.append(ModelInfo(**{**each, "price": price, "efforts": tuple(each["efforts"])}))
    return found


def read_lessons(values: Mapping[str, Any]) -> Lessons:
    """What the agent was taught."""
    skills = []
    for each in values["skills"]:
        files = tuple(SkillFile(**file) for file in each["files"])
        skills.append(Skill(**{**each, "folder": Path(each["folder"]), "files": files}))
    return Lessons(tuple(Guidance(**each) for each in values["guidance"]), tuple(skills))


def read_history(values: Mapping[str, Any]) -> tuple[Message, ...]:
    """The conversation that the agent went on with."""
    return tuple(message_from(plain) for plain in values["history"])


# --- tasks and definitions ------------------------------------------------------------------------


def plain_task(task: Task) -> dict[str, Any]:
    return asdict(replace(task, inputs=dict(task.inputs)))


def task_from(values: Mapping[str, Any]) -> Task:
    return Task(**{**values, "scope": tuple(values["scope"]), "limits": Limits(**values["limits"])})


def task_key(task: Task) -> str:
    """What two tasks share that ask for the same; how much time there is does not count."""
    values = plain_task(replace(task, deadline_s=None))
    return sha256(json.dumps(values, sort_keys=True).encode()).hexdigest()


def plain_definition(definition: AgentDefinition) -> dict[str, Any]:
    """A definition as JSON values; `named` is what it is called, beside the name in its file."""
    values = definition.model_dump(mode="json", exclude_defaults=True)
    name = definition.name
    return {**values, "name": name.removeprefix(_REPOSITORY), "named": name}


def definition_from(values: Mapping[str, Any]) -> AgentDefinition:
    """The definition that was written down.

    Raises:
        ValueError: it is none.
    """
    own = {name: value for name, value in values.items() if name != "named"}
    definition = AgentDefinition.model_validate(own)
    return definition.model_copy(update={"name": values["named"]})
