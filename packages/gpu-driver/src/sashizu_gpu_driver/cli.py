"""The command `gpu`."""

from __future__ import annotations

import json
import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from sashizu_core.devices import Device, Devices, Snapshot
    from sashizu_core.settings import Settings

__all__ = ["app"]

_BETWEEN_S = 0.1
"""Between two looks at counters."""

app = typer.Typer(
    help="What GPUs and NPUs do.",
    add_completion=False,
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
    no_args_is_help=True,
)

AsJson = Annotated[bool, typer.Option("--json", help="As JSON, for programs.")]
Name = Annotated[
    str, typer.Argument(metavar="[DEVICE]", help="An id of one device; without it, all.")
]


@app.command("list")
def list_(ctx: typer.Context, as_json: AsJson = False) -> None:
    """Show the devices, and which backends cannot be used here and why."""
    from sashizu_gpu_driver.shown import listed, listed_json

    with _devices(ctx) as devices:
        found, probes, failed = devices.present(), devices.probes, devices.failed
    if as_json:
        typer.echo(json.dumps(listed_json(found, probes, failed), indent=2))
        return
    for line in listed(found, probes, failed):
        typer.echo(line)


@app.command()
def stats(
    ctx: typer.Context,
    device: Name = "",
    as_json: AsJson = False,
    prometheus: Annotated[
        bool, typer.Option("--prometheus", help="As text that Prometheus reads.")
    ] = False,
) -> None:
    """Measure once. What is not known says why.

    Counters need two looks: what is derived from them is measured over a tenth of a second.
    """
    from sashizu_core.errors import UsageError

    from sashizu_gpu_driver.shown import as_prometheus, measured, measured_json

    if as_json and prometheus:
        raise UsageError("--json and --prometheus were both given; choose one")
    with _devices(ctx) as devices:
        devices.sample()
        time.sleep(_BETWEEN_S)
        snapshot = _of_device(devices.sample(), device)
    now = time.monotonic_ns()
    if as_json:
        typer.echo(json.dumps(measured_json(snapshot, now), indent=2))
        return
    for line in as_prometheus(snapshot) if prometheus else measured(snapshot, now):
        typer.echo(line)


@app.command()
def ps(ctx: typer.Context, device: Name = "", as_json: AsJson = False) -> None:
    """Show which processes use the devices.

    In a container, drivers may tell the numbers that processes have on the host.
    """
    from sashizu_core.devices import DeviceLost, Unknown

    from sashizu_gpu_driver.shown import processes_json, processes_shown

    told = []
    with _devices(ctx) as devices:
        found = _named(devices.present(), device)
        for one in found:
            _try_processes(devices, one)  # the first look at counters
        time.sleep(_BETWEEN_S if found else 0)
        for one in found:
            try:
                told.append((one, devices.processes(one.id)))
            except DeviceLost as error:
                told.append((one, Unknown(str(error))))
    now = time.monotonic_ns()
    if as_json:
        typer.echo(json.dumps([processes_json(*each, now) for each in told], indent=2))
        return
    for each in told:
        for line in processes_shown(*each, now):
            typer.echo(line)
    if not told:
        typer.echo("no devices")


def _try_processes(devices: Devices, device: Device) -> None:
    from sashizu_core.devices import DeviceLost

    try:
        devices.processes(device.id)
    except DeviceLost:
        return


@app.command()
def top(
    ctx: typer.Context,
    every: Annotated[
        float | None, typer.Option("--every", metavar="SECONDS", help="Pause between two looks.")
    ] = None,
    count: Annotated[
        int, typer.Option("--count", metavar="N", min=0, help="End after N looks; 0 never ends.")
    ] = 0,
    as_json: Annotated[
        bool, typer.Option("--json", help="A line of JSON for each look, for programs.")
    ] = False,
) -> None:
    """Show what the devices do, again and again. Ctrl-C ends it."""
    import anyio
    from sashizu_core.errors import UsageError

    from sashizu_gpu_driver.live import follow

    table = _settings(ctx).devices
    pause = table.sample if every is None else every
    if not 0.1 <= pause <= 3600:
        raise UsageError(f"--every {pause} was given; it may be 0.1 to 3600 seconds")
    with _devices(ctx) as devices:
        anyio.run(follow, devices, pause, table.processes, count, as_json)


@app.command("capture")
def capture_(
    out: Annotated[
        str, typer.Option("-o", "--out", metavar="FILE", help="Where to; '-' is stdout.")
    ] = "-",
) -> None:
    """Write what the kernel of Linux tells of the devices, without serial numbers and names.

    It helps whoever wants to see how a device that they do not have is told.
    """
    from sashizu_core.errors import UsageError

    from sashizu_gpu_driver.drm.capture import capture

    text = json.dumps(capture(), indent=1, sort_keys=True)
    if out == "-":
        typer.echo(text)
        return
    try:
        with Path(out).open("x", encoding="utf-8") as file:
            file.write(text + "\n")
    except OSError as error:
        raise UsageError(f"{out} cannot be written: {error.strerror}") from error
    typer.echo(f"wrote {out}", err=True)


# --- what all have in common ----------------------------------------------------------------------


def _settings(ctx: typer.Context) -> Settings:
    from sashizu_core.settings import command_settings

    return command_settings(ctx.find_root().obj)


@contextmanager
def _devices(ctx: typer.Context) -> Iterator[Devices]:
    """All backends of all plugins that the settings do not leave out.

    Raises:
        ConfigError: the settings name one that nobody offers.
    """
    from sashizu_gpu_driver.offers import all_devices

    with all_devices(_settings(ctx)) as devices:
        yield devices


def _named(devices: Iterable[Device], name: str) -> list[Device]:
    """Those of a name, or all.

    Raises:
        UsageError: there is none of that name.
    """
    from sashizu_core.errors import UsageError

    everything = list(devices)
    found = [one for one in everything if not name or name in (one.id, *one.also)]
    if name and not found:
        known = ", ".join(one.id for one in everything) or "none"
        raise UsageError(f"there is no device {name!r}; there are: {known}")
    return found


def _of_device(snapshot: Snapshot, name: str) -> Snapshot:
    return replace(snapshot, devices=tuple(_named(snapshot.devices, name)))
