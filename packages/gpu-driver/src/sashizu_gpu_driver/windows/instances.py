"""The names that Windows gives to what it counts: `pid_7_luid_0x0_0xA_phys_0_eng_1_engtype_3D`."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

__all__ = ["Instance", "busiest_engines", "parse_instance", "sums"]

_NAME = re.compile(
    r"(?:pid_(?P<pid>\d{1,10})_)?luid_0x(?P<high>[0-9a-f]{1,8})_0x(?P<low>[0-9a-f]{1,8})"
    r"(?:_phys_(?P<phys>\d{1,4}))?(?:_eng_(?P<engine>\d{1,4}))?(?:_engtype_(?P<kind>.*))?",
    re.IGNORECASE,
)


@dataclass(frozen=True, slots=True)
class Instance:
    """What one counter is about; `luid` names the adapter until the next start of Windows."""

    luid: str
    pid: int | None
    engine: int | None
    kind: str


def parse_instance(name: str) -> Instance | None:
    """What a name says; None where it is of another form."""
    match = _NAME.fullmatch(name.strip())
    if match is None:
        return None
    luid = f"luid-{int(match['high'], 16):08x}-{int(match['low'], 16):08x}"
    return Instance(
        luid,
        int(match["pid"]) if match["pid"] else None,
        int(match["engine"]) if match["engine"] else None,
        match["kind"] or "",
    )


def busiest_engines(counted: Iterable[tuple[Instance, float]]) -> Mapping[str, float]:
    """How busy the busiest engine of each adapter is, by the sum over processes; at most 100."""
    engines: dict[tuple[str, int | None], float] = {}
    for instance, percent in counted:
        key = (instance.luid, instance.engine)
        engines[key] = engines.get(key, 0.0) + max(0.0, percent)
    busiest: dict[str, float] = {}
    for (luid, _), percent in engines.items():
        busiest[luid] = min(100.0, max(busiest.get(luid, 0.0), percent))
    return busiest


def sums(counted: Iterable[tuple[Instance, float]]) -> Mapping[tuple[str, int | None], int]:
    """Whole numbers by adapter and process."""
    found: dict[tuple[str, int | None], int] = {}
    for instance, count in counted:
        key = (instance.luid, instance.pid)
        found[key] = found.get(key, 0) + int(count)
    return found
