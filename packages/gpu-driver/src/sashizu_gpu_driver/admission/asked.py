"""What is asked of the controller, what it sees, and what it answers. Sizes are bytes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Literal

__all__ = ["Answer", "Ask", "Card", "Numbers", "Outcome", "Rules"]

Outcome = Literal["placed", "joined", "queued", "refused"]
"""`placed`: load it there. `joined`: it is loaded already. `queued`: not yet. `refused`: never."""

GIB = 1 << 30


@dataclass(frozen=True, slots=True)
class Card:
    """One device at one moment, as far as it is known; a MIG instance is a device of its own.

    `free` is what the device reports, None where it does not; `used` is the memory of each process
    by number, None where use is not told apart by process. `busy` is the utilisation over the last
    seconds, 0 to 1. `unusable` says why nothing may be placed here, such as a lost device; `away`
    that it was usable moments ago and may be again; `short` that the machine itself is short of
    memory, so that nothing is placed for now. Devices whose memory is the same have the same
    `memory`; empty is memory of its own.
    """

    device: str
    total: int
    reserved: int = 0
    free: int | None = None
    used: Mapping[int, int] | None = None
    integrated: bool = False
    busy: float | None = None
    throttled: bool = False
    temperature_c: float | None = None
    unusable: str = ""
    away: bool = False
    short: bool = False
    source: str = ""
    age_s: float = 0.0
    memory: str = ""

    @property
    def pool(self) -> str:
        """What its memory is called, which other devices may share."""
        return self.memory or self.device


@dataclass(frozen=True, slots=True)
class Ask:
    """A model that somebody wants to call.

    `key` is what makes two asks the same load: model, quantization, context. `need` is the bytes
    it is thought to take. `parallel` is how many calls one load serves at once. A lower `rank` is
    served first. `alone` says that the server measures what is free when it starts, as vLLM does:
    nothing else may load on its device meanwhile. `kind` is the kind of the devices it may go to.
    `agent` is the name of the agent that calls, empty where none does.
    """

    key: str
    need: int
    name: str = ""
    parallel: int = 1
    rank: int = 0
    alone: bool = False
    kind: str = "gpu"
    agent: str = ""


@dataclass(frozen=True, slots=True)
class Rules:
    """The numbers that decide. Times are seconds, sizes bytes.

    `headroom` of a device stays free, at least `headroom_bytes`. Who has waited for `patience_s`
    keeps the devices that could hold it from those that came later. `queue` may wait at once, and
    `per_agent` calls of agents of one name may be at work at once, None being all of them.
    After an unload, `recovered` of its memory must be seen free again, or `settle_s` have passed.
    A device shows what was loaded within `lag_s`. Who has not asked for `quiet_s` holds nobody up:
    its process is stopped, or was in a container that is gone. Whether a process is there, the
    kernel says; where it cannot, what that process holds is its own as long as it says so, every
    `beat_s`, and no longer than `lease_s` after it last did. `grown` is by what an estimate is
    multiplied that was too small; it grows by `grown_bytes` at least.
    """

    headroom: float = 0.08
    headroom_bytes: int = GIB
    patience_s: float = 30.0
    queue: int = 512
    per_agent: int | None = None
    recovered: float = 0.75
    settle_s: float = 5.0
    lag_s: float = 2.0
    quiet_s: float = 15.0
    beat_s: float = 10.0
    lease_s: float = 60.0
    grown: float = 1.25
    grown_bytes: int = 64 << 20


@dataclass(frozen=True, slots=True)
class Numbers:
    """How the room on one device came about; `rule` says which of the sources bound it."""

    device: str
    room: int
    total: int
    reserved: int
    free: int | None
    leases: int
    foreign: int | None
    headroom: int
    busy: float | None
    rule: str
    source: str
    age_s: float


@dataclass(frozen=True, slots=True)
class Answer:
    """What the controller decided, why, and from which numbers.

    `place` is the load's number where it is `placed` or `joined`; `position` counts from 1.
    """

    outcome: Outcome
    reason: str
    need: int
    device: str = ""
    place: int = 0
    position: int = 0
    numbers: Sequence[Numbers] = field(default=(), compare=False)
