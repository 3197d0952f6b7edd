"""The one place that measures devices again and again, for all who look."""

from __future__ import annotations

import time
from collections.abc import Awaitable, Callable, Sequence

import anyio
import anyio.to_thread

from sashizu_core.devices.contract import DeviceProcess
from sashizu_core.devices.merging import Devices, Snapshot
from sashizu_core.devices.readings import Unknown

__all__ = ["Sampler"]


class Sampler:
    """Measures at most once in `every_s` seconds; who looks gets what was measured last.

    Measuring costs the programs that use a device: drivers hold locks while they are asked. So
    there is one sampler in a process, it lists processes only when somebody asks, and then at most
    once in `processes_s` seconds.
    """

    def __init__(
        self,
        devices: Devices,
        *,
        every_s: float = 1.0,
        processes_s: float = 5.0,
        clock: Callable[[], int] = time.monotonic_ns,
    ) -> None:
        self.latest: Snapshot | None = None
        self._devices = devices
        self._every_s = every_s
        self._processes_s = processes_s
        self._clock = clock
        self._one = anyio.Lock()
        self._listed: dict[str, tuple[int, Sequence[DeviceProcess] | Unknown]] = {}

    async def look(self) -> Snapshot:
        """The newest snapshot, measured now if the last one is too old.

        `events` are told once: to whoever's look they were found by.
        """
        async with self._one:
            latest = self.latest
            if latest is not None and self._clock() - latest.at_ns < self._every_s * 1e9:
                return latest
            self.latest = await anyio.to_thread.run_sync(self._devices.sample)
            return self.latest

    async def processes(self, device: str) -> Sequence[DeviceProcess] | Unknown:
        """Who uses a device, as of at most `processes_s` seconds ago.

        Raises:
            DeviceLost: it is not there any more, or answers no more.
        """
        async with self._one:
            known = self._listed.get(device)
            if known is not None and self._clock() - known[0] < self._processes_s * 1e9:
                return known[1]
            found = await anyio.to_thread.run_sync(self._devices.processes, device)
            self._listed[device] = (self._clock(), found)
            return found

    async def run(self, told: Callable[[Snapshot], Awaitable[None]]) -> None:
        """Measure again and again until cancelled; `told` gets every snapshot once.

        Where measuring takes longer than the pause, nothing is made up for.
        """
        while True:
            began = anyio.current_time()
            async with self._one:
                self.latest = await anyio.to_thread.run_sync(self._devices.sample)
            await told(self.latest)
            await anyio.sleep(max(0.0, began + self._every_s - anyio.current_time()))
