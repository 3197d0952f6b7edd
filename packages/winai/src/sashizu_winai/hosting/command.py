"""The command `winai host`."""

from __future__ import annotations

import json
from typing import Annotated

import typer

__all__ = ["host"]


def host(
    ctx: typer.Context,
    manifest: Annotated[
        bool, typer.Option("--manifest", help="Print the manifest of the actions, and end.")
    ] = False,
    idle: Annotated[
        str, typer.Option("--idle", metavar="TIME", help="End after so long without an invocation.")
    ] = "10m",
    embedding: Annotated[  # noqa: ARG001 - COM says so when it starts the program
        bool, typer.Option("-Embedding", "-embedding", hidden=True)
    ] = False,
) -> None:
    """Carry out App Actions by the agents that the settings name; Windows starts this itself.

    Each invocation is a run of its own, bounded and on record.
    """
    import anyio
    from sashizu_core.limits import parse_duration
    from sashizu_core.plugins import open_registry

    from sashizu_winai.choosing import chosen_backend
    from sashizu_winai.hosting.manifest import manifest_of
    from sashizu_winai.hosting.serving import actions_of, provider_of, serve
    from sashizu_winai.invoking import asked_settings, asked_table, plain
    from sashizu_winai.runtime import WindowsAiRuntime

    settings, table = asked_settings(ctx), asked_table(ctx)
    registry = open_registry(settings)
    if manifest:
        document = manifest_of(actions_of(settings, registry), invokers=table.hosting.invokers)
        typer.echo(json.dumps(document, indent=2))
        return
    seconds = parse_duration(idle)

    async def served() -> None:
        provider = provider_of(settings, registry, lambda line: typer.echo(plain(line), err=True))
        async with WindowsAiRuntime.open(backend=chosen_backend(table.fake)) as runtime:
            await serve(runtime.backend, provider, idle_s=seconds)

    anyio.run(served)
