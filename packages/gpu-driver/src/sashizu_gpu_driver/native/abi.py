"""The interface of the driver, made by `native/generate.py` from the C header."""

from __future__ import annotations

from ctypes import LittleEndianStructure, c_int32, c_uint8, c_uint32, c_uint64
from enum import IntEnum
from typing import Final, Self

ABI: Final = 0x10000
LINUX_TYPE: Final = 0xBB
WINDOWS_TYPE: Final = 0x8337
WINDOWS_BASE: Final = 0x800
LINUX_DEVICE: Final = "/dev/sashizu"
WINDOWS_DEVICE: Final = "\\\\.\\Sashizu"
READ: Final = 0x1
WRITE: Final = 0x2
BOTH: Final = 0x3
FEATURE_GPU: Final = 0x1
FEATURE_PROCESSES: Final = 0x2
FEATURE_POOL: Final = 0x4
FEATURE_PINNED: Final = 0x8
FEATURE_SLOTS: Final = 0x10
FEATURE_HINTS: Final = 0x20
FEATURE_RUNTIMES: Final = 0x40
SYSTEM_LINUX: Final = 0x1
SYSTEM_WINDOWS: Final = 0x2
SYSTEM_TEST: Final = 0x3
KNOWN_MEMORY_TOTAL: Final = 0x1
KNOWN_MEMORY_USED: Final = 0x2
KNOWN_UTILIZATION: Final = 0x4
KNOWN_TEMPERATURE: Final = 0x8
KNOWN_POWER: Final = 0x10
KNOWN_ALL: Final = 0x1F
PATH_CPU: Final = 0x1
PATH_DIRECTML: Final = 0x2
PATH_NPU: Final = 0x4
PATH_CUDA: Final = 0x8
PATH_ROCM: Final = 0x10
PATH_LEVEL_ZERO: Final = 0x20
PATH_ALL: Final = 0x3F
KIND_GPU: Final = 0x1
KIND_NPU: Final = 0x2
MEMORY_UNKNOWN: Final = 0x0
MEMORY_DEDICATED: Final = 0x1
MEMORY_UNIFIED: Final = 0x2
MEMORY_SHARED: Final = 0x3
REASON_MOST_FREE: Final = 0x1
REASON_NO_DEVICE: Final = 0x2
REASON_STALE: Final = 0x3
REASON_NO_COMMON_PATH: Final = 0x4
REASON_MEMORY_UNKNOWN: Final = 0x5
REASON_NO_ROOM: Final = 0x6
RULE_RUNTIME: Final = 0x1
RULE_GPU: Final = 0x2
RULE_POOL: Final = 0x4
SUBMIT_BEGIN: Final = 0x1
MAX_RAISE: Final = 0x5
MAX_LOWER: Final = 0x13
ID_BYTES: Final = 0x40
NAME_BYTES: Final = 0x20
MAX_GPUS: Final = 0x10
MAX_GPU_PROCESSES: Final = 0x100
MAX_BUFFERS: Final = 0x400
MAX_HINTS: Final = 0x40
MAX_TICKETS: Final = 0x40
MAX_PRIORITY: Final = 0x9
MAX_WAIT_MS: Final = 0xEA60
STALE_NS: Final = 0x12A05F200
BATCH: Final = 0x10


class Function(int):
    """A function. The number itself is its code on Linux, so that a call looks nothing up."""

    windows: int
    name: str

    def __new__(cls, linux: int, windows: int, name: str) -> Self:
        made = super().__new__(cls, linux)
        made.windows, made.name = windows, name
        return made


