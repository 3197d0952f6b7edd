"""Toys: each line of a file is one, as `NAME BUSY USED TOTAL`."""

from __future__ import annotations

import time
from collections.abc import Sequence
from pathlib import Path

from sashizu_core.devices import (
    Device,
    DeviceBackend,
    DeviceError,
    DeviceLost,
    Known,
    Probe,
    Reading,
    Stats,
    Unknown,
)

__all__ = ["ToyBackend"]

_FIELDS = ("busy_percent", "memory_used_bytes", "memory_total_bytes")


class ToyBackend(DeviceBackend):
    """The toys of a file, which is read anew for every question."""

    name = "toy"

    def __init__(self, file: Path) -> None:
        self._file = file

    def probe(self) -> Probe:
        if self._file.is_file():
            return Probe("ok")
        return Probe("missing", f"there is no file {self._file}", "name it in [toy] file")

    def devices(self) -> Sequence[Device]:
        return [Device(f"toy-{name}", f"Toy {name}", "toys", "npu") for name in self._toys()]

    def stats(self, device: str) -> Stats:
        values = self._toys().get(device.removeprefix("toy-"))
        if values is None:
            raise DeviceLost(f"the toy {device!r} is not in {self._file}")
        now = time.monotonic_ns()
        return Stats(
            device,
            {
                field: self._reading(value, now)
                for field, value in zip(_FIELDS, values, strict=True)
            },
        )

    def _reading(self, value: str, now: int) -> Reading:
        if value.isdecimal():
            return Known(int(value), self.name, now)
        return Unknown("the toy does not tell it", self.name)

    def _toys(self) -> dict[str, list[str]]:
        try:
            lines = [line.split() for line in self._file.read_text("utf-8").splitlines()]
        except (OSError, ValueError) as error:
            raise DeviceError(f"the toys cannot be read: {error}") from error
        return {words[0]: words[1:] for words in lines if len(words) == 1 + len(_FIELDS)}
