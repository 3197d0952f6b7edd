"""The commands `budget set`, `budget status` and `budget history`."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any

import typer
from sashizu_core.errors import UsageError
from sashizu_core.home import state_home
from sashizu_core.limits import parse_limit, parse_limits
from sashizu_core.types import UNITS, Limits

from sashizu_budget.columns import aligned
from sashizu_budget.periods import next_start
from sashizu_budget.spend_connection import SpendFile
from sashizu_budget.units import amount_text, usd_text
from sashizu_budget.window_rows import Stand
from sashizu_budget.windows import Windows

__all__ = ["history", "set_limits", "status"]

COUNTED = ("tokens", "nusd", "requests")
"""The units that a window can limit."""

HEADINGS = ("window", "unit", "limit", "spent", "held", "left", "starts anew")

LEFT = ("window", "unit", "starts anew", "day")

AsJson = Annotated[
    bool, typer.Option("--json", help="Print JSON; USD in 10⁻⁹ USD, times with their offset.")
]


def set_limits(
    day: Annotated[
        list[str] | None,
        typer.Option("--day", metavar="LIMIT", help="Of each local day: 5usd, 200k, 500requests."),
    ] = None,
    month: Annotated[
        list[str] | None,
        typer.Option("--month", metavar="LIMIT", help="Of each local calendar month."),
    ] = None,
    project: Annotated[
        list[str] | None,
        typer.Option("--project", metavar="LIMIT", help="Of this folder, for good."),
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Limit what all runs together may spend; 'none' takes a limit away.

    An option replaces all limits of its window, and may be given several times for several units.
    """
    asked = {"day": day, "month": month, "project": project}
    limits = {scope: _limits(scope, texts) for scope, texts in asked.items() if texts}
    if not limits:
        raise UsageError(
            "no limit was given: say --day, --month or --project, for example --day 5usd"
        )
    windows = _windows()
    for scope, found in limits.items():
        windows.set(scope, found)
    _show(windows, as_json=as_json)


def status(as_json: AsJson = False) -> None:
    """Show each window: its limit, what is spent, held and left, and when it starts anew."""
    _show(_windows(), as_json=as_json)


def history(
    days: Annotated[
        int, typer.Option("--days", metavar="N", min=1, max=3660, help="How many days.")
    ] = 30,
    as_json: AsJson = False,
) -> None:
    """Show what was spent on the latest days on which anything was, the latest first."""
    windows = _windows()
    found, now = windows.days(days), windows.now()
    if as_json:
        spent = [
            {"day": day.key, "spent": _units(day.spent), "held": _units(day.held)} for day in found
        ]
        typer.echo(json.dumps({"time_zone": now.zone, "days": spent}, indent=2))
        return
    if not found:
        typer.echo("nothing is recorded: spending is counted once 'sashizu budget set' has a limit")
        return
    rows = [("day", "tokens", "USD", "requests")]
    for day in found:
        tokens, nusd, requests, _ = day.spent
        rows.append((day.key, f"{tokens:,}", usd_text(nusd), f"{requests:,}"))
    typer.echo("\n".join([*aligned(rows, left=LEFT), "", f"days of {now.zone}"]))


def _windows() -> Windows:
    file = SpendFile(state_home() / "spend.sqlite")
    return Windows(file, str(Path.cwd().resolve()))


def _limits(scope: str, texts: Sequence[str]) -> Limits:
    if [text.strip().lower() for text in texts] == ["none"]:
        return Limits()
    for text in texts:
        found = parse_limit(text)
        if not any(getattr(found, unit) is not None for unit in COUNTED):
            raise UsageError(
                f"--{scope} {text!r}: a window limits tokens (200k), dollars (5usd) or "
                "requests (500requests); 'none' takes its limits away"
            )
    return parse_limits(texts)


def _show(windows: Windows, *, as_json: bool) -> None:
    now = windows.now()
    if as_json:
        shown = [_window(stand) for stand in now.stands]
        typer.echo(
            json.dumps(
                {"time_zone": now.zone, "clock_went_back": now.behind, "windows": shown}, indent=2
            )
        )
        return
    rows: list[tuple[str, ...]] = [HEADINGS]
    for stand in now.stands:
        rows += _rows(stand)
    lines = [*aligned(rows, left=LEFT), "", f"days and months of {now.zone}"]
    if all(limit is None for stand in now.stands for limit in stand.limits):
        lines.append("no limit is set: 'sashizu budget set --day 5usd' sets one")
    if now.behind:
        lines.append(
            "the clock went back behind the latest day: windows wait for it, "
            "or follow it after 'sashizu budget set'"
        )
    typer.echo("\n".join(lines))


def _rows(stand: Stand) -> list[tuple[str, ...]]:
    """A line per unit that is limited or was spent; at least one."""
    starts = next_start(stand.scope, stand.key)
    again = starts.isoformat(" ", "minutes") if starts is not None else "never"
    name = stand.scope if stand.scope == "project" else f"{stand.scope} {stand.key}"
    rows: list[tuple[str, ...]] = []
    for i, unit in enumerate(UNITS):
        if unit not in COUNTED:
            continue
        limit, left = stand.limits[i], stand.left(i)
        if limit is None and not (stand.spent[i] or stand.held[i]):
            continue
        numbers = (limit, stand.spent[i], stand.held[i], left)
        cells = ["-" if n is None else amount_text(i, n).split()[0] for n in numbers]
        rows.append((name, "USD" if unit == "nusd" else unit, *cells, again))
    return rows or [(name, "-", "-", "-", "-", "-", again)]


def _window(stand: Stand) -> dict[str, Any]:
    starts = next_start(stand.scope, stand.key)
    return {
        "window": stand.scope,
        "key": stand.key,
        "limit": _units(stand.limits),
        "spent": _units(stand.spent),
        "held": _units(stand.held),
        "left": _units([stand.left(i) for i in range(len(UNITS))]),
        "starts_anew": starts.isoformat() if starts is not None else None,
    }


def _units(values: Sequence[int | None]) -> dict[str, int | None]:
    return {unit: value for unit, value in zip(UNITS, values, strict=True) if unit in COUNTED}
