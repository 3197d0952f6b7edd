"""The client of the driver, the same on Linux and on Windows."""

from __future__ import annotations

import mmap
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from ctypes import Structure, sizeof
from types import TracebackType
from typing import Self, TypeVar

from sashizu_gpu_driver.native import abi
from sashizu_gpu_driver.native.errors import DriverMismatch, DriverUnknown
from sashizu_gpu_driver.native.transport import Transport, open_transport
from sashizu_gpu_driver.native.values import (
    Advice,
    DriverProcess,
    DriverVersion,
    GpuSample,
    PoolUse,
    SchedulerUse,
    TurnUse,
    paths_of,
    raw_of,
)

__all__ = ["NativeBuffer", "NativeDriver", "filled"]


_Frame = TypeVar("_Frame", bound=Structure)


def filled(layout: type[_Frame], **values: int) -> _Frame:
    """A frame with its size and version, and these values."""
    return layout(size=sizeof(layout), abi=abi.ABI, **values)


class NativeBuffer:
    """Memory of the pool. `pinned`: it cannot be paged out."""

    def __init__(self, driver: NativeDriver, place: abi.PoolMap, memory: mmap.mmap) -> None:
        self._driver = driver
        self._memory = memory
        self.handle: int = place.handle
        self.size: int = place.bytes
        self.pinned = bool(place.pinned)
        self.view = memoryview(memory)

    def close(self) -> None:
        """Give it back, once; others that have mapped it keep what they see."""
        if self._memory.closed:
            return
        self.view.release()
        self._memory.close()
        self._driver.free(self.handle)


