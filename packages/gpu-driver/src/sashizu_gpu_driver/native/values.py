"""What the driver tells and is told, as values of Python; None is unknown."""

from __future__ import annotations

from ctypes import Array, c_uint8, sizeof
from dataclasses import dataclass
from typing import Literal

from sashizu_gpu_driver.native import abi

__all__ = [
    "Advice",
    "DriverProcess",
    "DriverVersion",
    "GpuSample",
    "PoolUse",
    "SchedulerUse",
    "TurnUse",
    "paths_of",
    "raw_of",
    "text_of",
]

_SYSTEMS = {abi.SYSTEM_LINUX: "linux", abi.SYSTEM_WINDOWS: "windows", abi.SYSTEM_TEST: "test"}
_FEATURES = {
    "gpu": abi.FEATURE_GPU,
    "processes": abi.FEATURE_PROCESSES,
    "pool": abi.FEATURE_POOL,
    "pinned": abi.FEATURE_PINNED,
    "slots": abi.FEATURE_SLOTS,
    "hints": abi.FEATURE_HINTS,
    "runtimes": abi.FEATURE_RUNTIMES,
}
_PATHS = {
    "cpu": abi.PATH_CPU,
    "directml": abi.PATH_DIRECTML,
    "npu": abi.PATH_NPU,
    "cuda": abi.PATH_CUDA,
    "rocm": abi.PATH_ROCM,
    "level-zero": abi.PATH_LEVEL_ZERO,
}
_KINDS: tuple[Literal["gpu", "npu"], ...] = ("gpu", "npu")
_MEMORIES: tuple[Literal["unknown", "dedicated", "unified", "shared"], ...] = (
    *("unknown", "dedicated", "unified", "shared"),
)
_RULES = {"runtime": abi.RULE_RUNTIME, "gpu": abi.RULE_GPU, "pool": abi.RULE_POOL}
_REASONS = {
    abi.REASON_MOST_FREE: "of the devices with room it has the most free memory",
    abi.REASON_NO_DEVICE: "no device was submitted",
    abi.REASON_STALE: "what is known of the devices is too old",
    abi.REASON_NO_COMMON_PATH: "no device offers a way that the runtime can use",
    abi.REASON_MEMORY_UNKNOWN: "nobody knows how much memory the devices have free",
    abi.REASON_NO_ROOM: "no device has enough free memory",
}


def _names(bits: int, table: dict[str, int]) -> frozenset[str]:
    return frozenset(name for name, bit in table.items() if bits & bit)


def _bits(names: frozenset[str], table: dict[str, int]) -> int:
    if unheard := sorted(names - set(table)):
        raise ValueError(f"not one of {', '.join(table)}: {', '.join(unheard)}")
    return sum(table[name] for name in names)


def text_of(raw: Array[c_uint8]) -> str:
    """Text of the driver, up to its first zero byte; what cannot be shown is replaced."""
    text = bytes(raw).partition(b"\0")[0].decode("utf-8", "replace")
    return "".join(
        letter if letter.isprintable() else "\N{REPLACEMENT CHARACTER}" for letter in text
    )


def raw_of(text: str, room: int) -> Array[c_uint8]:
    """The bytes of a text, ended and filled up with zeros.

    Raises:
        ValueError: it is empty, too long, or has control characters.
    """
    raw = text.encode("utf-8")
    if not 0 < len(raw) < room or any(byte < 0x20 or byte == 0x7F for byte in raw):
        raise ValueError(f"{text!r} is not a text of 1 to {room - 1} bytes without control bytes")
    return (c_uint8 * room)(*raw)


@dataclass(frozen=True, slots=True)
class DriverVersion:
    """The answer to the handshake. `interface` is its version, such as `1.0`."""

    interface: str
    system: str
    features: frozenset[str]
    pool_bytes: int
    client_bytes: int
    granule: int
    slots: int

    @classmethod
    def of(cls, frame: abi.Version) -> DriverVersion:
        return cls(
            f"{frame.driver_abi >> 16}.{frame.driver_abi & 0xFFFF}",
            _SYSTEMS.get(frame.system, f"system {frame.system}"),
            _names(frame.features, _FEATURES),
            frame.pool_bytes,
            frame.client_bytes,
            frame.granule,
            frame.slots,
        )


