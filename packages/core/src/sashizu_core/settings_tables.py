"""The settings tables of core itself, and where a value can come from."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Literal

from pydantic import AfterValidator, BaseModel, ConfigDict, Field

from sashizu_core.documents import Place
from sashizu_core.errors import UsageError
from sashizu_core.limits import parse_budget_flags, parse_duration
from sashizu_core.types import Limits

__all__ = ["RAW", "TYPED", "Origin", "PluginSettings", "RunSettings", "Table"]


class Table(BaseModel):
    """The base of every settings table: frozen, and unknown keys are errors."""

    model_config = ConfigDict(frozen=True, extra="forbid", hide_input_in_errors=True)


def _duration(text: str) -> str:
    try:
        parse_duration(text)
    except UsageError as error:
        raise ValueError(str(error)) from error
    return text


def _budgets(texts: tuple[str, ...]) -> tuple[str, ...]:
    try:
        parse_budget_flags(texts)
    except UsageError as error:
        raise ValueError(str(error)) from error
    return texts


Count = Annotated[int, Field(strict=True, ge=1, le=100_000)]
Duration = Annotated[str, AfterValidator(_duration)]


class RunSettings(Table):
    """The table `[run]`: what a run does when its flags do not say otherwise."""

    model: Annotated[str, Field(min_length=1)] = "offline"
    jobs: Count = 8
    deadline: Duration | None = None
    agent_deadline: Duration | None = None
    max_turns: Count = 50
    max_output_tokens: Count = 8192
    executor: Annotated[str, Field(min_length=1)] = "local"
    isolation: Literal["auto", "none", "worktree"] = "auto"
    budget: Annotated[tuple[str, ...], AfterValidator(_budgets)] = ()

    @property
    def deadline_s(self) -> float | None:
        """Seconds that a run may take, or None."""
        return parse_duration(self.deadline) if self.deadline else None

    @property
    def agent_deadline_s(self) -> float | None:
        """Seconds that one agent may take, or None."""
        return parse_duration(self.agent_deadline) if self.agent_deadline else None

    @property
    def limits(self) -> tuple[Limits, Mapping[str, Limits]]:
        """The limits of a run, and those of single agents by name."""
        return parse_budget_flags(self.budget)


class PluginSettings(Table):
    """The table `[plugins]`: which are not imported, and whether a broken one is an error."""

    disable: tuple[str, ...] = ()
    strict: Annotated[bool, Field(strict=True)] = False


TYPED: Mapping[str, type[Table]] = {"run": RunSettings, "plugins": PluginSettings}
"""The tables that core itself reads."""

RAW = frozenset({"models"})
"""Tables that several plugins share: `[models.NAME]` describes one model or endpoint."""


@dataclass(frozen=True, slots=True)
class Origin:
    """Where a value comes from. `text` says it to a person; `place` is known for files."""

    kind: Literal["default", "project", "user", "environment", "flag"]
    text: str
    file: Path | None = None
    place: Place | None = None
