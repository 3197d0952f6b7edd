"""`sashizu config`: every setting and where it comes from."""

from __future__ import annotations

import json
from typing import Annotated, Any

import typer

from sashizu_cli import render
from sashizu_cli.session import session_of
from sashizu_cli.shared import Command, new_group

app = new_group("See the settings.")


@app.command(cls=Command)
def show(
    ctx: typer.Context,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """Print each setting, its value and its origin.

    Values that may be secrets are hidden.
    """
    settings = session_of(ctx).settings
    found = [(setting.key, setting.shown, setting.origin.text) for setting in settings]
    if as_json:
        render.raw(
            json.dumps(
                [{"key": key, "value": value, "origin": origin} for key, value, origin in found],
                indent=2,
                default=str,
            )
        )
    else:
        rows = [(key, _toml(value), origin) for key, value, origin in found]
        render.table([("KEY", "VALUE", "ORIGIN"), *rows])
    for text in settings.warnings:
        render.warning(text)


def _toml(value: Any) -> str:
    """The value roughly as TOML writes it; `-` for none."""
    if value is None:
        return "-"
    if isinstance(value, tuple):
        value = list(value)
    return json.dumps(value, ensure_ascii=False, default=str)
