"""What a check reports."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

__all__ = ["SEVERITIES", "Check", "Finding", "Severity", "ranked"]

Check = Literal["review", "security", "tests"]
Severity = Literal["high", "medium", "low"]

SEVERITIES: tuple[Severity, ...] = ("high", "medium", "low")
"""From what to repair first to what can wait."""


@dataclass(frozen=True, slots=True, order=True)
class Finding:
    """One defect: where it is, what is wrong and what to do.

    `path` is relative to the workspace, `line` counts from 1. `rule` is a code of ruff (`F821`) or
    one of our own names (`shell-injection`). `message` never quotes a secret.
    """

    path: str
    line: int
    rule: str
    severity: Severity
    message: str


def ranked(findings: list[Finding]) -> list[Finding]:
    """The worst first, then by path and line; the same finding once."""
    return sorted(set(findings), key=lambda f: (SEVERITIES.index(f.severity), f))
