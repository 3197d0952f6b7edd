"""What one agent instance is taught: guidance for its task, and skills that it may read."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import anyio.to_thread

from sashizu_core.protocols import Readable
from sashizu_core.runtime.plan import AgentPlan
from sashizu_core.skills import Guidance, Skill
from sashizu_core.skills.guidance import fitted
from sashizu_core.skills.shelf import Shelf

__all__ = ["SKILL_TOOL", "Lessons", "lessons_of"]

SKILL_TOOL = "read_skill"


@dataclass(frozen=True, slots=True)
class Lessons:
    """Guidance and skills of one agent instance."""

    guidance: tuple[Guidance, ...] = ()
    skills: tuple[Skill, ...] = ()

    def needs(self, tool: str) -> bool:
        """Whether a tool is of use: the one that reads skills is none without skills."""
        return tool != SKILL_TOOL or bool(self.skills)

    def told(self, tokens_left: int | None) -> dict[str, Any]:
        """The parts of its brief."""
        return {"guidance": fitted(self.guidance, tokens_left), "skills": self.skills}

    def recorded(self) -> Mapping[str, Any]:
        """What the record says of it, as `attrs`; empty where there is nothing to say."""
        found: dict[str, Any] = {}
        if self.guidance:
            found["guidance"] = {each.path: each.sha256 for each in self.guidance}
        if self.skills:
            found["skills"] = {each.name: each.sha256 for each in self.skills}
        return found


async def lessons_of(plan: AgentPlan, shelf: Shelf | None, readable: Readable) -> Lessons:
    """What an agent is taught.

    A repository's guidance is for agents that may read it; skills are for those that list the tool
    which reads them.
    """
    if shelf is None:
        return Lessons()
    scope = plan.task.scope
    if not shelf.knows(scope):
        await anyio.to_thread.run_sync(shelf.guidance, scope)
    guidance = tuple(
        each for each in shelf.guidance(scope) if each.whose == "user" or readable(each.path)
    )
    return Lessons(guidance, shelf.skills if SKILL_TOOL in plan.tools else ())
