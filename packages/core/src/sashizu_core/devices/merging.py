"""What several backends tell of the same devices, as one."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, replace

from sashizu_core.devices.contract import (
    Device,
    DeviceBackend,
    DeviceError,
    DeviceEvent,
    DeviceLost,
    DeviceProcess,
    DeviceSpec,
    Hint,
    HintResult,
    PinnedPool,
    Probe,
    RuntimeRegistration,
)
from sashizu_core.devices.readings import FIELDS, Known, Reading, Stats, Unknown
from sashizu_core.errors import ConfigError, nearest

__all__ = ["Devices", "Snapshot", "chosen", "merged_stats", "open_devices"]

_LIST_EVERY_S = 10.0
"""Seconds after which backends are asked anew which devices there are."""


@dataclass(frozen=True, slots=True)
class Snapshot:
    """All devices at one moment; `at_ns` is `time.monotonic_ns()`.

    `stats` are keyed by the id of the device. One that answers no more has none, and its reason
    stands in `lost`. `events` are what has happened since the snapshot before.
    """

    at_ns: int
    devices: tuple[Device, ...]
    stats: Mapping[str, Stats]
    lost: Mapping[str, str]
    events: tuple[DeviceEvent, ...] = ()


@dataclass(frozen=True, slots=True)
class _Found:
    """A device with who tells of it, the most believed first, and under which id."""

    device: Device
    tellers: tuple[tuple[DeviceBackend, str], ...]


_Told = list[tuple[DeviceBackend, Stats]]


class Devices:
    """All devices of this machine. Blocking; used by one thread at a time.

    `backends` come in the order in which they are believed. `probes` are those that cannot be used.
    """

    def __init__(
        self,
        backends: Sequence[DeviceBackend],
        probes: Mapping[str, Probe] | None = None,
        *,
        clock: Callable[[], int] = time.monotonic_ns,
    ) -> None:
        self.probes: Mapping[str, Probe] = probes or {}
        self._backends = list(backends)
        self._clock = clock
        self._found: list[_Found] = []
        self._listed_ns: int | None = None
        self._lost: dict[str, str] = {}
        self._failed: dict[str, str] = {}

    @property
    def failed(self) -> Mapping[str, str]:
        """Backends that could not list their devices when they were last asked, with the reason."""
        return dict(self._failed)

    def present(self) -> Sequence[Device]:
        """The devices that are there now, each once."""
        self._list(force=True)
        return [found.device for found in self._found]

    def sample(self) -> Snapshot:
        """Measure every device; one that fails takes no other along."""
        began = self._clock()
        events = self._list(force=False)
        stats: dict[str, Stats] = {}
        lost: dict[str, str] = {}
        heard: list[tuple[Device, _Told]] = []
        for found in self._found:
            told, reason = self._told(found)
            if told:
                stats[found.device.id] = merged_stats(found.device.id, [one for _, one in told])
                heard.append((found.device, told))
            else:
                lost[found.device.id] = reason
        events += self._changes(lost)
        self._tell(heard)
        for backend in self._backends:
            events += self._happened(backend)
        devices = tuple(found.device for found in self._found)
        return Snapshot(began, devices, stats, lost, tuple(events))

    def processes(self, device: str) -> Sequence[DeviceProcess] | Unknown:
        """Who uses a device, by its id.

        Raises:
            DeviceLost: it is not there any more, or answers no more.
        """
        found = self._of(device)
        told: list[tuple[DeviceBackend, Sequence[DeviceProcess]]] = []
        silent: Unknown | None = None
        for backend, own in found.tellers:
            answer = backend.processes(own)
            if isinstance(answer, Unknown):
                silent = silent or answer
            else:
                told.append((backend, answer))
        for listener in self._backends:
            others = [processes for who, processes in told if who is not listener]
            if listener.collects and others:
                listener.hear_processes(found.device.id, _merged_processes(others))
        if told:
            return _merged_processes([processes for _, processes in told])
        return silent or Unknown("no backend lists processes")

    def hint(self, pid: int, hint: Hint) -> HintResult:
        """Give a hint to the first backend that takes it; never raises."""
        refused: HintResult | None = None
        for backend in self._backends:
            result = backend.hint(pid, hint)
            if result.state == "applied":
                return result
            if refused is None or refused.state == "unsupported":
                refused = result
        return refused or HintResult("unsupported", reason="there is no backend")

    def pinned_pool(self, size: int) -> PinnedPool:
        """Memory to share, of the first backend that has some.

        Raises:
            DeviceError: none has.
        """
        reasons = []
        for backend in self._backends:
            try:
                return backend.pinned_pool(size)
            except DeviceError as error:
                reasons.append(str(error))
        raise DeviceError("; ".join(reasons) or "there is no backend that has memory to share")

    def register_runtime(self, name: str, paths: frozenset[str]) -> RuntimeRegistration:
        """Register a runtime of this process with the first backend that takes it.

        Raises:
            DeviceError: none does.
        """
        reasons = []
        for backend in self._backends:
            try:
                return backend.register_runtime(name, paths)
            except DeviceError as error:
                reasons.append(str(error))
        raise DeviceError("; ".join(reasons) or "there is no backend that registers runtimes")

    # --- listing ----------------------------------------------------------------------------------

    def _of(self, device: str) -> _Found:
        if not self._found:
            self._list(force=True)
        for found in self._found:
            if device in (found.device.id, *found.device.also):
                return found
        known = ", ".join(found.device.id for found in self._found) or "none"
        raise DeviceLost(f"there is no device {device!r}; there are: {known}")

    def _list(self, *, force: bool) -> list[DeviceEvent]:
        """Ask which devices there are, if that was long ago; which came and went."""
        now = self._clock()
        due = self._listed_ns is None or now - self._listed_ns >= _LIST_EVERY_S * 1e9
        if not (force or due or self._lost):
            return []
        before = {found.device.id: found.device for found in self._found}
        self._found = _joined(self._answers())
        first, self._listed_ns = self._listed_ns is None, now
        after = {found.device.id: found.device for found in self._found}
        if first:
            return []
        return [
            *(
                DeviceEvent("added", one, after[one].name, now)
                for one in after
                if one not in before
            ),
            *(
                DeviceEvent("removed", one, before[one].name, now)
                for one in before
                if one not in after
            ),
        ]

    def _answers(self) -> Iterator[tuple[DeviceBackend, Sequence[Device]]]:
        self._failed.clear()
        for backend in self._backends:
            try:
                yield backend, backend.devices()
            except DeviceError as error:
                self._failed[backend.name] = str(error)

    # --- measuring --------------------------------------------------------------------------------

    def _tell(self, heard: Sequence[tuple[Device, _Told]]) -> None:
        """Have those hear what was measured that want to, but nothing of themselves."""
        for listener in self._backends:
            if listener.collects:
                others = [
                    (
                        device,
                        merged_stats(device.id, [one for who, one in told if who is not listener]),
                    )
                    for device, told in heard
                    if any(who is not listener for who, _ in told)
                ]
                listener.hear(others)

    def _told(self, found: _Found) -> tuple[_Told, str]:
        told: _Told = []
        reasons: list[str] = []
        for backend, own in found.tellers:
            try:
                told.append((backend, backend.stats(own)))
            except DeviceError as error:
                reasons.append(str(error))
        # Where the most believed has lost it, what the kernel still remembers is worth nothing.
        first = told[0][1].device if told else ""
        return told if first == found.tellers[0][1] else [], "; ".join(reasons)

    def _changes(self, lost: Mapping[str, str]) -> list[DeviceEvent]:
        if not lost and not self._lost:
            return []
        now, before = self._clock(), self._lost
        there = {found.device.id for found in self._found}
        self._lost = dict(lost)
        return [
            *(DeviceEvent("lost", one, lost[one], now) for one in lost if one not in before),
            *(
                DeviceEvent("back", one, "it answers again", now)
                for one in before
                if one not in lost and one in there
            ),
        ]

    def _happened(self, backend: DeviceBackend) -> list[DeviceEvent]:
        try:
            happened = backend.events()
        except DeviceError:
            return []  # what it measures says that it fails
        if not happened:
            return []
        names = {
            own: found.device.id
            for found in self._found
            for teller, own in found.tellers
            if teller is backend
        }
        return [replace(event, device=names.get(event.device, event.device)) for event in happened]


def _joined(answers: Iterable[tuple[DeviceBackend, Sequence[Device]]]) -> list[_Found]:
    """Put together what goes by a common id; what comes first gives the name."""
    found: list[_Found] = []
    for backend, devices in answers:
        for device in devices:
            ids = {device.id, *device.also}
            place = next(
                (i for i, one in enumerate(found) if ids & {one.device.id, *one.device.also}), None
            )
            if place is None:
                found.append(_Found(device, ((backend, device.id),)))
                continue
            one = found[place]
            also = tuple(sorted((ids | set(one.device.also)) - {one.device.id}))
            memory = one.device.memory if one.device.memory != "unknown" else device.memory
            joined = replace(one.device, also=also, memory=memory)
            found[place] = _Found(joined, (*one.tellers, (backend, device.id)))
    return found


def merged_stats(device: str, told: Sequence[Stats]) -> Stats:
    """Of each field the first value that is known, else the first reason why it is not."""
    if len(told) == 1 and told[0].device == device:
        return told[0]
    readings: dict[str, Reading] = {}
    for name in FIELDS:
        given = [stats.readings[name] for stats in told if name in stats.readings]
        known = next((one for one in given if isinstance(one, Known)), None)
        if known is not None or given:
            readings[name] = known or given[0]
    return Stats(device, readings)


def _merged_processes(told: Sequence[Sequence[DeviceProcess]]) -> Sequence[DeviceProcess]:
    """Each process once; what the first list does not know of it is taken from the others."""
    merged: dict[int, DeviceProcess] = {}
    for processes in told:
        for process in processes:
            first = merged.get(process.pid)
            merged[process.pid] = process if first is None else _filled(first, process)
    return list(merged.values())


def _filled(first: DeviceProcess, second: DeviceProcess) -> DeviceProcess:
    return replace(
        first,
        used_bytes=first.used_bytes if isinstance(first.used_bytes, Known) else second.used_bytes,
        busy_percent=first.busy_percent
        if isinstance(first.busy_percent, Known)
        else second.busy_percent,
        name=first.name or second.name,
        ours=first.ours if first.ours is not None else second.ours,
    )


def chosen(offered: Mapping[str, DeviceSpec], wanted: Iterable[str] | None) -> list[DeviceSpec]:
    """Of what plugins offer those of the names that `[devices] backends` has; None are all.

    Raises:
        ConfigError: one is not offered.
    """
    if wanted is None:
        return list(offered.values())
    names = list(dict.fromkeys(wanted))
    for name in names:
        if name not in offered:
            raise ConfigError(
                f"[devices] backends: there is no {name!r}{nearest(name, offered)}; "
                f"there are: {', '.join(sorted(offered)) or 'none'}"
            )
    return [offered[name] for name in names]


@contextmanager
def open_devices(
    specs: Iterable[DeviceSpec], *, clock: Callable[[], int] = time.monotonic_ns
) -> Iterator[Devices]:
    """Open every backend that can be used here; `probes` of what is yielded has the others.

    One that fails to open or to probe is left out like one that is missing.
    """
    usable: list[DeviceBackend] = []
    unusable: dict[str, Probe] = {}
    with ExitStack() as stack:
        for spec in sorted(specs, key=lambda spec: (spec.rank, spec.name)):
            try:
                backend = stack.enter_context(spec.open())
                probe = backend.probe()
            except Exception as error:  # noqa: BLE001 - a plugin's mistake leaves the others be
                unusable[spec.name] = Probe("missing", f"opening it failed: {error}")
                continue
            if probe.state == "ok":
                usable.append(backend)
            else:
                unusable[spec.name] = probe
        yield Devices(usable, unusable, clock=clock)
