"""What GPUs of NVIDIA tell, as the contract wants it."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, TypeVar

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
    PinnedPool,
    Probe,
    Reading,
    Stats,
    Unknown,
)

from sashizu_gpu_driver.machine import machine_memory
from sashizu_gpu_driver.namespaces import is_ours, name_of
from sashizu_gpu_driver.nvml.library import Fault, Used, library
from sashizu_gpu_driver.nvml.queries import QUERIES, memory_of

__all__ = ["NvmlBackend"]

T = TypeVar("T")

_QUERIES = tuple(enumerate(QUERIES))

_ASK_AGAIN_S = 60.0
"""Seconds for which what a device does not tell is not asked: calls that fail cost the most."""

_PARTITIONED = "the GPU is partitioned (MIG), and its driver tells it only without"
_PART = "not told of a part of a GPU (MIG)"
_MEMORY = tuple(f"memory_{part}_bytes" for part in ("total", "free", "used", "reserved"))
_OLD = "the driver is too old to tell it apart from what it reserves"


class _Known:
    """A device that was listed, with what it has not answered and until when not to ask it."""

    def __init__(self, device: Device, handle: Any, *, partitioned: bool = False) -> None:
        self.device = device
        self.partitioned = partitioned
        self.silent: dict[int, tuple[int, Unknown]] = {}
        self.sampled = 0
        self.found(handle)

    def found(self, handle: Any) -> None:
        """Prepare everything for a handle, again after a reset."""
        self.handle = handle
        self.memory = memory_of(handle)
        self.asks = [query.made(handle) for query in QUERIES]


class NvmlBackend(DeviceBackend):
    """One for a process. `root` is where `/proc` is looked for."""

    name = "nvml"

    def __init__(
        self, *, root: Path = Path("/"), clock: Callable[[], int] = time.monotonic_ns
    ) -> None:
        self._root = root
        self._clock = clock
        self._known: dict[str, _Known] = {}
        self._started = False
        self._event_set: Any | None = None

    def close(self) -> None:
        """Let the library go."""
        if self._event_set is not None:
            library.free(self._event_set)
            self._event_set = None
        if self._started:
            library.stop()
            self._started = False

    def probe(self) -> Probe:
        if self._started:
            return Probe("ok")
        probe = library.start()
        self._started = probe.state == "ok"
        return probe

    def devices(self) -> Sequence[Device]:
        if (probe := self.probe()).state != "ok":
            raise DeviceError(f"NVIDIA's GPUs cannot be listed: {probe.reason}")
        try:
            handles = library.handles()
        except Fault as fault:
            raise DeviceError(f"NVIDIA's GPUs cannot be counted: {fault.reason}") from None
        found: dict[str, _Known] = {}
        for handle in handles:
            try:
                self._add(handle, found)
            except (Fault, DeviceLost):
                continue
        for id_, known in found.items():
            if id_ in self._known:
                known.silent, known.sampled = self._known[id_].silent, self._known[id_].sampled
        # One that is lost is not listed; whoever knows it goes on asking, and is told so.
        self._known = {**self._known, **found}
        return [known.device for known in found.values()]

    def _add(self, handle: Any, found: dict[str, _Known]) -> None:
        parts = library.parts(handle)
        uuid, address = library.uuid(handle), library.address(handle)
        whole = Device(
            uuid,
            library.name(handle),
            "nvidia",
            memory="dedicated" if self._has_memory(handle) else "unified",
            also=(address,),
        )
        found[uuid] = _Known(whole, handle, partitioned=bool(parts))
        for part in parts:
            id_ = library.uuid(part)
            device = Device(id_, library.name(part), "nvidia", memory="dedicated", parent=uuid)
            found[id_] = _Known(device, part)

    def _has_memory(self, handle: Any) -> bool:
        try:
            memory_of(handle)()
        except Fault as fault:
            return fault.kind != "unsupported"
        return True

    # --- measuring --------------------------------------------------------------------------------

    def _asked(self, known: _Known, ask: Callable[[_Known], T]) -> T:
        """Ask, and once more with a new handle where a reset has made the one we have useless.

        Raises:
            Fault: it did not answer.
            DeviceLost: the GPU does not answer at all.
        """
        try:
            return ask(known)
        except Fault as fault:
            if fault.kind != "stale":
                raise
        self._renew(known)
        return ask(known)

    def _renew(self, known: _Known) -> None:
        try:
            known.found(library.by_uuid(known.device.id))
        except Fault as gone:
            raise DeviceLost(
                f"the GPU {known.device.id} is not there any more: {gone.reason}"
            ) from None

    def _of(self, device: str) -> _Known:
        if not self._known:
            self.devices()
        try:
            return self._known[device]
        except KeyError:
            raise DeviceLost(f"there is no NVIDIA GPU {device!r}") from None

    def stats(self, device: str) -> Stats:
        known = self._of(device)
        now = self._clock()
        readings = self._memory(known, now)
        if known.device.parent:
            for name in FIELDS:
                readings.setdefault(name, Unknown(_PART, self.name))
            return Stats(device, readings)
        source, silent = self.name, known.silent
        for place, query in _QUERIES:
            if query.older and isinstance(readings[query.fields[0]], Known):
                continue
            if place in silent and now < silent[place][0]:
                readings.update(dict.fromkeys(query.fields, silent[place][1]))
                continue
            try:
                values = known.asks[place]()
            except Fault as fault:
                readings.update(self._asked_again(known, place, fault, now))
                continue
            readings[query.fields[0]] = Known(values[0], source, now)
            if len(values) > 1:
                readings[query.fields[1]] = Known(values[1], source, now)
        return Stats(device, readings)

    def _asked_again(
        self, known: _Known, place: int, fault: Fault, now: int
    ) -> Mapping[str, Reading]:
        """What becomes of a query that was not answered.

        Raises:
            DeviceLost: the GPU does not answer at all.
        """
        fields = QUERIES[place].fields
        try:
            if fault.kind != "stale":
                raise fault
            self._renew(known)
            values = known.asks[place]()
        except Fault as last:
            unsupported = last.kind == "unsupported"
            reason = _PARTITIONED if unsupported and known.partitioned else last.reason
            unknown = Unknown(reason, self.name)
            if unsupported:
                known.silent[place] = (now + int(_ASK_AGAIN_S * 1e9), unknown)
            return dict.fromkeys(fields, unknown)
        return {
            name: Known(value, self.name, now) for name, value in zip(fields, values, strict=True)
        }

    def _memory(self, known: _Known, now: int) -> dict[str, Reading]:
        if known.device.memory == "unified":
            return machine_memory(self._root, now)
        try:
            values = self._asked(known, lambda known: known.memory())
        except Fault as fault:
            return dict.fromkeys(_MEMORY, Unknown(fault.reason, self.name))
        readings: dict[str, Reading] = {}
        if len(values) < len(_MEMORY):
            readings.update(dict.fromkeys(_MEMORY, Unknown(_OLD, self.name)))
        for name, value in zip(_MEMORY, values, strict=False):
            readings[name] = Known(value, self.name, now)
        return readings

    # --- processes and events ---------------------------------------------------------------------

    def processes(self, device: str) -> Sequence[DeviceProcess] | Unknown:
        known = self._of(device)
        try:
            found = self._asked(known, lambda known: library.processes(known.handle))
        except Fault as fault:
            return Unknown(fault.reason, self.name)
        busy, why = self._busy(known)
        merged: dict[int, Used] = {}
        for used in found:
            first = merged.setdefault(used.pid, used)
            if first.used is None and used.used is not None:
                merged[used.pid] = Used(used.pid, first.kind, used.used)
        return [self._process(used, busy, why) for used in merged.values()]

    def _busy(self, known: _Known) -> tuple[dict[int, int], str]:
        """Percent by process, and why a process has none."""
        if known.device.parent or known.partitioned:
            return {}, _PART
        try:
            busy, known.sampled = self._asked(
                known, lambda known: library.busy_since(known.handle, known.sampled)
            )
        except Fault as fault:
            if fault.kind == "nothing":
                return {}, "the driver has no sample since it was last asked"
            return {}, fault.reason
        return busy, "the driver has no sample of it"

    def _process(self, used: Used, busy: dict[int, int], why: str) -> DeviceProcess:
        now = self._clock()
        ours = is_ours(used.pid, self._root)
        return DeviceProcess(
            used.pid,
            used.kind,
            Known(used.used, self.name, now)
            if used.used is not None
            else Unknown("the driver does not tell it of this process", self.name),
            Known(busy[used.pid], self.name, now) if used.pid in busy else Unknown(why, self.name),
            name_of(used.pid, self._root) if ours else "",
            ours,
        )

    def events(self) -> Sequence[DeviceEvent]:
        if self._event_set is None:
            self._event_set = library.event_set(
                [known.handle for known in self._known.values() if not known.device.parent]
            )
        found: list[DeviceEvent] = []
        while self._event_set is not None and (xid := library.xid(self._event_set)) is not None:
            try:
                device = library.uuid(xid.handle)
            except (Fault, DeviceLost):
                device = ""
            found.append(
                DeviceEvent("fault", device, f"Xid {xid.code}", self._clock(), code=xid.code)
            )
        return found

    # --- what the machine does, whatever the GPU --------------------------------------------------

    def pinned_pool(self, size: int) -> PinnedPool:
        from sashizu_gpu_driver.pinned import MemoryPool

        return MemoryPool(size)

    def hint(self, pid: int, hint: Hint) -> HintResult:
        from sashizu_gpu_driver.hints import apply_hint

        return apply_hint(pid, hint, root=self._root)
