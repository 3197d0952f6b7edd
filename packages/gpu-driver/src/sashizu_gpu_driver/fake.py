"""A backend whose devices are what a test says: in the program, or in a file that it rewrites."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError
from sashizu_core.devices import (
    FIELDS,
    Device,
    DeviceBackend,
    DeviceError,
    DeviceEvent,
    DeviceLost,
    DeviceProcess,
    Hint,
    HintResult,
    Known,
    Probe,
    Reading,
    Stats,
    Unknown,
)

__all__ = ["FakeBackend", "FakeDevice", "FakeProcess", "FakeState", "write_state"]


class _Scripted(BaseModel):
    model_config = ConfigDict(extra="forbid", validate_assignment=True)


class FakeProcess(_Scripted):
    """A process; what is None is unknown."""

    pid: int
    kind: Literal["compute", "graphics", "mps", "unknown"] = "compute"
    used_bytes: int | None = None
    busy_percent: float | None = None
    name: str = ""
    ours: bool | None = None


class FakeDevice(_Scripted):
    """A device. `readings` are values by field; those in `unknown` have a reason instead.

    `processes` is None where they cannot be listed. `lost` makes every question to it fail.
    """

    id: str
    name: str = "Fake accelerator"
    vendor: str = "fake"
    kind: Literal["gpu", "npu"] = "gpu"
    memory: Literal["dedicated", "unified", "shared", "unknown"] = "dedicated"
    also: tuple[str, ...] = ()
    parent: str = ""
    readings: dict[str, float | int | str] = Field(default_factory=dict)
    unknown: dict[str, str] = Field(default_factory=dict)
    processes: list[FakeProcess] | None = Field(default_factory=list)
    lost: bool = False


class FakeState(_Scripted):
    """All that the backend tells. `probe` other than `ok` says why it cannot be used."""

    devices: list[FakeDevice] = Field(default_factory=list)
    probe: Literal["ok", "missing", "forbidden"] = "ok"
    reason: str = ""


class FakeBackend(DeviceBackend):
    """Devices out of a `FakeState`, which may be changed at any time, or out of a file with one.

    The file is read again whenever it has changed, so that another process can play the device.
    `asked` counts the questions by the name of the method. `hints` are those that were given.
    """

    def __init__(
        self,
        state: FakeState | Path,
        *,
        name: str = "fake",
        clock: Callable[[], int] = time.monotonic_ns,
    ) -> None:
        """Take a state, or the file that holds one as JSON."""
        self._name = name
        self._clock = clock
        self._file = state if isinstance(state, Path) else None
        self._state = state if isinstance(state, FakeState) else FakeState()
        self._stamp: tuple[int, int, int] | None = None
        self._events: list[DeviceEvent] = []
        self._were_lost: set[str] = set()
        self.asked: dict[str, int] = {}
        self.hints: list[tuple[int, Hint]] = []

    @property
    def name(self) -> str:
        return self._name

    @property
    def state(self) -> FakeState:
        """What it tells now.

        Raises:
            DeviceError: the file cannot be read or holds something else.
        """
        if self._file is not None:
            self._reread(self._file)
        return self._state

    def _reread(self, file: Path) -> None:
        try:
            found = file.stat()
            stamp = (found.st_mtime_ns, found.st_size, found.st_ino)
            if stamp != self._stamp:
                self._state = FakeState.model_validate_json(file.read_bytes())
                self._stamp = stamp
        except (OSError, ValidationError) as error:
            raise DeviceError(f"the file of the fake devices, {file}: {error}") from error

    # --- playing ----------------------------------------------------------------------------------

    def device(self, device: str) -> FakeDevice:
        """One device, to be changed.

        Raises:
            DeviceLost: there is none of that id.
        """
        for found in self.state.devices:
            if found.id == device:
                return found
        raise DeviceLost(f"there is no device {device!r}")

    def set(self, device: str, **readings: float | str) -> None:
        """Change what a device reads."""
        self.device(device).readings.update(readings)

    def fault(self, device: str, code: int, text: str = "fault") -> None:
        """Have a device report an error."""
        self._events.append(DeviceEvent("fault", device, text, self._clock(), code))

    # --- what a backend does ----------------------------------------------------------------------

    def _count(self, method: str) -> None:
        self.asked[method] = self.asked.get(method, 0) + 1

    def probe(self) -> Probe:
        self._count("probe")
        try:
            state = self.state
        except DeviceError as error:
            return Probe("missing", str(error), "write the file, or leave [gpu] fake out")
        return Probe(state.probe, state.reason or ("" if state.probe == "ok" else "so it is told"))

    def devices(self) -> Sequence[Device]:
        self._count("devices")
        return [
            Device(one.id, one.name, one.vendor, one.kind, one.memory, one.also, one.parent)
            for one in self.state.devices
        ]

    def _answering(self, device: str) -> FakeDevice:
        found = self.device(device)
        if found.lost:
            raise DeviceLost(f"the device {device!r} has fallen off the bus")
        return found

    def stats(self, device: str) -> Stats:
        self._count("stats")
        found, now = self._answering(device), self._clock()
        readings: dict[str, Reading] = {
            name: Known(value, self.name, now) for name, value in found.readings.items()
        }
        for name in FIELDS:
            if name in found.unknown or name not in readings:
                reason = found.unknown.get(name, "the fake says nothing of it")
                readings[name] = Unknown(reason, self.name)
        return Stats(device, readings)

    def processes(self, device: str) -> Sequence[DeviceProcess] | Unknown:
        self._count("processes")
        found, now = self._answering(device), self._clock()
        if found.processes is None:
            return Unknown("the fake lists no processes", self.name)

        def reading(value: float | None) -> Reading:
            if value is None:
                return Unknown("the fake says nothing of it", self.name)
            return Known(value, self.name, now)

        return [
            DeviceProcess(
                one.pid,
                one.kind,
                reading(one.used_bytes),
                reading(one.busy_percent),
                one.name,
                one.ours,
            )
            for one in found.processes
        ]

    def events(self) -> Sequence[DeviceEvent]:
        self._count("events")
        lost = {one.id for one in self.state.devices if one.lost}
        now = self._clock()
        found = [
            *self._events,
            *(DeviceEvent("lost", one, "off the bus", now) for one in lost - self._were_lost),
            *(DeviceEvent("back", one, "answers again", now) for one in self._were_lost - lost),
        ]
        self._events.clear()
        self._were_lost = lost
        return found

    def hint(self, pid: int, hint: Hint) -> HintResult:
        self._count("hint")
        entry = (pid, hint)
        self.hints.append(entry)
        return HintResult("applied", how="written down", undo=lambda: self.hints.remove(entry))


def write_state(file: Path, state: FakeState | Mapping[str, Any]) -> None:
    """Put a state where a backend reads it, in one step.

    Raises:
        OSError: it cannot be written.
    """
    text = state if isinstance(state, FakeState) else FakeState.model_validate(state)
    part = file.with_name(f".{file.name}.part")
    part.write_text(text.model_dump_json(), "utf-8")
    part.replace(file)
