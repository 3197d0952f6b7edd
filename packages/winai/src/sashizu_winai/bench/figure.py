"""A row of measurements, or the reason why there is none."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

__all__ = ["Figure", "spread"]


@dataclass(frozen=True, slots=True)
class Figure:
    """One row. `values` are numbers by name, with the unit as the last part of the name.

    `unsupported` is why nothing was measured, empty where something was; `note` is what has to be
    known to read the numbers.
    """

    name: str
    values: Mapping[str, float] = field(default_factory=dict)
    unsupported: str = ""
    note: str = ""

    def as_json(self) -> dict[str, Any]:
        return {
            "name": self.name,
            "values": {name: _rounded(value) for name, value in self.values.items()},
            "unsupported": self.unsupported or None,
            "note": self.note or None,
        }

    def text(self) -> str:
        """The row for a person."""
        if self.unsupported:
            return f"unsupported: {self.unsupported}"
        told = ", ".join(f"{name} {_rounded(value):g}" for name, value in self.values.items())
        return f"{told} ({self.note})" if self.note else told


def spread(times_s: Sequence[float]) -> dict[str, float]:
    """The median and the 99th percentile of times in seconds, in milliseconds."""
    ordered = sorted(times_s)

    def at(share: float) -> float:
        return ordered[max(0, math.ceil(share * len(ordered)) - 1)] * 1000

    return {"p50_ms": at(0.5), "p99_ms": at(0.99)}


def _rounded(value: float) -> float:
    """Four digits are more than such a measurement knows."""
    return float(f"{value:.4g}")
