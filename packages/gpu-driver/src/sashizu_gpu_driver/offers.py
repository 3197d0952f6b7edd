"""The backends of this package, as specs; nothing is opened here."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from sashizu_core.devices import DeviceBackend, DeviceSpec
from sashizu_core.settings import Settings

from sashizu_gpu_driver.settings import gpu_settings

__all__ = ["device_specs"]


def device_specs(settings: Settings) -> Sequence[DeviceSpec]:
    """Every backend that the settings do not leave out.

    Raises:
        ConfigError: the table `[gpu]` is wrong.
    """
    table = gpu_settings(settings)
    specs: list[DeviceSpec] = []
    if table.fake is not None:
        specs.append(_fake(table.fake))
    return [spec for spec in specs if table.backends is None or spec.name in table.backends]


def _fake(file: Path) -> DeviceSpec:
    @contextmanager
    def open_() -> Iterator[DeviceBackend]:
        from sashizu_gpu_driver.fake import FakeBackend

        yield FakeBackend(file)

    return DeviceSpec("fake", "devices that a file tells of, for tests", open_, rank=90)
