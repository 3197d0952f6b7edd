"""The command `bench`."""

from __future__ import annotations

import json
import sys
from collections.abc import AsyncIterator, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from sashizu_winai.bench.figure import Figure
    from sashizu_winai.bench.measuring import TimedRecorder

__all__ = ["app"]

app = typer.Typer(
    help="Measure what this machine really does. Experimental.",
    add_completion=False,
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
    no_args_is_help=True,
)


@app.callback()
def group() -> None:
    """Measure what this machine really does. Experimental."""


@app.command()
def windows(
    ctx: typer.Context,
    action: Annotated[
        str,
        typer.Option(metavar="ID", help="The App Action to invoke; one that changes nothing."),
    ] = "",
    given: Annotated[
        list[str] | None,
        typer.Option("--input", metavar="NAME=KIND:VALUE", help="An input of it. Repeatable."),
    ] = None,
    rounds: Annotated[int, typer.Option(min=1, max=100_000, help="How often each is done.")] = 200,
    as_json: Annotated[bool, typer.Option("--json", help="As JSON, for programs.")] = False,
) -> None:
    """Measure Windows AI and the native driver; what cannot be measured says why."""
    import anyio

    from sashizu_winai.invoking import plain

    figures = anyio.run(_measured, ctx, action, list(given or ()), rounds)
    if as_json:
        told = {"system": sys.platform, "figures": [one.as_json() for one in figures]}
        typer.echo(json.dumps(told, indent=2))
        return
    for one in figures:
        typer.echo(f"{one.name:<16}{plain(one.text())}")


async def _measured(
    ctx: typer.Context, action: str, given: Sequence[str], rounds: int
) -> Sequence[Figure]:
    from sashizu_winai.bench.measuring import FAKE_ACTION, Bench, measured
    from sashizu_winai.choosing import chosen_backend
    from sashizu_winai.invoking import asked_devices, asked_input, asked_table
    from sashizu_winai.runtime import WindowsAiRuntime
    from sashizu_winai.unlocking import unlock_of

    table = asked_table(ctx)
    inputs = dict(asked_input(text) for text in given)
    if table.fake and not action:
        action, inputs = FAKE_ACTION
    backend, devices = chosen_backend(table.fake, unlock_of(table)), asked_devices(ctx)
    opening = WindowsAiRuntime.open(backend=backend, devices=devices)
    async with opening as runtime, _recorder(ctx) as recorder:
        return await measured(Bench(runtime, rounds, recorder, action, inputs))


@asynccontextmanager
async def _recorder(ctx: typer.Context) -> AsyncIterator[TimedRecorder | None]:
    """A recorder whose record lies beside the real one, on its disk, and is removed afterwards."""
    from sashizu_core.home import state_home
    from sashizu_core.ids import new_agent_id, new_run_id
    from sashizu_core.plugins import open_registry
    from sashizu_core.runtime.opening import run_context

    from sashizu_winai.bench.measuring import TimedRecorder
    from sashizu_winai.invoking import asked_settings

    home = state_home()
    home.mkdir(parents=True, exist_ok=True)
    with TemporaryDirectory(prefix="bench-", dir=home) as folder:
        settings = asked_settings(ctx)
        audit = {"dir": str(Path(folder) / "audit")}  # and nothing that sends it anywhere
        registry = open_registry(replace(settings, tables={**settings.tables, "audit": audit}))
        async with AsyncExitStack() as stack:
            specs = registry.sinks.values()
            sinks = [await stack.enter_async_context(spec.open()) for spec in specs]
            if not any(sink.persistent for sink in sinks):
                yield None
                return
            context = {**run_context(new_run_id(), Path.cwd()), "agent_id": new_agent_id()}
            yield TimedRecorder(sinks, context)
