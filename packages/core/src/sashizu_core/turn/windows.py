"""Windows of spend as a run meets them: what was spent before it, and which are nearly used up."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

from sashizu_core.protocols import BudgetNode, WindowedNode
from sashizu_core.types import SpendWindow

__all__ = ["LIMITABLE", "nearly_used_up", "spent_before", "window_text", "windows_of"]

LIMITABLE = ("tokens", "nusd", "requests")
"""The units that a window can limit."""


def windows_of(node: BudgetNode | None) -> Sequence[SpendWindow]:
    """The windows above a node; none where the ledger knows of none."""
    return node.windows() if isinstance(node, WindowedNode) else ()


def spent_before(windows: Sequence[SpendWindow]) -> Mapping[tuple[str, str], int]:
    """What is spent of each window, by its name and the unit."""
    return {
        (window.name, unit): getattr(window.spent, unit) for window in windows for unit in LIMITABLE
    }


def nearly_used_up(
    windows: Sequence[SpendWindow], at: float
) -> Iterator[tuple[SpendWindow, str, float]]:
    """Windows of which the share `at` is spent, each with the unit and the share; none at 1."""
    for window in windows:
        for unit in LIMITABLE:
            limit = getattr(window.limits, unit)
            if limit is None or at >= 1:
                continue
            share = getattr(window.spent, unit) / limit if limit else 1.0
            if share >= at:
                yield window, unit, share


def window_text(window: SpendWindow, unit: str) -> str:
    """What is left of a window, for people: `day 2026-11-21: 0.35 of 5 USD left, …`."""
    limit, left = getattr(window.limits, unit), window.left(unit)
    name = "".join(c if c.isprintable() else "?" for c in window.name)  # a folder may be called so
    text = f"{name}: {_amount(left, unit)} of {_amount(limit, unit)} "
    text += f"{'USD' if unit == 'nusd' else unit} left"
    if held := getattr(window.held, unit):
        text += f", {_amount(held, unit)} held by calls going on"
    if window.starts_anew is not None:
        text += f", starts anew {window.starts_anew.isoformat(' ', 'minutes')}"
    return text


def _amount(quantity: int | None, unit: str) -> str:
    if unit != "nusd":
        return f"{quantity or 0:,}"
    return f"{(quantity or 0) / 1e9:.4f}".rstrip("0").rstrip(".")
