"""What devices do, for models and MCP clients: tools that only read."""

from __future__ import annotations

import json
import time
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import AbstractContextManager, asynccontextmanager
from typing import Any

import anyio
import anyio.to_thread
from pydantic import Field
from sashizu_core.builtin.typed import Arguments, TypedTool
from sashizu_core.devices import Device, DeviceLost, Devices, Snapshot, Unknown
from sashizu_core.devices.sampling import Sampler
from sashizu_core.errors import ToolError
from sashizu_core.grants import PermissionRequest
from sashizu_core.protocols import ToolContext
from sashizu_core.types import ToolResult

from sashizu_gpu_driver.shown import listed_json, measured_json, processes_json

__all__ = ["DeviceArguments", "GpuProcesses", "GpuStats", "Opened"]


class Opened:
    """Devices that are opened when somebody first asks, with one sampler for all that ask."""

    def __init__(
        self,
        opening: Callable[[], AbstractContextManager[Devices]],
        sample: float,
        processes: float,
    ) -> None:
        self._opening = opening
        self._every_s, self._processes_s = sample, processes
        self._entered: AbstractContextManager[Devices] | None = None
        self._found: tuple[Devices, Sampler] | None = None
        self._one: anyio.Lock | None = None
        self._users = 0

    @asynccontextmanager
    async def used(self) -> AsyncIterator[Opened]:
        """Keep it for as long as the block; with the last one that does, everything is closed."""
        self._users += 1
        try:
            yield self
        finally:
            self._users -= 1
            if not self._users and self._entered is not None:
                entered, self._entered, self._found, self._one = self._entered, None, None, None
                with anyio.CancelScope(shield=True):
                    await anyio.to_thread.run_sync(entered.__exit__, None, None, None)

    async def get(self) -> tuple[Devices, Sampler]:
        """The devices and their sampler."""
        if self._one is None:  # made here, because a lock belongs to the loop that it is used in
            self._one = anyio.Lock()
        async with self._one:
            if self._found is None:
                opening = self._opening()
                with anyio.CancelScope(shield=True):  # what is opened has to be closed
                    devices = await anyio.to_thread.run_sync(opening.__enter__)
                self._entered = opening
                self._found = (
                    devices,
                    Sampler(devices, every_s=self._every_s, processes_s=self._processes_s),
                )
            return self._found


class DeviceArguments(Arguments):
    device: str = Field("", max_length=200, description="An id of one device; empty for all.")


def _named(devices: Sequence[Device], name: str) -> list[Device]:
    found = [one for one in devices if not name or name in (one.id, *one.also)]
    if name and not found:
        known = ", ".join(one.id for one in devices) or "none"
        raise ToolError(f"there is no device {name!r}; there are: {known}")
    return found


def _told_at(snapshot: Snapshot) -> int:
    """Now, in whole seconds after the snapshot: who asks twice at once is told the same."""
    passed = (time.monotonic_ns() - snapshot.at_ns) // 1_000_000_000
    return snapshot.at_ns + passed * 1_000_000_000


class _Reading(TypedTool[DeviceArguments]):
    arguments = DeviceArguments

    def __init__(self, opened: Opened) -> None:
        self._opened = opened

    def requests(
        self,
        arguments: DeviceArguments,  # noqa: ARG002 - as `Tool` has it
        context: ToolContext,  # noqa: ARG002
    ) -> Sequence[PermissionRequest]:
        """Nothing beside the tool itself: it measures, and changes nothing."""
        return []


class GpuStats(_Reading):
    """What each device is and does."""

    name = "gpu_stats"
    description = (
        "Measure the GPUs and NPUs of this machine: memory, how busy, heat, power. Each value has "
        "a source and an age, or the reason why it is unknown; unknown is not 0."
    )

    async def run(
        self,
        arguments: DeviceArguments,
        context: ToolContext,  # noqa: ARG002
    ) -> ToolResult:
        devices, sampler = await self._opened.get()
        snapshot = await sampler.look()
        found = {one.id for one in _named(snapshot.devices, arguments.device)}
        told: dict[str, Any] = listed_json(
            [one for one in snapshot.devices if one.id in found], devices.probes, devices.failed
        )
        now = _told_at(snapshot)
        told["stats"] = [one for one in measured_json(snapshot, now) if one["device"] in found]
        return ToolResult(json.dumps(told))


class GpuProcesses(_Reading):
    """Who uses a device."""

    name = "gpu_processes"
    description = (
        "List the processes that use the GPUs and NPUs of this machine, with their memory as far "
        "as it is known."
    )

    async def run(
        self,
        arguments: DeviceArguments,
        context: ToolContext,  # noqa: ARG002
    ) -> ToolResult:
        _, sampler = await self._opened.get()
        told = []
        snapshot = await sampler.look()
        for device in _named(snapshot.devices, arguments.device):
            try:
                found = await sampler.processes(device.id)
            except DeviceLost as error:
                found = Unknown(str(error))
            told.append(processes_json(device, found, _told_at(snapshot)))
        return ToolResult(json.dumps(told))
