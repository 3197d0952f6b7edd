"""The settings tables of core itself, and where a value can come from."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Annotated, Literal

from pydantic import AfterValidator, BaseModel, ConfigDict, Field

from sashizu_core.documents import KeyPath, Place
from sashizu_core.errors import UsageError
from sashizu_core.limits import parse_budget_flags, parse_duration, parse_limit
from sashizu_core.policy_tables import PolicySettings
from sashizu_core.reactions.table import HooksSettings
from sashizu_core.secret_tables import SecretsSettings
from sashizu_core.types import Limits

__all__ = [
    "RAW",
    "TYPED",
    "DevicesSettings",
    "Origin",
    "PluginSettings",
    "PolicySettings",
    "RunSettings",
    "SpawnSettings",
    "Table",
    "check_threshold",
]


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


def check_threshold(text: str) -> Limits:
    """Read what a run may cost at most without being asked about.

    Raises:
        UsageError: it is no limit in tokens, dollars or time.
    """
    limit = parse_limit(text)
    if limit.requests is not None or limit.agents is not None:
        raise UsageError(
            f"{text!r} cannot be compared: give tokens (60k), dollars (1usd) or time (15m)"
        )
    return limit


def _threshold(text: str) -> str:
    try:
        check_threshold(text)
    except UsageError as error:
        raise ValueError(str(error)) from error
    return text


Count = Annotated[int, Field(strict=True, ge=1, le=100_000)]
Duration = Annotated[str, AfterValidator(_duration)]
Threshold = Annotated[str, AfterValidator(_threshold)]


class RunSettings(Table):
    """The table `[run]`: what a run does when its flags do not say otherwise."""

    model: Annotated[str, Field(min_length=1)] = "offline"
    jobs: Count = 8
    deadline: Duration | None = None
    agent_deadline: Duration | None = None
    max_turns: Count = 50
    max_output_tokens: Count = 8192
    executor: Annotated[str, Field(min_length=1)] = "local"
    labels: tuple[Annotated[str, Field(pattern=r"^[A-Za-z0-9_.:/+-]{1,100}$")], ...] = ()
    isolation: Annotated[str, Field(min_length=1)] = "auto"
    sandbox: Annotated[str, Field(min_length=1)] = "auto"
    budget: Annotated[tuple[str, ...], AfterValidator(_budgets)] = ()
    confirm_above: Threshold | None = None
    warn_at: Annotated[float, Field(gt=0, le=1, allow_inf_nan=False)] = 0.8

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


class SpawnSettings(Table):
    """The table `[spawn]`: what agents that start agents are bounded by, over a whole run.

    `depth` counts levels below the agents of the request, 0 lets none start any; `agents` is how
    many are started in all, `alive` how many at one time, `rate` how many within a minute.
    """

    depth: Annotated[int, Field(strict=True, ge=0, le=32)] = 4
    agents: Annotated[int, Field(strict=True, ge=0, le=100_000)] = 100
    alive: Count = 32
    rate: Count = 60


class DevicesSettings(Table):
    """The table `[devices]`: which backends of GPUs and NPUs are asked, and how often.

    `backends` are names; None are all. `sample` and `processes` are seconds between measurements
    for somebody who looks; `record` is how often runs put what devices do on record, None is never.
    """

    backends: tuple[str, ...] | None = None
    sample: Annotated[float, Field(ge=0.1, le=3600, allow_inf_nan=False)] = 1.0
    processes: Annotated[float, Field(ge=2, le=3600, allow_inf_nan=False)] = 5.0
    record: Duration | None = None

    @property
    def record_s(self) -> float | None:
        """Seconds between two measurements on record, or None."""
        return parse_duration(self.record) if self.record else None


class PluginSettings(Table):
    """The table `[plugins]`: which are not imported, and whether a broken one is an error."""

    disable: tuple[str, ...] = ()
    strict: Annotated[bool, Field(strict=True)] = False


TYPED: Mapping[str, type[BaseModel]] = {
    "run": RunSettings,
    "devices": DevicesSettings,
    "plugins": PluginSettings,
    "policy": PolicySettings,
    "hooks": HooksSettings,
    "secrets": SecretsSettings,
    "spawn": SpawnSettings,
}
"""The tables that core itself reads."""

RAW = frozenset({"mcp", "models"})
"""Tables of tables: `[models.NAME]` is one model or endpoint, `[mcp.NAME]` one server of tools."""


@dataclass(frozen=True, slots=True)
class Origin:
    """Where a value comes from. `text` says it to a person; `place` is known for files.

    `items` are the places of what is inside the value.
    """

    kind: Literal["default", "project", "user", "environment", "flag"]
    text: str
    file: Path | None = None
    place: Place | None = None
    items: Mapping[KeyPath, Place] = field(default_factory=dict, compare=False, repr=False)

    def within(self, path: KeyPath) -> Origin:
        """The origin of something inside the value, or of what is nearest around it."""
        while path and path not in self.items:
            path = path[:-1]
        if not path:
            return self
        place = self.items[path]
        return replace(self, text=f"{self.file}:{place.line}:{place.column}", place=place)
