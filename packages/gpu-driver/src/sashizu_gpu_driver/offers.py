"""The backends of this package, as specs; nothing is opened here."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from contextlib import AbstractAsyncContextManager, asynccontextmanager, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from sashizu_core.devices import DeviceBackend, Devices, DeviceSpec
from sashizu_core.protocols import Admission, Tool
from sashizu_core.settings import Settings
from sashizu_core.specs import AdmissionSpec, ToolSpec

from sashizu_gpu_driver.settings import gpu_settings

if TYPE_CHECKING:
    from sashizu_gpu_driver.tools import Opened

__all__ = ["admission_spec", "all_devices", "device_specs", "tool_specs"]


def device_specs(settings: Settings) -> Sequence[DeviceSpec]:
    """Every backend of this package; `fake` and `native` only where the settings want them.

    Raises:
        ConfigError: the table `[gpu]` is wrong.
    """
    table = gpu_settings(settings)
    specs = [_nvml(), _drm(), _windows()]
    if table.native:
        specs.append(_native())
    if table.fake is not None:
        specs.append(_fake(table.fake))
    return specs


def _nvml() -> DeviceSpec:
    @contextmanager
    def open_() -> Iterator[DeviceBackend]:
        from sashizu_gpu_driver.nvml.backend import NvmlBackend

        backend = NvmlBackend()
        try:
            yield backend
        finally:
            backend.close()

    return DeviceSpec("nvml", "GPUs of NVIDIA, through its driver's library", open_, rank=20)


def _drm() -> DeviceSpec:
    @contextmanager
    def open_() -> Iterator[DeviceBackend]:
        from sashizu_gpu_driver.drm.backend import DrmBackend

        yield DrmBackend()

    return DeviceSpec("drm", "GPUs and NPUs that the kernel of Linux drives", open_, rank=40)


def _windows() -> DeviceSpec:
    @contextmanager
    def open_() -> Iterator[DeviceBackend]:
        from sashizu_gpu_driver.windows.backend import WindowsBackend

        backend = WindowsBackend()
        try:
            yield backend
        finally:
            backend.close()

    return DeviceSpec("windows", "GPUs and NPUs that Windows counts", open_, rank=40)


def _native() -> DeviceSpec:
    @contextmanager
    def open_() -> Iterator[DeviceBackend]:
        from sashizu_gpu_driver.native.backend import NativeBackend

        backend = NativeBackend()
        try:
            yield backend
        finally:
            backend.close()

    return DeviceSpec("native", "the driver of sashizu itself", open_, rank=10)


def _fake(file: Path) -> DeviceSpec:
    @contextmanager
    def open_() -> Iterator[DeviceBackend]:
        from sashizu_gpu_driver.fake import FakeBackend

        yield FakeBackend(file)

    return DeviceSpec("fake", "devices that a file tells of, for tests", open_, rank=90)


def admission_spec(settings: Settings) -> AdmissionSpec:
    """What says when local models may be loaded."""

    def open_(devices: Sequence[DeviceSpec]) -> AbstractAsyncContextManager[Admission]:
        from sashizu_gpu_driver.serving.opening import open_admission

        return open_admission(settings, devices)

    return AdmissionSpec("ledger", "one ledger of devices for all processes of a user", open_)


def tool_specs(settings: Settings) -> Sequence[ToolSpec]:
    """Tools that only read; those of one process share their devices and their sampler."""
    shared: list[Opened] = []

    def opened() -> Opened:
        from sashizu_gpu_driver.tools import Opened

        if not shared:
            table = settings.devices
            shared.append(Opened(lambda: all_devices(settings), table.sample, table.processes))
        return shared[0]

    def opening(name: str) -> Callable[[], AbstractAsyncContextManager[Tool]]:
        @asynccontextmanager
        async def open_() -> AsyncIterator[Tool]:
            from sashizu_gpu_driver.tools import GpuProcesses, GpuStats

            kinds = {"gpu_stats": GpuStats, "gpu_processes": GpuProcesses}
            async with opened().used() as devices:
                yield kinds[name](devices)

        return open_

    return [
        ToolSpec("gpu_stats", "measure the GPUs and NPUs of this machine", opening("gpu_stats")),
        ToolSpec(
            "gpu_processes", "list the processes that use a GPU or NPU", opening("gpu_processes")
        ),
    ]


@contextmanager
def all_devices(settings: Settings) -> Iterator[Devices]:
    """Those of all plugins, opened: what this package offers may not be all there is.

    Raises:
        ConfigError: the settings name a backend that nobody offers.
    """
    from sashizu_core.devices import chosen, open_devices
    from sashizu_core.plugins import open_registry

    offered = open_registry(settings).devices
    with open_devices(chosen(offered, settings.devices.backends)) as devices:
        yield devices
