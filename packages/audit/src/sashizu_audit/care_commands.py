"""The commands that look into a record for what is wrong with it: `doctor`, `scan`, `redact`."""

from __future__ import annotations

import os
import sys
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from sashizu_core.errors import RecordError, UsageError
from sashizu_core.home import state_home

from sashizu_audit.options import (
    JsonOption,
    StoreOption,
    core_settings_of,
    folder_of,
    plain,
    say_json,
    settings_of,
)

if TYPE_CHECKING:
    from sashizu_core.redaction import Redactor

    from sashizu_audit.redacting import Redaction
    from sashizu_audit.scanning import Leak

__all__ = ["add_to"]

ValuesOption = Annotated[
    str | None,
    typer.Option(
        "--values", metavar="FILE", help="Secrets to look for, one a line; - reads stdin."
    ),
]


def add_to(app: typer.Typer) -> None:
    """Give these commands to the command `audit`."""
    app.command()(doctor)
    app.command()(scan)
    app.command()(redact)


def doctor(ctx: typer.Context, as_json: JsonOption = False, store: StoreOption = None) -> None:
    """Look for what the record lacks; the exit code is 1 if anything is broken.

    Whether it is what was written, `verify` tells.
    """
    from sashizu_audit.health import examine

    found = examine(folder_of(ctx, store), settings_of(ctx), state_home() / "keys")
    if as_json:
        say_json(found, typer.echo)
    else:
        for one in found:
            typer.echo(f"{one.state:<8}{one.check:<12}{plain(one.text)}")
    if any(one.state == "problem" for one in found):
        raise typer.Exit(1)


def scan(
    ctx: typer.Context,
    values: ValuesOption = None,
    as_json: JsonOption = False,
    store: StoreOption = None,
) -> None:
    """Look for secrets in lines, kept texts and holds; the exit code is 1 if there are any.

    Says where they are, never what, and names what cannot be read. Without --store it looks into
    conversations of this machine, and what was typed into `audit sql`, too. It reads everything, so
    it takes a while.
    """
    from sashizu_audit.beside import leaks_beside
    from sashizu_audit.scanning import scan_record
    from sashizu_audit.verify import record_id

    folder = folder_of(ctx, store)
    record_id(folder)
    try:
        redactor = _redactor(ctx, values)
        found = list(scan_record(folder, redactor))
        if store is None:
            found += leaks_beside(state_home(), redactor)
    except OSError as error:
        raise RecordError(f"the record cannot be read: {error}") from error
    if as_json:
        say_json(found, typer.echo)
    else:
        for one in found:
            typer.echo(_leak_line(one))
        held = sum(not one.fault for one in found)
        typer.echo(
            f"{held} places hold secrets; `sashizu audit redact` takes them out"
            if held
            else "no secret was found" + (" in what can be read" if found else "")
        )
    if found:
        raise typer.Exit(1)


def _leak_line(one: Leak) -> str:
    place = f"{one.file}:{one.line}" if one.line else one.file
    if one.fault:
        return plain(f"{place}: it cannot be read: {one.fault}")
    what = f" in {', '.join(one.columns)}" if one.columns else ""
    return plain(f"{place}: {one.secrets} secrets{what}")


def redact(
    ctx: typer.Context,
    values: ValuesOption = None,
    as_json: JsonOption = False,
    store: StoreOption = None,
) -> None:
    """Take out the secrets that `scan` finds, and sign which lines were changed.

    What writers have ended is sealed first. Kept texts with secrets are removed. Files that are
    being written, or are not as they were written, stay; where these hold secrets they are named,
    and the exit code is 1.
    """
    from sashizu_audit.beside import clean_beside
    from sashizu_audit.keys import signer_of
    from sashizu_audit.redacting import redact_record
    from sashizu_audit.sealing import seal_record
    from sashizu_audit.verify import record_id

    folder = folder_of(ctx, store)
    store_id = record_id(folder)
    redactor = _redactor(ctx, values)
    seal_record(folder)
    done = redact_record(
        folder, redactor, lambda: signer_of(folder, state_home() / "keys", store_id)
    )
    beside = clean_beside(state_home(), redactor) if store is None else 0
    if as_json:
        say_json({**asdict(done), "beside": beside}, typer.echo)
    else:
        _say_redacted(done)
        if beside:
            typer.echo(f"{beside} secrets in conversations and in what was typed")
    if done.left or done.faults:
        raise typer.Exit(1)


def _say_redacted(done: Redaction) -> None:
    typer.echo(f"{done.lines} lines in {done.segments} segments, and {done.texts} kept texts")
    if done.checkpoint:
        typer.echo(f"checkpoint {done.checkpoint} says which lines they were")
    if done.reasons:
        typer.echo(f"{done.reasons} secrets in reasons of holds")
    for name, reason in done.faults:
        typer.echo(f"left {plain(name)}: {plain(reason)}", err=True)
    for one in done.left:
        typer.echo(f"left {_leak_line(one)}", err=True)
    if any(one.file.startswith("hot/") for one in done.left):
        typer.echo("hot/: written now, or not to be sealed; redact again later", err=True)


def _redactor(ctx: typer.Context, values: str | None) -> Redactor:
    """What is known of secrets: formats, the environment, the operator's patterns, and `values`."""
    from sashizu_core.redaction import Redactor, secret_variables
    from sashizu_core.secret_tables import SecretsSettings

    own = core_settings_of(ctx).plugin("secrets", SecretsSettings)
    known = _values_in(values) if values is not None else []
    return Redactor([*known, *secret_variables(os.environ, own.variables)], patterns=own.patterns)


def _values_in(place: str) -> list[str]:
    from sashizu_core.redaction.values import LEAST_LENGTH

    try:
        text = sys.stdin.read() if place == "-" else Path(place).read_text("utf-8")
    except (OSError, UnicodeError) as error:
        raise UsageError(f"the secrets cannot be read from {place!r}: {error}") from error
    found = [line for line in text.splitlines() if line]
    if short := sum(len(line) < LEAST_LENGTH for line in found):
        raise UsageError(
            f"{short} of the secrets in {place!r} are shorter than {LEAST_LENGTH} characters, so "
            "they would be found everywhere; nothing was done"
        )
    return found
