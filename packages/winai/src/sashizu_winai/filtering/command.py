"""The command `winai filter`."""

from __future__ import annotations

from typing import Annotated
from uuid import UUID

import typer

__all__ = ["CLSID", "filter_messages"]

CLSID = UUID("4834243f-c447-4bc6-b3ea-329ccb2cebe1")
"""The class of COM by which Windows would ask for our filter."""


def filter_messages(
    ctx: typer.Context,
    no_audit: Annotated[
        bool, typer.Option("--no-audit", help="Keep no durable record of messages.")
    ] = False,
    embedding: Annotated[  # noqa: ARG001 - COM says so when it starts the program
        bool, typer.Option("-Embedding", "-embedding", hidden=True)
    ] = False,
) -> None:
    """Judge MCP messages between other programs, as the settings allow, until it is ended.

    An experiment: how Windows finds a filter is not documented.
    """
    import anyio
    from sashizu_core.plugins import open_registry

    from sashizu_winai.choosing import chosen_backend
    from sashizu_winai.filtering.policy import open_filter
    from sashizu_winai.invoking import asked_settings, asked_table
    from sashizu_winai.runtime import WindowsAiRuntime

    settings = asked_settings(ctx)
    backend = chosen_backend(asked_table(ctx).fake)
    registry = open_registry(settings)

    async def judged() -> None:
        async with (
            WindowsAiRuntime.open(backend=backend) as runtime,
            open_filter(settings, registry, audit=not no_audit) as judge,
            runtime.backend.filtered(judge, CLSID),
        ):
            typer.echo("messages are judged; end with Ctrl-C", err=True)
            await anyio.sleep_forever()

    anyio.run(judged)
