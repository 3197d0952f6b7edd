"""What `--budget` and `--deadline` say, beside what the settings say."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from sashizu_core.agents.definition import agent_key
from sashizu_core.limits import parse_budget_flags, parse_duration
from sashizu_core.types import Limits

from sashizu_cli.session import Session

__all__ = ["Bounds", "limits_of"]


@dataclass(frozen=True, slots=True)
class Bounds:
    """The limits of a run; None leaves them to the settings. `agents` are by name."""

    run: Limits | None = None
    deadline_s: float | None = None
    agents: Mapping[str, Limits] = field(default_factory=dict)


def limits_of(
    budgets: Sequence[str] | None, deadline: str | None, session: Session, asked: Sequence[str]
) -> Bounds:
    """Read the flags; where no flag bounds the run or an agent, the settings do.

    Raises:
        UsageError: a flag cannot be read or is not above zero.
        ConfigError: a setting is wrong.
    """
    run, agents = parse_budget_flags(budgets or [])
    _, defaults = session.settings.run.limits
    known = {agent_key(name) for name in asked}
    of_settings = {name: limit for name, limit in defaults.items() if agent_key(name) in known}
    return Bounds(
        run=run if run != Limits() else None,
        deadline_s=parse_duration(deadline) if deadline is not None else None,
        agents=of_settings | agents,
    )
