"""What this plugin offers: the backend `toy`."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from sashizu_core.devices import DeviceBackend, DeviceSpec
from sashizu_core.hookspecs import hookimpl
from sashizu_core.settings import Settings, Table

__all__ = ["register_devices"]


class ToySettings(Table):
    """`[toy]`: the file that the devices are made of."""

    file: Path = Path("/run/toys")


@hookimpl
def register_devices(settings: Settings) -> Sequence[DeviceSpec]:
    file = settings.plugin("toy", ToySettings).file

    @contextmanager
    def open_() -> Iterator[DeviceBackend]:
        from sashizu_toy_device.backend import ToyBackend

        yield ToyBackend(file)

    return [DeviceSpec("toy", "toys that are made of a file", open_, rank=60)]
