"""How often a server is started again."""

from __future__ import annotations

from dataclasses import dataclass

__all__ = ["Pace"]


@dataclass(frozen=True, slots=True)
class Pace:
    """How often a server is started again: after `first_s`, doubled each time up to `most_s`.

    After `tries` failures in a row it is left alone.
    """

    first_s: float = 0.5
    most_s: float = 30.0
    tries: int = 5

    def wait_s(self, failures: int) -> float:
        return min(self.most_s, self.first_s * 2.0 ** (failures - 1)) if failures else 0.0