class NativeDriver:
    """An open handle of the driver. All that it owns there ends with it.

    Every method may raise a `DriverError`; which one says what to do. Calls from several threads
    are fine: the driver serves them one at a time. `call(function, frame)` sends a frame as it is,
    which holds the answer afterwards: for those who ask often.
    """

    def __init__(self, transport: Transport) -> None:
        """Ask for the version first.

        Raises:
            DriverMismatch: the driver speaks another major version.
        """
        self._transport = transport
        self.call = transport.call
        try:
            self.version = self._handshake()
        except BaseException:
            transport.close()
            raise

    @classmethod
    def open(cls, device: str | None = None) -> Self:
        """The driver of this machine.

        Raises:
            DriverAbsent: there is none.
            DriverForbidden: this user may not open it.
            DriverMismatch: it speaks another version.
        """
        return cls(open_transport(device))

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    def close(self) -> None:
        """Close the handle: memory, turns, hints and registrations of it are given back."""
        self._transport.close()

    def fileno(self) -> int:
        """A descriptor that can be passed to another process; -1 where there is none."""
        return self._transport.fileno()

    # --- devices and processes --------------------------------------------------------------------

    def submit(self, samples: Sequence[GpuSample]) -> None:
        """Tell what was measured, as the collector; the first who does so is it until it closes.

        Raises:
            DriverBusy: another handle is the collector.
        """
        self._need("gpu")
        for index, sample in enumerate(samples):
            self.call(abi.GPU_SUBMIT, sample.frame(index))

    def gpus(self) -> tuple[GpuSample, ...]:
        """The newest sample of each device, in the collector's order.

        Raises:
            DriverNotReady: there is no collector.
        """
        self._need("gpu")
        samples: list[GpuSample] = []
        while True:
            frame = filled(abi.Gpu, index=len(samples))
            try:
                self.call(abi.GPU_READ, frame)
            except DriverUnknown:
                return tuple(samples)
            samples.append(GpuSample.of(frame))
            if len(samples) >= frame.count:
                return tuple(samples)

    def gpu(self, index: int) -> GpuSample:
        """The newest sample of one device.

        Raises:
            DriverNotReady: there is no collector.
            DriverUnknown: it told of no such device.
        """
        self._need("gpu")
        frame = filled(abi.Gpu, index=index)
        self.call(abi.GPU_READ, frame)
        return GpuSample.of(frame)

    def submit_processes(self, index: int, holders: Sequence[tuple[int, int]]) -> int:
        """Tell who holds memory of device `index`, as (process id, bytes); how many were there."""
        self._need("processes")
        accepted, flags = 0, abi.SUBMIT_BEGIN
        for at in range(0, max(len(holders), 1), abi.BATCH):
            batch = holders[at : at + abi.BATCH]
            frame = filled(abi.ProcessSubmit, index=index, flags=flags, count=len(batch))
            for entry, (pid, held) in zip(frame.entries, batch, strict=False):
                entry.pid, entry.bytes = pid, held
            self.call(abi.PROCESS_SUBMIT, frame)
            accepted, flags = accepted + frame.accepted, 0
        return accepted

    def processes(self) -> Iterator[DriverProcess]:
        """The processes that a rule lists, oldest entry first."""
        self._need("processes")
        frame = filled(abi.ProcessList, more=1)
        while frame.more:
            self.call(abi.PROCESS_LIST, frame)
            for entry in frame.entries[: frame.count]:
                yield DriverProcess.of(entry, frame.age_ns)

    # --- memory -----------------------------------------------------------------------------------

    def allocate(self, size: int) -> NativeBuffer:
        """Zeroed memory of at least `size` bytes, in this process's view.

        Raises:
            DriverFull: it does not fit.
            ValueError: the size is not positive.
        """
        self._need("pool")
        if size <= 0:
            raise ValueError(f"{size} bytes cannot be allocated")
        granule = self.version.granule
        wanted = filled(abi.PoolAlloc, bytes=-(-size // granule) * granule)
        self.call(abi.POOL_ALLOC, wanted)
        try:
            place = filled(abi.PoolMap, handle=wanted.handle)
            self.call(abi.POOL_MAP, place)
            return NativeBuffer(self, place, self._transport.map(place))
        except BaseException:
            self.free(wanted.handle)
            raise

    def free(self, handle: int) -> None:
        """Give a buffer back by its handle; `NativeBuffer.close` does this."""
        self.call(abi.POOL_FREE, filled(abi.PoolFree, handle=handle))

    def pool(self) -> PoolUse:
        """How full the pool is."""
        self._need("pool")
        frame = filled(abi.PoolStatus)
        self.call(abi.POOL_STATUS, frame)
        return PoolUse(
            frame.total, frame.used, frame.mine, frame.mine_limit, frame.buffers, frame.clients
        )

    # --- turns and hints --------------------------------------------------------------------------

    def scheduler(self) -> SchedulerUse:
        """Who runs and waits, and how long waits were."""
        self._need("slots")
        frame = filled(abi.SchedStatus)
        self.call(abi.SCHED_STATUS, frame)
        counts = (frame.slots, frame.running, frame.waiting, frame.hints)
        waits = (frame.waited_ns / 1e9, frame.longest_ns / 1e9)
        return SchedulerUse(*counts, frame.granted, frame.cancelled, *waits)

    def wait_turn(self, timeout_s: float = 0.0, priority: int = 0) -> TurnUse:
        """Wait for one of the turns, in the blocking way; give it back with `end_turn`.

        Args:
            timeout_s: At most so long, up to a minute; 0 does not wait.
            priority: 0 to 9; 9 comes first.

        Raises:
            DriverBusy: there was none at once.
            DriverTimeout: there was none in time.
            DriverCancelled: a signal came.
        """
        self._need("slots")
        wait = round(timeout_s * 1000)
        frame = filled(abi.Slot, priority=priority, timeout_ms=wait)
        self.call(abi.SLOT_WAIT, frame)
        return TurnUse(frame.ticket, frame.waited_ns / 1e9)

    def end_turn(self, turn: TurnUse) -> None:
        """Let the next one go on."""
        self.call(abi.SLOT_DONE, filled(abi.Slot, ticket=turn.ticket))

    @contextmanager
    def turn(self, timeout_s: float = 0.0, priority: int = 0) -> Iterator[TurnUse]:
        """A turn for as long as the block lasts; raises as `wait_turn`."""
        turn = self.wait_turn(timeout_s, priority)
        try:
            yield turn
        finally:
            self.end_turn(turn)

    def hint(self, nice: int, pid: int = 0) -> tuple[int, int]:
        """Have a process (0: this one) run with less or more processor time; before and after.

        The numbers are the system's: nice values on Linux, priority classes on Windows.

        Raises:
            DriverForbidden: it is another user's, or nobody may raise it.
            DriverBusy: another handle has a hint for it.
        """
        self._need("hints")
        frame = filled(abi.Hint, pid=pid, nice=nice)
        self.call(abi.HINT_SET, frame)
        return frame.before, frame.after

    def unhint(self, pid: int = 0) -> None:
        """Put back what was before this handle's hint for the process.

        Raises:
            DriverUnknown: there is no such hint or process.
        """
        self.call(abi.HINT_UNDO, filled(abi.Hint, pid=pid))

    # --- runtimes ---------------------------------------------------------------------------------

    def register_runtime(self, name: str, paths: frozenset[str]) -> int:
        """Tell that this process computes, and in which ways; its process id as the driver saw it.

        Raises:
            ValueError: the name or a way is not one.
        """
        self._need("runtimes")
        frame = filled(abi.Runtime, paths=paths_of(paths))
        frame.name = raw_of(name, abi.NAME_BYTES)
        self.call(abi.RUNTIME_REGISTER, frame)
        return int(frame.pid)

    def best_path(self, size: int = 0) -> Advice:
        """The way to compute for work that needs `size` bytes, from what the driver knows now.

        Raises:
            DriverNotReady: this handle has registered no runtime.
        """
        self._need("runtimes")
        frame = filled(abi.GpuPath, bytes=size)
        self.call(abi.GPU_PATH, frame)
        return Advice.of(frame)

    def _handshake(self) -> DriverVersion:
        frame = filled(abi.Version)
        self.call(abi.VERSION, frame)
        version = DriverVersion.of(frame)
        if frame.driver_abi >> 16 != abi.ABI >> 16:
            raise DriverMismatch(
                f"the driver speaks {version.interface}, this package {abi.ABI >> 16}.x: "
                "install driver and package of one version"
            )
        return version

    def _need(self, feature: str) -> None:
        if feature not in self.version.features:
            raise DriverMismatch(f"this driver has no {feature}: load one that has")
