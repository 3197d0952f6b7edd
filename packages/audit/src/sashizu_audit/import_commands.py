"""The command `import`: sessions of other vendors' programs into the record."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Annotated

import typer
from sashizu_core.errors import UsageError, nearest

from sashizu_audit.options import (
    JsonOption,
    StoreOption,
    core_settings_of,
    folder_of,
    say_json,
    settings_of,
)

__all__ = ["add_to"]


def add_to(app: typer.Typer) -> None:
    """Give this command to the command `audit`."""
    app.command("import")(import_)


def import_(
    ctx: typer.Context,
    program: Annotated[str, typer.Argument(metavar="codex|claude", help="Whose files they are.")],
    path: Annotated[Path, typer.Argument(metavar="PATH", help="A file, or a folder of files.")],
    as_json: JsonOption = False,
    store: StoreOption = None,
) -> None:
    """Record what Codex or Claude Code wrote of its sessions, marked as declared by it.

    Numbers are taken over, texts are not. What is on record already is left out.
    """
    from sashizu_core.redaction import Redactor, secret_variables
    from sashizu_core.secret_tables import SecretsSettings

    from sashizu_audit.importing import PROGRAMS, import_sessions
    from sashizu_audit.sink import writer_options

    if program not in PROGRAMS:
        raise UsageError(
            f"unknown program {program!r}{nearest(program, PROGRAMS)}; known: {', '.join(PROGRAMS)}"
        )
    own = core_settings_of(ctx).plugin("secrets", SecretsSettings)
    redactor = Redactor(secret_variables(os.environ, own.variables), patterns=own.patterns)
    settings = settings_of(ctx)
    done = import_sessions(
        folder_of(ctx, store),
        program,
        path,
        writer_options(settings),
        redactor.fields,
        quota_mib=settings.quota_mib,
    )
    if as_json:
        say_json(done, typer.echo)
        return
    typer.echo(
        f"{done.sessions} sessions in {done.runs} runs: {done.model_calls} model calls, "
        f"{done.tool_calls} tool calls, {done.tokens} tokens, as {program} declares them"
    )
    for count, what in (
        (done.known, "sessions are on record already"),
        (done.grown, "of these had gone on, which is on record now"),
        (done.too_long, "sessions are too long to be recorded whole"),
        (done.skipped_files, f"of {done.files + done.skipped_files} files hold no session"),
        (done.skipped_lines, f"of {done.lines} lines could not be read"),
    ):
        if count:
            typer.echo(f"{count} {what}", err=True)
