"""The command `winai register`."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

if TYPE_CHECKING:
    from sashizu_winai.registry.files import PlannedFile
    from sashizu_winai.registry.registering import Registered

__all__ = ["register"]

_NAME = "sashizu"


def register(
    ctx: typer.Context,
    words: Annotated[
        list[str] | None,
        typer.Argument(
            metavar="[-- WORDS]", help="Further words for the server, such as --budget 2usd."
        ),
    ] = None,
    out: Annotated[
        Path | None,
        typer.Option("--out", metavar="FOLDER", help="Where the files go. [default: state folder]"),
    ] = None,
    files_only: Annotated[
        bool, typer.Option("--files-only", help="Write the files, and register nothing.")
    ] = False,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Say what would be done, and do nothing.")
    ] = False,
    unregister: Annotated[
        bool, typer.Option("--unregister", help="Take the server out; the files stay.")
    ] = False,
    force: Annotated[
        bool, typer.Option("--force", help="Write over other files of the same names.")
    ] = False,
    publisher: Annotated[
        str,
        typer.Option(metavar="SUBJECT", help="Of the certificate that will sign the package."),
    ] = "CN=sashizu",
    as_json: Annotated[bool, typer.Option("--json", help="As JSON, for programs.")] = False,
) -> None:
    """Offer the MCP server of sashizu to the on-device agent registry of Windows.

    Writes an MCP bundle, and a sparse package for whoever can sign one.
    """
    import anyio
    from sashizu_core.home import state_home

    from sashizu_winai.registry import registering
    from sashizu_winai.registry.files import planned, write
    from sashizu_winai.registry.odr import find_odr

    if unregister:
        _tell(as_json, None, [], anyio.run(registering.unregister, find_odr(), _NAME))
        return
    folder = (out or state_home() / "windows-registration").absolute()
    plan = planned(folder, _files(ctx, folder, words or [], publisher))
    if dry_run:
        _tell(as_json, folder, plan, None)
        return
    write(folder, plan, force=force)
    if files_only:
        _tell(as_json, folder, plan, None)
        return
    _tell(as_json, folder, plan, anyio.run(registering.register, find_odr(), _NAME, folder, plan))


def _files(ctx: typer.Context, folder: Path, words: list[str], publisher: str) -> dict[str, bytes]:
    """The files of a registration, with the agents that the settings host."""
    import anyio
    from sashizu_core.plugins import open_registry

    from sashizu_winai.hosting.manifest import manifest_of
    from sashizu_winai.hosting.serving import actions_of
    from sashizu_winai.invoking import asked_settings, asked_table
    from sashizu_winai.registry.answers import ask_server
    from sashizu_winai.registry.bundle import SOURCE
    from sashizu_winai.registry.files import registration_files

    hosting = asked_table(ctx).hosting
    actions: dict[str, Any] | None = None
    if hosting.agents:
        settings = asked_settings(ctx)
        found = actions_of(settings, open_registry(settings))
        actions = manifest_of(found, invokers=hosting.invokers)
    answers = anyio.run(ask_server, [sys.executable, "-c", SOURCE, *words])
    return registration_files(
        answers,
        folder=folder,
        python=sys.executable,
        words=words,
        publisher=publisher,
        actions=actions,
    )


def _tell(
    as_json: bool, folder: Path | None, plan: list[PlannedFile], done: Registered | None
) -> None:
    if as_json:
        told = {
            "folder": None if folder is None else str(folder),
            "files": {one.name: one.change for one in plan},
            "registry": None if done is None else done.as_json(),
        }
        typer.echo(json.dumps(told, indent=2))
        return
    for one in plan:
        where = one.name if folder is None else folder / one.name
        typer.echo(f"{one.change:<6}{where}")
    if done is not None:
        typer.echo(f"{done.server}: {done.outcome}")
