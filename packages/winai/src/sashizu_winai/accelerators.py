"""The devices of this machine and its native driver, through whatever plugins offer them."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from typing import TypeVar

import anyio
import anyio.to_thread
from sashizu_core.devices import (
    DeviceError,
    Devices,
    DeviceSpec,
    PathAdvice,
    RuntimeRegistration,
    Snapshot,
    open_devices,
)
from sashizu_core.devices.sampling import Sampler

from sashizu_winai.capabilities import Capability, Probe
from sashizu_winai.errors import Denied, Failed, Missing, NotReady, WindowsAiError

__all__ = ["DRIVER", "Accelerators", "Registration"]

DRIVER = "native"
"""The backend of devices that speaks to our own driver."""

_INSTALL = "pip install sashizu-gpu-driver"
_SWITCH_ON = "set native = true in the table [gpu], or say --kernel-accelerated"
_AGAIN = "register with the driver again"

T = TypeVar("T")


class Registration:
    """This process as a runtime that the driver knows, until `aclose`.

    `pid` is the number that the driver saw; `paths` are the ways to compute that were told.
    """

    def __init__(
        self, accelerators: Accelerators, found: RuntimeRegistration, paths: frozenset[str]
    ) -> None:
        self.pid = found.pid
        self.paths = paths
        self._accelerators = accelerators
        self._found: RuntimeRegistration | None = found

    async def path(self, size: int = 0) -> PathAdvice:
        """The way to compute for work that needs `size` bytes of device memory.

        The devices are measured first, where that was more than a second ago, so that the driver
        has what it decides from.

        Raises:
            NotReady: the registration was closed.
            Failed: the driver does not answer.
        """
        operation = "ask the driver for the path"
        found = self._found
        if found is None:
            raise NotReady(operation, "the registration was closed", remedy=_AGAIN)
        await self._accelerators.stats()
        return await self._accelerators.ask(operation, lambda: found.advise(size))

    async def aclose(self) -> None:
        """Take it back; a second time does nothing."""
        found, self._found = self._found, None
        if found is not None:
            with anyio.CancelScope(shield=True):
                await anyio.to_thread.run_sync(found.close)


class Accelerators:
    """Opens the backends when they are first needed, and asks them one at a time, in threads.

    Args:
        specs: backends of devices, as plugins offer them.
    """

    def __init__(self, specs: Sequence[DeviceSpec]) -> None:
        self._specs = list(specs)
        self._opening: AbstractContextManager[Devices] | None = None
        self._devices: Devices | None = None
        self._sampler: Sampler | None = None
        self._one = anyio.Lock()

    async def probe(self) -> Probe:
        """Whether the driver answers; never raises."""
        try:
            await self._driver("probe")
        except WindowsAiError as error:
            return error.probe(Capability.KERNEL_DRIVER)
        return Probe(Capability.KERNEL_DRIVER, "ready", "the native driver answers")

    async def stats(self) -> Snapshot:
        """What every device does, measured at most a second ago.

        What was measured is submitted to the driver too, where it is there.
        """
        await self._open()
        assert self._sampler is not None  # opened with them
        return await self._sampler.look()

    async def register(self, name: str, paths: frozenset[str]) -> Registration:
        """Register this process with the driver.

        Raises:
            Missing, Denied: there is no driver, or it may not be used.
            Failed: it refuses.
        """
        operation = "register with the driver"
        devices = await self._driver(operation)
        with anyio.CancelScope(shield=True):  # what is registered has to be closed
            found = await self.ask(operation, lambda: devices.register_runtime(name, paths))
        return Registration(self, found, paths)

    async def ask(self, operation: str, call: Callable[[], T]) -> T:
        """What the driver answers, asked in a thread.

        Raises:
            Failed: a `DeviceError`, with its words.
        """
        try:
            return await anyio.to_thread.run_sync(call)
        except DeviceError as error:
            raise Failed(operation, str(error), remedy=_AGAIN) from error

    async def aclose(self) -> None:
        """Close the backends; a second time does nothing."""
        opening, self._opening = self._opening, None
        self._devices = self._sampler = None
        if opening is not None:
            await anyio.to_thread.run_sync(opening.__exit__, None, None, None)

    async def _driver(self, operation: str) -> Devices:
        """The devices, with the driver among them.

        Raises:
            Missing, Denied: it is not.
        """
        if DRIVER not in {one.name for one in self._specs}:
            found = f"no plugin offers the backend of devices {DRIVER!r}"
            raise Missing(operation, found, remedy=f"{_INSTALL}, and {_SWITCH_ON}")
        devices = await self._open()
        probe = devices.probes.get(DRIVER)
        if probe is not None:
            kind = Denied if probe.state == "forbidden" else Missing
            raise kind(operation, probe.reason, remedy=probe.remedy)
        return devices

    async def _open(self) -> Devices:
        async with self._one:
            if self._devices is not None:
                return self._devices
            opening = open_devices(self._specs)
            with anyio.CancelScope(shield=True):  # what is opened has to be closed
                devices = await anyio.to_thread.run_sync(opening.__enter__)
            self._opening, self._devices = opening, devices
            self._sampler = Sampler(devices)
            return devices
