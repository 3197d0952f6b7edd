"""What a page shows of one run. Times are nanoseconds since 1970, `nusd` is 10⁻⁹ USD."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

__all__ = ["Agent", "Artifact", "Call", "Proof", "Refusal", "Run", "Shown"]


@dataclass(frozen=True, slots=True)
class Run:
    """The run itself; `ended_ns` is None while nobody recorded its end.

    `held` is what the calls in flight may cost at most, by unit; known of a run at work alone.
    """

    run_id: str
    project: str
    actor: str
    status: str
    started_ns: int
    ended_ns: int | None
    limits: Mapping[str, int]
    tokens: int
    nusd: int
    requests: int
    held: Mapping[str, int] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Agent:
    """One agent instance; `level` counts from 0, `all_…` is with everybody beneath it."""

    agent_id: str
    parent_id: str
    name: str
    model: str
    status: str
    error: str
    started_ns: int
    ended_ns: int | None
    limits: Mapping[str, int]
    tokens: int
    nusd: int
    requests: int
    level: int = 0
    all_tokens: int = 0
    all_nusd: int = 0
    all_requests: int = 0


@dataclass(frozen=True, slots=True)
class Call:
    """A model or tool call; `duration_ns` is None where nobody knows what came of it."""

    agent_id: str
    agent: str
    kind: str
    name: str
    step: int
    started_ns: int
    duration_ns: int | None
    status: str
    tokens: int


@dataclass(frozen=True, slots=True)
class Refusal:
    """Something that was refused, asked about, or looked like an attack."""

    at_ns: int
    agent: str
    kind: str
    what: str
    verdict: str
    decided_by: str
    why: str


@dataclass(frozen=True, slots=True)
class Artifact:
    """A file that an agent made."""

    agent: str
    path: str
    sha256: str
    size: int


@dataclass(frozen=True, slots=True)
class Proof:
    """What a query can tell of the record's state.

    `missing` counts the events that are absent from the writers of the run, `checkpoints` those
    that were recorded after its last event. Neither says that the rest is genuine.
    """

    writers: int
    missing: int
    checkpoints: int


@dataclass(frozen=True, slots=True)
class Shown:
    """All of it. `cut` names what the page shows only the beginning of.

    `proof` is None where no record was asked. `until_ns` is the moment at which a run at work was
    looked at, None for one that is over.
    """

    run: Run
    agents: tuple[Agent, ...]
    calls: tuple[Call, ...]
    refusals: tuple[Refusal, ...]
    artifacts: tuple[Artifact, ...]
    proof: Proof | None
    cut: tuple[str, ...] = field(default=())
    until_ns: int | None = None
