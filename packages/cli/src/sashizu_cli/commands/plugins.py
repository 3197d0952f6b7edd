"""`sashizu plugins`: what is installed, and the beginning of a new one."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from sashizu_cli import render
from sashizu_cli.json_text import json_text
from sashizu_cli.session import session_of
from sashizu_cli.shared import Command, new_group
from sashizu_cli.skeleton import Kind, write_skeleton

app = new_group("See plugins, and begin a new one.")


@app.command("list", cls=Command)
def list_(
    ctx: typer.Context,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """List the installed plugins, what they offer, and why some were not loaded."""
    session = session_of(ctx)
    registry = session.registry
    found = [
        (plugin.name, "ok", plugin.distribution or plugin.module, _offers(plugin.hooks))
        for plugin in registry.plugins
    ]
    found += [(broken.name, "broken", broken.module, broken.reason) for broken in registry.broken]
    found += [(name, "disabled", "", "") for name in session.settings.plugins.disable]
    if as_json:
        keys = ("name", "state", "package", "offers")
        render.raw(json_text([dict(zip(keys, row, strict=True)) for row in found], indent=2))
    else:
        render.table([("NAME", "STATE", "PACKAGE", "OFFERS"), *found])


@app.command(cls=Command)
def new(
    kind: Annotated[Kind, typer.Argument(metavar="KIND", help="What it offers.")],
    name: Annotated[
        str, typer.Argument(metavar="NAME", help="Its name; sashizu- comes before it.")
    ],
    into: Annotated[
        Path, typer.Option("--into", metavar="DIR", help="The folder to write it into.")
    ] = Path(),
) -> None:
    """Write the beginning of a plugin: a package with its tests."""
    written = write_skeleton(kind, name, into)
    for file in written:
        render.line(f"wrote {file}")
    root = next(file.parent for file in written if file.name == "pyproject.toml")
    render.note(f"try it: cd {root} && pip install --editable '.[test]' && pytest")


def _offers(hooks: tuple[str, ...]) -> str:
    """`register_models` offers models, `provide_budget` a budget."""
    return ", ".join(hook.partition("_")[2] for hook in hooks)
