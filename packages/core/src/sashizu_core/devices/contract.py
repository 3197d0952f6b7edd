"""What a backend of devices does, and what it tells.

All methods block, and are called one at a time from one worker thread, but for `hint`,
`pinned_pool` and `register_runtime` and what the latter gives, which any thread may call.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import Any, Literal, Protocol

from sashizu_core.devices.readings import Reading, Stats, Unknown
from sashizu_core.errors import SashizuError

__all__ = [
    "Device",
    "DeviceBackend",
    "DeviceError",
    "DeviceEvent",
    "DeviceLost",
    "DeviceProcess",
    "DeviceSpec",
    "Hint",
    "HintResult",
    "PathAdvice",
    "PinnedBuffer",
    "PinnedPool",
    "Probe",
    "RuntimeRegistration",
]


class DeviceError(SashizuError):
    """A device or its backend cannot do what was asked."""


class DeviceLost(DeviceError):
    """A device that was there answers no more; the others go on."""


@dataclass(frozen=True, slots=True)
class Probe:
    """Whether a backend can be used here.

    `missing`: what it needs is not there. `forbidden`: it is there and may not be used. `reason`
    says what was found, `remedy` what a person can do.
    """

    state: Literal["ok", "missing", "forbidden"]
    reason: str = ""
    remedy: str = ""


@dataclass(frozen=True, slots=True)
class Device:
    """One device, or one part of a device that is partitioned.

    `id` stays the same over restarts: a UUID, or an address on the bus in lower case
    (`0000:65:00.0`). `also` are other stable ids of the same device, by which what several backends
    tell of it is put together. `memory` is `unified` where it is the memory of the machine.
    `parent` is the id of the device that this one is a part of.
    """

    id: str
    name: str
    vendor: str
    kind: Literal["gpu", "npu"] = "gpu"
    memory: Literal["dedicated", "unified", "shared", "unknown"] = "unknown"
    also: tuple[str, ...] = ()
    parent: str = ""

    def as_json(self) -> dict[str, Any]:
        return {
            "id": self.id,
            "name": self.name,
            "vendor": self.vendor,
            "kind": self.kind,
            "memory": self.memory,
            "also": list(self.also),
            "parent": self.parent or None,
        }


@dataclass(frozen=True, slots=True)
class DeviceProcess:
    """A process that uses a device.

    `pid` is as the backend tells it; `ours` says whether it is one that this process would see
    under that number: in a container it may be a number of the host. None where nobody knows.
    """

    pid: int
    kind: Literal["compute", "graphics", "mps", "unknown"]
    used_bytes: Reading
    busy_percent: Reading
    name: str = ""
    ours: bool | None = None


@dataclass(frozen=True, slots=True)
class DeviceEvent:
    """Something that happened to a device; `at_ns` is `time.monotonic_ns()` when it was seen.

    `lost`: it answers no more. `back`: it does again. `fault`: an error that its driver reports,
    with its `code`. `added` and `removed`: it was plugged.
    """

    kind: Literal["lost", "back", "fault", "added", "removed"]
    device: str
    text: str
    at_ns: int
    code: int | None = None


@dataclass(frozen=True, slots=True)
class Hint:
    """How a process should be scheduled; what is None stays as it is.

    `nice` is that of POSIX (-20 to 19), `cpu_weight` that of a cgroup (1 to 10000), `policy` one
    of the kernel's, `device_memory_max` the bytes of device memory that its cgroup may use at most.
    """

    nice: int | None = None
    cpu_weight: int | None = None
    policy: Literal["other", "batch", "idle"] | None = None
    device_memory_max: int | None = None


def _nothing_to_undo() -> None:
    return


@dataclass(frozen=True, slots=True)
class HintResult:
    """What became of a hint. `how` says what was set, `reason` why not; `undo` puts back what was.

    `undo` raises `DeviceError` where that cannot be done any more.
    """

    state: Literal["applied", "unsupported", "denied"]
    how: str = ""
    reason: str = ""
    undo: Callable[[], None] = _nothing_to_undo


class PinnedBuffer(Protocol):
    """Memory that can be shared by handing over `fd`. `reason` says why it is not pinned."""

    @property
    def size(self) -> int: ...
    @property
    def fd(self) -> int: ...
    @property
    def view(self) -> memoryview: ...
    @property
    def pinned(self) -> bool: ...
    @property
    def reason(self) -> str: ...
    def close(self) -> None:
        """Give it back; those it was handed to keep what they have mapped."""
        ...


class PinnedPool(Protocol):
    """At most `size` bytes of memory for clients; `used` of them are with somebody."""

    @property
    def size(self) -> int: ...
    @property
    def used(self) -> int: ...
    @property
    def pinned(self) -> bool:
        """Whether what it gives can not be paged out, by what it knows now."""
        ...

    @property
    def reason(self) -> str: ...
    def allocate(self, size: int, *, client: str = "") -> PinnedBuffer:
        """Zeroed memory of at least `size` bytes, charged to a client.

        Raises:
            DeviceError: the pool or the client's quota has no room.
        """
        ...

    def release(self, client: str) -> int:
        """Take back all that a client has; how many bytes that were."""
        ...

    def close(self) -> None: ...


@dataclass(frozen=True, slots=True)
class PathAdvice:
    """The way to compute that a driver names for a registered runtime, and why.

    `path` is one of those that the runtime can use, or `cpu`. `device` is the id of the device that
    had `free_bytes` free `age_s` ago; empty and 0 where the way is `cpu`.
    """

    path: str
    reason: str
    device: str = ""
    free_bytes: int = 0
    age_s: float = 0.0

    def as_json(self) -> dict[str, Any]:
        return {
            "path": self.path,
            "reason": self.reason,
            "device": self.device or None,
            "free_bytes": self.free_bytes,
            "age_s": round(self.age_s, 3),
        }


class RuntimeRegistration(Protocol):
    """A runtime that a driver knows of. `pid` is this process as the driver saw it."""

    @property
    def pid(self) -> int: ...
    def advise(self, size: int = 0) -> PathAdvice:
        """The way to compute for work that needs `size` bytes of device memory.

        Raises:
            DeviceError: the driver does not answer, or the registration was closed.
        """
        ...

    def close(self) -> None:
        """Take it back; a second time does nothing."""
        ...


class DeviceBackend(Protocol):
    """One way to learn of devices. Inherit it: what a backend cannot do is answered here.

    Only `probe`, `devices` and `stats` must be there.
    """

    @property
    def name(self) -> str:
        """What readings are marked with as their source."""
        ...

    def probe(self) -> Probe:
        """Whether it can be used on this machine, within 100 ms; never raises."""
        ...

    def devices(self) -> Sequence[Device]:
        """The devices that are there now.

        Raises:
            DeviceError: they cannot be listed at all.
        """
        ...

    def stats(self, device: str) -> Stats:
        """Measure one device; what cannot be measured is `Unknown` with a reason.

        Raises:
            DeviceLost: it is not there any more, or answers no more.
        """
        ...

    def processes(self, device: str) -> Sequence[DeviceProcess] | Unknown:  # noqa: ARG002
        """Who uses a device. Costs much: ask seldom.

        Raises:
            DeviceLost: it is not there any more, or answers no more.
        """
        return Unknown("this backend lists no processes", self.name)

    def events(self) -> Sequence[DeviceEvent]:
        """What has happened since it was last asked; never waits."""
        return ()

    @property
    def collects(self) -> bool:
        """Whether it wants to hear what the other backends measure."""
        return False

    def hear(self, told: Sequence[tuple[Device, Stats]]) -> None:
        """Take in what the others have measured, after each look; never raises."""
        del told  # a body, so that the method is no abstract one

    def hear_processes(self, device: str, processes: Sequence[DeviceProcess]) -> None:
        """Take in who uses a device, as the others have listed it; never raises."""
        del device, processes

    def pinned_pool(self, size: int) -> PinnedPool:
        """Memory of at most `size` bytes that processes share.

        Raises:
            DeviceError: there is none.
        """
        raise DeviceError(f"the backend {self.name!r} has no memory to share ({size} bytes asked)")

    def register_runtime(self, name: str, paths: frozenset[str]) -> RuntimeRegistration:
        """Tell that this process computes, in which ways, and under which name.

        Ways are `cpu`, `directml`, `npu`, `cuda`, `rocm` and `level-zero`.

        Raises:
            DeviceError: it registers nothing, or not this.
        """
        ways = ", ".join(sorted(paths))
        raise DeviceError(f"the backend {self.name!r} registers no runtimes ({name!r}, {ways})")

    def hint(self, pid: int, hint: Hint) -> HintResult:  # noqa: ARG002
        """Ask for a process to be scheduled in another way; never raises."""
        return HintResult("unsupported", reason=f"the backend {self.name!r} schedules nothing")


@dataclass(frozen=True, slots=True)
class DeviceSpec:
    """A backend of devices.

    `open` yields it; blocking, unlike what other specs open, because what it asks blocks. Where
    several tell the same of a device, the one with the lowest `rank` is believed: 10 for a driver
    of our own, 20 for a vendor's library, 40 for what the kernel tells.
    """

    name: str
    summary: str
    open: Callable[[], AbstractContextManager[DeviceBackend]]
    rank: int = 50
