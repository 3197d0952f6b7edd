"""What devices do while a run goes on, put on record where the settings ask for it."""

from __future__ import annotations

import logging
from collections.abc import AsyncIterator, Iterator, Mapping
from contextlib import ExitStack, asynccontextmanager
from typing import Any

import anyio
import anyio.to_thread

from sashizu_core.devices import Devices, Known, Snapshot, Stats, chosen, open_devices
from sashizu_core.runtime.asked import Asked
from sashizu_core.turn.record import Recorder

__all__ = ["devices_measured"]

logger = logging.getLogger(__name__)

_LAST_LOOK_S = 5.0
"""Seconds that the last measurement of a run may take."""


@asynccontextmanager
async def devices_measured(asked: Asked, recorder: Recorder) -> AsyncIterator[None]:
    """Measure devices at the beginning, again and again, and at the end of the block.

    Only where `[devices] record` is set. What fails is logged and does not stop the run; below the
    run of another process nothing is measured, because that one does.

    Raises:
        ConfigError: the settings name a backend that nobody offers.
        RecordError: the record cannot be written.
    """
    every_s = asked.settings.devices.record_s
    if every_s is None or asked.received is not None:
        yield
        return
    specs = chosen(asked.registry.devices, asked.settings.devices.backends)
    stack = ExitStack()
    try:
        with anyio.CancelScope(shield=True):  # what is opened has to be closed
            devices = await anyio.to_thread.run_sync(stack.enter_context, open_devices(specs))
        async with anyio.create_task_group() as group:
            group.start_soon(_again_and_again, devices, recorder, every_s)
            yield
            group.cancel_scope.cancel()
        await _once(devices, recorder)
    finally:
        with anyio.move_on_after(_LAST_LOOK_S, shield=True):
            await anyio.to_thread.run_sync(stack.close)


async def _again_and_again(devices: Devices, recorder: Recorder, every_s: float) -> None:
    while True:
        with anyio.CancelScope(shield=True):  # a short run has its beginning on record too
            await _once(devices, recorder)
        await anyio.sleep(every_s)


async def _once(devices: Devices, recorder: Recorder) -> None:
    try:
        snapshot = await anyio.to_thread.run_sync(devices.sample)
    except Exception as error:  # noqa: BLE001 - a plugin's mistake must not end the run
        logger.warning("devices are not measured: %s: %s", type(error).__name__, error)
        return
    recorder.write([recorder.event("device.sampled", fields) for fields in _told(snapshot)])


def _told(snapshot: Snapshot) -> Iterator[Mapping[str, Any]]:
    for event in snapshot.events:
        yield {
            "status": event.kind,
            "attrs": {"device": event.device, "text": event.text, "code": event.code},
        }
    for device in snapshot.devices:
        about = {"device": device.id, "name": device.name, "vendor": device.vendor}
        if device.id in snapshot.lost:
            attrs = {**about, "reason": snapshot.lost[device.id]}
            yield {"status": "lost", "attrs": attrs}
            continue
        known = _known(snapshot.stats[device.id])
        yield {
            "status": "ok",
            "attrs": {
                **about,
                "readings": {name: reading.value for name, reading in known.items()},
                "sources": {name: reading.source for name, reading in known.items()},
            },
        }


def _known(stats: Stats) -> Mapping[str, Known]:
    return {name: reading for name, reading in stats.readings.items() if isinstance(reading, Known)}
