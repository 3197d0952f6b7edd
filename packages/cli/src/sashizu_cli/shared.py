"""The options that every command takes, before or after its name."""

from __future__ import annotations

import os
from collections.abc import Sequence
from functools import cache
from pathlib import Path
from typing import Annotated, Any

import typer
from sashizu_core.errors import UsageError
from typer.core import TyperCommand

from sashizu_cli.session import session_of

__all__ = ["Command", "accelerate", "new_app", "new_group", "shared_params", "spelled_out"]


def _enter(ctx: typer.Context, folder: Path | None) -> None:
    if folder is not None and not ctx.resilient_parsing:
        try:
            os.chdir(folder)
        except OSError as error:
            raise UsageError(f"-C {str(folder)!r}: {error.strerror}") from error


def _override(ctx: typer.Context, pairs: list[str] | None) -> None:
    if pairs and not ctx.resilient_parsing:
        session_of(ctx).overrides += pairs


def _be_verbose(ctx: typer.Context, verbose: bool) -> None:
    if verbose and not ctx.resilient_parsing:
        session_of(ctx).verbose = True


def _accelerate(ctx: typer.Context, wanted: bool) -> None:
    if wanted and not ctx.resilient_parsing:
        session_of(ctx).kernel_accelerated = True


def _use_windows(ctx: typer.Context, mode: str | None) -> None:
    if mode is not None and not ctx.resilient_parsing:
        session_of(ctx).windows_ai = mode


def _carrier(
    folder: Annotated[
        Path | None,
        typer.Option(
            "-C",
            "--cd",
            metavar="DIR",
            callback=_enter,
            is_eager=True,
            expose_value=False,
            help="Work in this folder instead of the current one.",
        ),
    ] = None,
    pairs: Annotated[
        list[str] | None,
        typer.Option(
            "-c",
            metavar="KEY=VALUE",
            callback=_override,
            expose_value=False,
            help="Set one setting for this call; repeatable.",
        ),
    ] = None,
    verbose: Annotated[
        bool,
        typer.Option(
            "-v",
            "--verbose",
            callback=_be_verbose,
            is_eager=True,
            expose_value=False,
            help="Log more, and show tracebacks.",
        ),
    ] = False,
    kernel_accelerated: Annotated[
        bool,
        typer.Option(
            "--kernel-accelerated",
            callback=_accelerate,
            expose_value=False,
            help="Go on only if the native driver of devices answers, and say that it did.",
        ),
    ] = False,
    windows_ai: Annotated[
        str | None,
        typer.Option(
            "--use-windows-ai",
            "--windows-ai",
            metavar="[strict|auto]",
            callback=_use_windows,
            expose_value=False,
            help="Have the model of Windows answer. strict, which a bare option means: or do "
            "nothing; auto: or say why not, and go on with the configured model.",
        ),
    ] = None,
) -> None:
    """Carries the shared options, so that typer itself makes parameters of them."""


_WITH_OPTIONAL_VALUE = {"--use-windows-ai": "strict", "--windows-ai": "strict"}


def spelled_out(words: Sequence[str]) -> list[str]:
    """The words, with options that may have a value and have none as what that means.

    A parser would take the next word for their value: the prompt.
    """
    end = words.index("--") if "--" in words else len(words)
    bare = _WITH_OPTIONAL_VALUE
    return [
        f"{word}={bare[word]}" if at < end and word in bare else word
        for at, word in enumerate(words)
    ]


@cache
def shared_params() -> tuple[Any, ...]:
    """The shared options as parameters of a command."""
    app = typer.Typer(add_completion=False)
    app.command()(_carrier)
    return tuple(typer.main.get_command(app).params)


def accelerate(ctx: Any) -> None:
    """Have the native driver and Windows AI answer, if the words so far ask for them.

    Raises as `require_driver` and `choose_windows`.
    """
    session = session_of(ctx)
    if session.kernel_accelerated:
        from sashizu_cli.accelerated import require_driver

        require_driver(session)
    if session.windows_ai is not None:
        from sashizu_cli.windows_ai import choose_windows

        choose_windows(session)


class Command(TyperCommand):
    """A command that takes the shared options as well."""

    def __init__(self, *args: Any, params: list[Any] | None = None, **kwargs: Any) -> None:
        super().__init__(*args, params=[*(params or []), *shared_params()], **kwargs)

    def invoke(self, ctx: Any) -> Any:
        accelerate(ctx)
        return super().invoke(ctx)


def new_app() -> typer.Typer:
    """An app for a module with one command: plain help, no boxes around errors."""
    return typer.Typer(add_completion=False, rich_markup_mode=None, pretty_exceptions_enable=False)


def new_group(summary: str) -> typer.Typer:
    """The same for a module with several commands below one name."""
    app = new_app()

    @app.callback(help=summary)
    def group() -> None: ...

    return app