@dataclass(frozen=True, slots=True)
class GpuSample:
    """What was measured of one device. `age_s` is how long ago; `collector` a process id or 0.

    `busy_percent` is a share of the last period, `paths` the ways to compute that it offers.
    """

    id: str
    name: str
    vendor: str = ""
    kind: Literal["gpu", "npu"] = "gpu"
    memory: Literal["unknown", "dedicated", "unified", "shared"] = "unknown"
    paths: frozenset[str] = frozenset()
    memory_total: int | None = None
    memory_used: int | None = None
    busy_percent: float | None = None
    temperature_c: float | None = None
    power_w: float | None = None
    age_s: float = 0.0
    collector: int = 0

    def frame(self, index: int) -> abi.Gpu:
        """The frame that submits it as device `index`.

        Raises:
            ValueError: a text or a way that the interface does not have.
        """
        values = (
            ("memory_total", self.memory_total, 1, abi.KNOWN_MEMORY_TOTAL),
            ("memory_used", self.memory_used, 1, abi.KNOWN_MEMORY_USED),
            ("utilization", self.busy_percent, 10, abi.KNOWN_UTILIZATION),
            ("temperature", self.temperature_c, 1000, abi.KNOWN_TEMPERATURE),
            ("power", self.power_w, 1000, abi.KNOWN_POWER),
        )
        frame = abi.Gpu(sizeof(abi.Gpu), abi.ABI, index, 0, 0, _bits(self.paths, _PATHS))
        for name, value, scale, bit in values:
            if value is not None:
                setattr(frame, name, round(value * scale))
                frame.known |= bit
        frame.age_ns = round(self.age_s * 1e9)
        frame.id = raw_of(self.id, abi.ID_BYTES)
        frame.name = raw_of(self.name, abi.ID_BYTES)
        if self.vendor:
            frame.vendor = raw_of(self.vendor, abi.NAME_BYTES)
        frame.kind = _KINDS.index(self.kind) + 1
        frame.memory = _MEMORIES.index(self.memory)
        return frame

    @classmethod
    def of(cls, frame: abi.Gpu) -> GpuSample:
        def known(value: float, bit: int) -> float | None:
            return value if frame.known & bit else None

        total = known(frame.memory_total, abi.KNOWN_MEMORY_TOTAL)
        used = known(frame.memory_used, abi.KNOWN_MEMORY_USED)
        return cls(
            text_of(frame.id),
            text_of(frame.name),
            text_of(frame.vendor),
            _KINDS[min(max(frame.kind, 1), len(_KINDS)) - 1],
            _MEMORIES[frame.memory] if frame.memory < len(_MEMORIES) else "unknown",
            _names(frame.paths, _PATHS),
            None if total is None else int(total),
            None if used is None else int(used),
            known(frame.utilization / 10, abi.KNOWN_UTILIZATION),
            known(frame.temperature / 1000, abi.KNOWN_TEMPERATURE),
            known(frame.power / 1000, abi.KNOWN_POWER),
            frame.age_ns / 1e9,
            frame.collector,
        )


@dataclass(frozen=True, slots=True)
class DriverProcess:
    """A process that a rule lists: a `runtime` registered, memory of a `gpu` or the `pool` held.

    `gpu_bytes` is on all of `gpus` (indices) together, as old as `age_s`. `name` is for people.
    """

    pid: int
    rules: frozenset[str]
    gpus: tuple[int, ...]
    gpu_bytes: int
    pool_bytes: int
    name: str
    age_s: float

    @classmethod
    def of(cls, entry: abi.Process, age_ns: int) -> DriverProcess:
        return cls(
            entry.pid,
            _names(entry.rules, _RULES),
            tuple(index for index in range(abi.MAX_GPUS) if entry.gpus >> index & 1),
            entry.gpu_bytes,
            entry.pool_bytes,
            text_of(entry.name),
            age_ns / 1e9,
        )


@dataclass(frozen=True, slots=True)
class PoolUse:
    """Bytes of the pool: of everybody, and of this handle."""

    total: int
    used: int
    mine: int
    mine_limit: int
    buffers: int
    clients: int


@dataclass(frozen=True, slots=True)
class SchedulerUse:
    """Turns: how many run and wait now; the rest counts since the driver was loaded."""

    slots: int
    running: int
    waiting: int
    hints: int
    granted: int
    cancelled: int
    waited_s: float
    longest_s: float


@dataclass(frozen=True, slots=True)
class TurnUse:
    """A turn that was given, and how long it took to get."""

    ticket: int
    waited_s: float


@dataclass(frozen=True, slots=True)
class Advice:
    """The way to compute that the driver derives from what it knows, and why.

    `gpu` is the index of the device, `free_bytes` what it had free `age_s` ago; None and 0 where
    the way is `cpu`.
    """

    path: str
    reason: str
    gpu: int | None
    free_bytes: int
    age_s: float

    @classmethod
    def of(cls, frame: abi.GpuPath) -> Advice:
        paths = {bit: name for name, bit in _PATHS.items()}
        return cls(
            paths.get(frame.path, "cpu"),
            _REASONS.get(frame.reason, f"reason {frame.reason}"),
            None if frame.index >= abi.MAX_GPUS else frame.index,
            frame.free_bytes,
            frame.age_ns / 1e9,
        )


def paths_of(names: frozenset[str]) -> int:
    """The bits of ways to compute.

    Raises:
        ValueError: there is no such way.
    """
    return _bits(names, _PATHS)
