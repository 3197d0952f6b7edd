"""Devices again and again: a table on a terminal, lines of JSON for programs."""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Mapping, Sequence
from contextlib import nullcontext

import anyio
import typer
from rich.console import Console
from rich.live import Live
from rich.table import Table
from rich.text import Text
from sashizu_core.devices import (
    Device,
    DeviceLost,
    DeviceProcess,
    Devices,
    Known,
    Reading,
    Snapshot,
    Unknown,
)
from sashizu_core.devices.sampling import Sampler

from sashizu_gpu_driver.shown import measured_json, plain, processes_json, value_shown

__all__ = ["follow", "table_of"]

_COLUMNS = (
    ("busy", "busy_percent"),
    ("used", "memory_used_bytes"),
    ("of", "memory_total_bytes"),
    ("heat", "temperature_c"),
    ("power", "power_w"),
    ("clock", "clock_core_mhz"),
)

Processes = Mapping[str, Sequence[DeviceProcess] | Unknown]


async def follow(
    devices: Devices, every_s: float, processes_s: float, count: int, as_json: bool
) -> None:
    """Show every look at the devices; `count` ends it after so many, 0 never."""
    sampler = Sampler(devices, every_s=every_s, processes_s=processes_s)
    console = Console(file=sys.stdout)
    display = (
        nullcontext()
        if as_json or not console.is_terminal
        else Live(console=console, auto_refresh=False, screen=True)
    )
    seen = 0
    with display as live:

        async def show(snapshot: Snapshot) -> None:
            nonlocal seen
            seen += 1
            processes = {one.id: await _processes(sampler, one) for one in snapshot.devices}
            if as_json:
                typer.echo(json.dumps(_line(snapshot, processes)))
            elif live is None:
                console.print(table_of(snapshot, processes))
            else:
                live.update(table_of(snapshot, processes), refresh=True)
            if seen == count:
                scope.cancel()

        with anyio.CancelScope() as scope:
            await sampler.run(show)


async def _processes(sampler: Sampler, device: Device) -> Sequence[DeviceProcess] | Unknown:
    try:
        return await sampler.processes(device.id)
    except DeviceLost as error:
        return Unknown(str(error))


def _line(snapshot: Snapshot, processes: Processes) -> dict[str, object]:
    now = time.monotonic_ns()
    return {
        "devices": measured_json(snapshot, now),
        "processes": [processes_json(one, processes[one.id], now) for one in snapshot.devices],
        "events": [
            {"kind": event.kind, "device": event.device, "text": event.text, "code": event.code}
            for event in snapshot.events
        ],
    }


def table_of(snapshot: Snapshot, processes: Processes) -> Table:
    """What is known of each device, with its processes below it; `?` where nobody knows."""
    table = Table(box=None, pad_edge=False)
    table.add_column("device")
    for title, _ in _COLUMNS:
        table.add_column(title, justify="right")
    for device in snapshot.devices:
        stats = snapshot.stats.get(device.id)
        if stats is None:
            table.add_row(Text(plain(device.name)), Text("lost"))
            continue
        cells = [_cell(name, stats.get(name)) for _, name in _COLUMNS]
        table.add_row(Text(plain(device.name)), *cells)
        for process in _listed(processes[device.id]):
            table.add_row(
                Text(f"  {process.pid} {plain(process.name)}"),
                _cell("busy_percent", process.busy_percent),
                _cell("used_bytes", process.used_bytes),
            )
    if not snapshot.devices:
        table.add_row(Text("no devices"))
    return table


def _listed(found: Sequence[DeviceProcess] | Unknown) -> Sequence[DeviceProcess]:
    return () if isinstance(found, Unknown) else found


def _cell(name: str, reading: Reading) -> Text:
    return Text(value_shown(name, reading.value) if isinstance(reading, Known) else "?")