VERSION: Final = Function(0xC030BB00, 0x83376000, "VERSION")
GPU_SUBMIT: Final = Function(0xC100BB01, 0x8337A004, "GPU_SUBMIT")
GPU_READ: Final = Function(0xC100BB02, 0x83376008, "GPU_READ")
PROCESS_SUBMIT: Final = Function(0xC120BB03, 0x8337A00C, "PROCESS_SUBMIT")
PROCESS_LIST: Final = Function(0xC4A0BB04, 0x83376010, "PROCESS_LIST")
POOL_ALLOC: Final = Function(0xC018BB05, 0x8337E014, "POOL_ALLOC")
POOL_FREE: Final = Function(0xC010BB06, 0x8337E018, "POOL_FREE")
POOL_MAP: Final = Function(0xC060BB07, 0x8337E01C, "POOL_MAP")
POOL_STATUS: Final = Function(0xC030BB08, 0x83376020, "POOL_STATUS")
SCHED_STATUS: Final = Function(0xC038BB09, 0x83376024, "SCHED_STATUS")
SLOT_WAIT: Final = Function(0xC020BB0A, 0x8337E028, "SLOT_WAIT")
SLOT_DONE: Final = Function(0xC020BB0B, 0x8337E02C, "SLOT_DONE")
HINT_SET: Final = Function(0xC018BB0C, 0x8337E030, "HINT_SET")
HINT_UNDO: Final = Function(0xC018BB0D, 0x8337E034, "HINT_UNDO")
RUNTIME_REGISTER: Final = Function(0xC040BB0E, 0x8337E038, "RUNTIME_REGISTER")
GPU_PATH: Final = Function(0xC030BB0F, 0x8337603C, "GPU_PATH")


class Status(IntEnum):
    OK = 0
    UNKNOWN = 1
    SIZE = 2
    ABI = 3
    INVALID = 4
    DENIED = 5
    MISSING = 6
    QUOTA = 7
    FULL = 8
    MEMORY = 9
    NOT_READY = 10
    BUSY = 11
    TIMEOUT = 12
    CANCELLED = 13


ERRNO: Final = {
    0: Status.OK,
    25: Status.UNKNOWN,
    90: Status.SIZE,
    71: Status.ABI,
    22: Status.INVALID,
    1: Status.DENIED,
    2: Status.MISSING,
    122: Status.QUOTA,
    28: Status.FULL,
    12: Status.MEMORY,
    61: Status.NOT_READY,
    16: Status.BUSY,
    110: Status.TIMEOUT,
    125: Status.CANCELLED,
}

WIN32: Final = {
    0: Status.OK,
    1: Status.UNKNOWN,
    122: Status.SIZE,
    1306: Status.ABI,
    87: Status.INVALID,
    5: Status.DENIED,
    1168: Status.MISSING,
    1816: Status.QUOTA,
    1450: Status.FULL,
    8: Status.MEMORY,
    21: Status.NOT_READY,
    32: Status.BUSY,
    121: Status.TIMEOUT,
    995: Status.CANCELLED,
}


class Version(LittleEndianStructure):
    _fields_ = (
        ("size", c_uint32),
        ("abi", c_uint32),
        ("driver_abi", c_uint32),
        ("system", c_uint32),
        ("features", c_uint64),
        ("pool_bytes", c_uint64),
        ("client_bytes", c_uint64),
        ("granule", c_uint32),
        ("slots", c_uint32),
    )


class Gpu(LittleEndianStructure):
    _fields_ = (
        ("size", c_uint32),
        ("abi", c_uint32),
        ("index", c_uint32),
        ("count", c_uint32),
        ("known", c_uint32),
        ("paths", c_uint32),
        ("memory_total", c_uint64),
        ("memory_used", c_uint64),
        ("utilization", c_uint32),
        ("temperature", c_int32),
        ("power", c_uint32),
        ("collector", c_uint32),
        ("age_ns", c_uint64),
        ("id", c_uint8 * 64),
        ("name", c_uint8 * 64),
        ("vendor", c_uint8 * 32),
        ("kind", c_uint32),
        ("memory", c_uint32),
        ("reserved", c_uint8 * 24),
    )


