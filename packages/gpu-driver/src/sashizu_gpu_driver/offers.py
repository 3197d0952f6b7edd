"""The backends of this package, as specs; nothing is opened here."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import AbstractAsyncContextManager, contextmanager
from pathlib import Path

from sashizu_core.devices import DeviceBackend, DeviceSpec
from sashizu_core.errors import ConfigError, nearest
from sashizu_core.protocols import Admission
from sashizu_core.settings import Settings
from sashizu_core.specs import AdmissionSpec

from sashizu_gpu_driver.settings import gpu_settings

__all__ = ["admission_spec", "chosen", "device_specs"]


def device_specs(settings: Settings) -> Sequence[DeviceSpec]:
    """Every backend of this package; `fake` only where the settings have a file for it.

    Raises:
        ConfigError: the table `[gpu]` is wrong.
    """
    table = gpu_settings(settings)
    specs = [_nvml(), _drm()]
    if table.fake is not None:
        specs.append(_fake(table.fake))
    return specs


def chosen(settings: Settings, offered: Mapping[str, DeviceSpec]) -> Sequence[DeviceSpec]:
    """Of all backends of all plugins those that `[gpu] backends` names; all, if it names none.

    Raises:
        ConfigError: it names one that nobody offers.
    """
    wanted = gpu_settings(settings).backends
    if wanted is None:
        return list(offered.values())
    for name in wanted:
        if name not in offered:
            raise ConfigError(
                f"[gpu] backends: there is no {name!r}{nearest(name, offered)}; "
                f"there are: {', '.join(sorted(offered))}"
            )
    return [offered[name] for name in dict.fromkeys(wanted)]


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
