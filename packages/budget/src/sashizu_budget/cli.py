"""The command `budget`, and what it says of prices."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from decimal import Decimal
from typing import Annotated

import typer
from sashizu_core.errors import UsageError, nearest
from sashizu_core.types import Price

from sashizu_budget.columns import aligned
from sashizu_budget.report_command import report
from sashizu_budget.settings import price_list
from sashizu_budget.shared_settings import settings_of
from sashizu_budget.windows_command import history, set_limits, status

__all__ = ["app"]

HEADINGS = ("model", "input", "cached", "output", "source", "date")

app = typer.Typer(
    help="Show what models cost, limit what is spent, report what a run spent.",
    add_completion=False,
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
    no_args_is_help=True,
)


@app.callback()
def budget() -> None:
    """Show what models cost, limit what is spent by day, month and project, and report runs."""


app.command("set")(set_limits)
app.command()(status)
app.command()(history)
app.command()(report)


@app.command()
def prices(
    ctx: typer.Context,
    words: Annotated[
        list[str] | None,
        typer.Argument(metavar="WORD", help="Only models whose name contains all of these words."),
    ] = None,
    as_json: Annotated[
        bool, typer.Option("--json", help="Print everything that is known, in 10⁻⁹ USD per token.")
    ] = False,
) -> None:
    """List the prices of models, in USD per million tokens.

    Your own prices stand in sashizu.toml under [budget.prices."PROVIDER/MODEL"].
    """
    known = price_list(settings_of(ctx)).all()
    found = {
        name: price
        for name, price in known.items()
        if all(word.lower() in name.lower() for word in words or ())
    }
    if words and not found:
        wanted = " ".join(words)
        hint = nearest(wanted, known)
        raise UsageError(
            f"no known price for {wanted!r}{hint}; "
            'give it in sashizu.toml under [budget.prices."PROVIDER/MODEL"]'
        )
    if as_json:
        typer.echo(json.dumps({name: asdict(price) for name, price in found.items()}, indent=2))
    else:
        typer.echo(_table(found))


def _table(found: Mapping[str, Price]) -> str:
    """A line per model, and one below it where long contexts cost more."""
    rows: list[Sequence[str]] = [HEADINGS]
    for name, price in found.items():
        rows.append(
            (
                name,
                _usd(price.input),
                _usd(price.cache_read),
                _usd(price.output),
                price.source,
                price.date,
            )
        )
        if price.long_context_from is not None:
            rows.append(
                (
                    f"  above {price.long_context_from:,} input tokens",
                    _usd(price.long_context_input),
                    _usd(price.long_context_cache_read),
                    _usd(price.long_context_output),
                    "",
                    "",
                )
            )
    lines = aligned(rows, left=("model", "source", "date"))
    return "\n".join(["USD per million tokens", "", *lines])


def _usd(nusd_per_token: int | None) -> str:
    """USD per million tokens with at least two decimals; a dash where there is no such rate."""
    if nusd_per_token is None:
        return "-"
    usd = Decimal(nusd_per_token) / 1000
    return f"{usd:.2f}" if nusd_per_token % 10 == 0 else f"{usd:f}"
