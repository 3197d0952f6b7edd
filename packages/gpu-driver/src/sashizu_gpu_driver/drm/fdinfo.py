"""What a driver tells of one open descriptor: `/proc/PID/fdinfo/FD`.

Source: "DRM client usage stats" of the kernel's documentation. Text of the kernel, but about
programs that anybody may run, so whatever does not fit is left out.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field

__all__ = ["Client", "is_local", "parse_client"]

_UNITS = {"": 1, "B": 1, "KiB": 1024, "MiB": 1024**2, "GiB": 1024**3}
_SIZE = re.compile(r"(\d{1,20})(?:\s+(\w+))?")
_LOCAL = re.compile(r"(?:stolen-)?(?:vram|local)\d*")
_MEMORY = ("resident", "memory", "total")
"""Which of the kinds of memory is what a client uses: the first that a driver tells."""


@dataclass(frozen=True, slots=True)
class Client:
    """One client of one device. `busy` and `elapsed` are counters by engine.

    Of `busy` the unit is that of `elapsed`; where an engine has no `elapsed`, it is nanoseconds.
    `regions` are bytes by region of memory.
    """

    driver: str
    address: str
    number: int | None
    busy: Mapping[str, int] = field(default_factory=dict)
    elapsed: Mapping[str, int] = field(default_factory=dict)
    capacity: Mapping[str, int] = field(default_factory=dict)
    regions: Mapping[str, int] = field(default_factory=dict)

    @property
    def local(self) -> int | None:
        """Bytes of the device's own memory; None where the driver names no such region."""
        found = [size for name, size in self.regions.items() if is_local(name)]
        return sum(found) if found else None

    @property
    def all_bytes(self) -> int | None:
        """Bytes of any memory; None where the driver tells none."""
        return sum(self.regions.values()) if self.regions else None


def is_local(region: str) -> bool:
    """Whether a region is memory of the device: `vram`, `vram0`, `local0`, but not `gtt`."""
    return _LOCAL.fullmatch(region) is not None


def parse_client(text: str) -> Client | None:
    """What a descriptor's text tells; None where it is not one of a device."""
    keys: dict[str, str] = {}
    for line in text.splitlines():
        key, found, value = line.partition(":")
        if found and key.startswith("drm-"):
            keys.setdefault(key[4:].strip(), value.strip())
    driver = keys.get("driver", "")
    if not driver:
        return None
    identity = keys.get("client-id", "")
    return Client(
        driver,
        keys.get("pdev", "").lower(),
        int(identity) if identity.isdecimal() else None,
        busy=_counters(keys, "engine-", "engine-capacity-") | _counters(keys, "cycles-"),
        elapsed=_counters(keys, "total-cycles-"),
        capacity=_counters(keys, "engine-capacity-"),
        regions=_regions(keys),
    )


def _counters(keys: Mapping[str, str], prefix: str, other: str = "\0") -> dict[str, int]:
    found = {}
    for key, value in keys.items():
        if key.startswith(prefix) and not key.startswith(other):
            amount = value.split(" ", 1)[0]
            if amount.isdecimal():
                found[key.removeprefix(prefix)] = int(amount)
    return found


def _regions(keys: Mapping[str, str]) -> dict[str, int]:
    found: dict[str, int] = {}
    for kind in _MEMORY:
        for key, value in keys.items():
            name = key.removeprefix(f"{kind}-")
            # `total-cycles-…` is no memory, and an earlier kind is the better one.
            if name == key or name.startswith("cycles-") or name in found:
                continue
            if (size := _size(value)) is not None:
                found[name] = size
    return found


def _size(value: str) -> int | None:
    match = _SIZE.fullmatch(value)
    if match is None or (match[2] or "") not in _UNITS:
        return None
    return int(match[1]) * _UNITS[match[2] or ""]
