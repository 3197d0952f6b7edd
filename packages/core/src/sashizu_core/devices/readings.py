"""A value that was measured, or the reason why nobody knows it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from math import isfinite
from typing import Any

__all__ = ["FIELDS", "Known", "Reading", "Stats", "Unknown"]

_NS = 1_000_000_000

FIELDS: Mapping[str, str] = {
    "busy_percent": "share of the last sample period in which something ran; not how full it is",
    "memory_total_bytes": "memory that belongs to the device",
    "memory_used_bytes": "of it, what is in use by anybody, what the driver reserves left out",
    "memory_free_bytes": "of it, what could be allocated now",
    "memory_reserved_bytes": "of it, what the driver and the firmware keep",
    "memory_busy_percent": "share of the last sample period in which its memory was accessed",
    "temperature_c": "degrees Celsius of the chip",
    "power_w": "watts drawn now",
    "power_limit_w": "watts that it is held to",
    "energy_j": "joules since a moment that the driver chose; use differences",
    "clock_core_mhz": "clock of the cores",
    "clock_memory_mhz": "clock of the memory",
    "fan_percent": "speed of the fan as share of its largest",
    "fan_rpm": "turns of the fan in a minute",
    "throttle": "why clocks are held down: words separated by commas; `none`",
    "performance_state": "0 is the fastest",
}
"""Everything that can be told of a device, with unit and meaning. `throttle` is text."""


@dataclass(frozen=True, slots=True)
class Known:
    """A value with where it came from; `at_ns` is `time.monotonic_ns()` when it was measured."""

    value: float | int | str
    source: str
    at_ns: int

    def age_s(self, now_ns: int) -> float:
        """Seconds since it was measured."""
        return max(0, now_ns - self.at_ns) / _NS

    def as_json(self, now_ns: int) -> dict[str, Any]:
        return {
            "value": self.value,
            "source": self.source,
            "age_s": round(self.age_s(now_ns), 3),
        }


@dataclass(frozen=True, slots=True)
class Unknown:
    """Nobody knows, and why; never the same as 0."""

    reason: str
    source: str = ""

    def as_json(self, now_ns: int) -> dict[str, Any]:  # noqa: ARG002 - as `Known` has it
        return {"unknown": self.reason, "source": self.source}


Reading = Known | Unknown


@dataclass(frozen=True, slots=True)
class Stats:
    """What one device did, as far as it is known. `readings` are keyed by `FIELDS`."""

    device: str
    readings: Mapping[str, Reading] = field(default_factory=dict)

    def __post_init__(self) -> None:
        """Refuse a field that nobody else would find; have infinity and NaN be unknown.

        Raises:
            ValueError: it is not one of `FIELDS`.
        """
        if not self.readings.keys() <= FIELDS.keys():
            unheard = sorted(set(self.readings) - set(FIELDS))
            raise ValueError(f"no such field of a device: {', '.join(unheard)}; see FIELDS")
        odd = {
            name: Unknown("what was told is no number", one.source)
            for name, one in self.readings.items()
            if isinstance(one, Known) and isinstance(one.value, float) and not isfinite(one.value)
        }
        if odd:  # JSON has no word for them
            object.__setattr__(self, "readings", {**self.readings, **odd})

    def get(self, name: str) -> Reading:
        """What is known of a field.

        Raises:
            KeyError: there is no such field.
        """
        if name not in FIELDS:
            raise KeyError(name)
        return self.readings.get(name, Unknown("no backend tells it"))

    def number(self, name: str) -> float | None:
        """The value of a field, None where it is unknown or no number."""
        reading = self.get(name)
        if isinstance(reading, Known) and not isinstance(reading.value, str):
            return reading.value
        return None

    def as_json(self, now_ns: int) -> dict[str, Any]:
        """Every field, known or not, as JSON values."""
        return {
            "device": self.device,
            **{name: self.get(name).as_json(now_ns) for name in FIELDS},
        }