class GpuProcess(LittleEndianStructure):
    _fields_ = (
        ("pid", c_uint32),
        ("reserved", c_uint32),
        ("bytes", c_uint64),
    )


class ProcessSubmit(LittleEndianStructure):
    _fields_ = (
        ("size", c_uint32),
        ("abi", c_uint32),
        ("index", c_uint32),
        ("flags", c_uint32),
        ("count", c_uint32),
        ("accepted", c_uint32),
        ("reserved", c_uint64),
        ("entries", GpuProcess * 16),
    )


class Process(LittleEndianStructure):
    _fields_ = (
        ("serial", c_uint64),
        ("pid", c_uint32),
        ("rules", c_uint32),
        ("gpus", c_uint32),
        ("reserved", c_uint32),
        ("gpu_bytes", c_uint64),
        ("pool_bytes", c_uint64),
        ("name", c_uint8 * 32),
    )


class ProcessList(LittleEndianStructure):
    _fields_ = (
        ("size", c_uint32),
        ("abi", c_uint32),
        ("cursor", c_uint64),
        ("count", c_uint32),
        ("more", c_uint32),
        ("age_ns", c_uint64),
        ("entries", Process * 16),
    )


class PoolAlloc(LittleEndianStructure):
    _fields_ = (
        ("size", c_uint32),
        ("abi", c_uint32),
        ("bytes", c_uint64),
        ("flags", c_uint32),
        ("handle", c_uint32),
    )


class PoolFree(LittleEndianStructure):
    _fields_ = (
        ("size", c_uint32),
        ("abi", c_uint32),
        ("handle", c_uint32),
        ("reserved", c_uint32),
    )


class PoolMap(LittleEndianStructure):
    _fields_ = (
        ("size", c_uint32),
        ("abi", c_uint32),
        ("handle", c_uint32),
        ("pinned", c_uint32),
        ("bytes", c_uint64),
        ("offset", c_uint64),
        ("name", c_uint8 * 64),
    )


class PoolStatus(LittleEndianStructure):
    _fields_ = (
        ("size", c_uint32),
        ("abi", c_uint32),
        ("total", c_uint64),
        ("used", c_uint64),
        ("mine", c_uint64),
        ("mine_limit", c_uint64),
        ("buffers", c_uint32),
        ("clients", c_uint32),
    )


class SchedStatus(LittleEndianStructure):
    _fields_ = (
        ("size", c_uint32),
        ("abi", c_uint32),
        ("slots", c_uint32),
        ("running", c_uint32),
        ("waiting", c_uint32),
        ("hints", c_uint32),
        ("granted", c_uint64),
        ("cancelled", c_uint64),
        ("waited_ns", c_uint64),
        ("longest_ns", c_uint64),
    )


class Slot(LittleEndianStructure):
    _fields_ = (
        ("size", c_uint32),
        ("abi", c_uint32),
        ("priority", c_uint32),
        ("timeout_ms", c_uint32),
        ("ticket", c_uint64),
        ("waited_ns", c_uint64),
    )


class Hint(LittleEndianStructure):
    _fields_ = (
        ("size", c_uint32),
        ("abi", c_uint32),
        ("pid", c_uint32),
        ("nice", c_int32),
        ("before", c_int32),
        ("after", c_int32),
    )


class Runtime(LittleEndianStructure):
    _fields_ = (
        ("size", c_uint32),
        ("abi", c_uint32),
        ("paths", c_uint32),
        ("pid", c_uint32),
        ("name", c_uint8 * 32),
        ("reserved", c_uint8 * 16),
    )


class GpuPath(LittleEndianStructure):
    _fields_ = (
        ("size", c_uint32),
        ("abi", c_uint32),
        ("bytes", c_uint64),
        ("path", c_uint32),
        ("reason", c_uint32),
        ("index", c_uint32),
        ("reserved", c_uint32),
        ("free_bytes", c_uint64),
        ("age_ns", c_uint64),
    )
