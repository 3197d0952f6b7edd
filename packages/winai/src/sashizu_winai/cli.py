"""The command `winai`."""

from __future__ import annotations

import json
from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING, Annotated, TypeVar

import typer

from sashizu_winai.filtering.command import filter_messages
from sashizu_winai.hosting.command import host
from sashizu_winai.invoking import asked_devices, asked_input, asked_table, plain
from sashizu_winai.registry.command import register
from sashizu_winai.winmd.command import apis

if TYPE_CHECKING:
    from sashizu_winai.runtime import WindowsAiRuntime

__all__ = ["app"]

T = TypeVar("T")

app = typer.Typer(
    help="Show and use what Windows AI can do on this machine. Experimental.",
    add_completion=False,
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
    no_args_is_help=True,
)

app.command("filter")(filter_messages)
app.command()(host)
app.command()(register)
app.command()(apis)

AsJson = Annotated[bool, typer.Option("--json", help="As JSON, for programs.")]


@app.command()
def status(ctx: typer.Context, as_json: AsJson = False) -> None:
    """Show what is ready, and what is not, why, and what to do about it."""
    report = _asked(ctx, lambda runtime: runtime.probe())
    if as_json:
        typer.echo(json.dumps(report.as_json(), indent=2))
        return
    typer.echo(f"backend: {report.backend}")
    for probe in report.probes:
        code = "" if probe.hresult is None else f" (0x{probe.hresult:08X})"
        typer.echo(f"{probe.capability:<17}{probe.state:<13}{plain(probe.reason)}{code}")
        if probe.remedy:
            typer.echo(f"{'':<30}{plain(probe.remedy)}")


@app.command()
def actions(ctx: typer.Context, as_json: AsJson = False) -> None:
    """List the App Actions of this machine."""
    found = _asked(ctx, lambda runtime: runtime.list_actions())
    if as_json:
        typer.echo(json.dumps([one.as_json() for one in found], indent=2))
        return
    for one in found:
        typer.echo(f"{plain(one.id)}{'' if one.available else '  (unavailable)'}")
        typer.echo(f"  {plain(one.description)}  [{plain(one.package)}]")
        for variant in one.variants:
            typer.echo("  takes " + ", ".join(f"{plain(i.name)}:{i.kind}" for i in variant))
    if not found:
        typer.echo("no actions")


@app.command()
def invoke(
    ctx: typer.Context,
    action: Annotated[str, typer.Argument(metavar="ACTION", help="The id of an action.")],
    given: Annotated[
        list[str] | None,
        typer.Option(
            "--input",
            metavar="NAME=KIND:VALUE",
            help="An input: text, file, photo, document or uri. Repeatable.",
        ),
    ] = None,
    timeout: Annotated[
        float | None,
        typer.Option(min=0.1, max=3600, help="Seconds that it may take. [default: the settings']"),
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Invoke an App Action, as yourself. Ends with 1 unless it succeeded."""
    inputs = dict(asked_input(text) for text in given or ())
    seconds = timeout if timeout is not None else asked_table(ctx).timeout
    outcome = _asked(ctx, lambda r: r.invoke_action(action, inputs, timeout=seconds))
    if as_json:
        typer.echo(json.dumps(outcome.as_json(), indent=2))
    else:
        typer.echo(f"{outcome.status} (backend {outcome.backend})")
        for name, entity in outcome.outputs.items():
            typer.echo(f"{plain(name)}: {plain(entity.value)}")
    if outcome.status != "success":
        raise typer.Exit(1)


def _asked(ctx: typer.Context, ask: Callable[[WindowsAiRuntime], Awaitable[T]]) -> T:
    """What the runtime answers to one question."""
    import anyio

    from sashizu_winai.choosing import chosen_backend
    from sashizu_winai.runtime import WindowsAiRuntime
    from sashizu_winai.unlocking import unlock_of

    table, devices = asked_table(ctx), asked_devices(ctx)
    backend = chosen_backend(table.fake, unlock_of(table))

    async def once() -> T:
        async with WindowsAiRuntime.open(backend=backend, devices=devices) as runtime:
            return await ask(runtime)

    return anyio.run(once)
