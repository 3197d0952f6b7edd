"""Memory of the Linux driver as a pool: each buffer has a handle of its own, to be passed on."""

from __future__ import annotations

import mmap
import threading
from collections.abc import Callable

from sashizu_core.devices import DeviceError

from sashizu_gpu_driver.native.driver import NativeBuffer, NativeDriver

__all__ = ["NativePool", "PoolBuffer", "map_passed"]


def map_passed(fd: int, size: int) -> mmap.mmap:
    """See a buffer whose `fd` another process passed on; `size` is the size it was told."""
    return mmap.mmap(fd, size)


class PoolBuffer:
    """One buffer, alone on its handle: whoever gets `fd` can map it, and nothing else."""

    def __init__(self, pool: NativePool, driver: NativeDriver, buffer: NativeBuffer) -> None:
        self._pool = pool
        self._driver = driver
        self._buffer = buffer

    @property
    def size(self) -> int:
        return self._buffer.size

    @property
    def fd(self) -> int:
        return self._driver.fileno()

    @property
    def view(self) -> memoryview:
        return self._buffer.view

    @property
    def pinned(self) -> bool:
        return self._buffer.pinned

    @property
    def reason(self) -> str:
        return "" if self.pinned else "this driver does not hold its pages in memory"

    def close(self) -> None:
        self._pool.drop(self)

    def end(self) -> None:
        """Close without telling the pool."""
        self._buffer.close()
        self._driver.close()


class NativePool:
    """At most `size` bytes at once, out of the driver's pool. Threads may share it."""

    def __init__(self, size: int, opened: Callable[[], NativeDriver]) -> None:
        self._opened = opened
        self._lock = threading.Lock()
        self._buffers: dict[PoolBuffer, str] = {}
        with opened() as driver:
            self._granule = driver.version.granule
            self._pinned = "pinned" in driver.version.features
        self._size = -(-size // self._granule) * self._granule

    @property
    def size(self) -> int:
        return self._size

    @property
    def used(self) -> int:
        with self._lock:
            return self._taken()

    @property
    def pinned(self) -> bool:
        return self._pinned

    @property
    def reason(self) -> str:
        return "" if self._pinned else "this driver does not hold its pages in memory"

    def allocate(self, size: int, *, client: str = "") -> PoolBuffer:
        wanted = -(-size // self._granule) * self._granule
        with self._lock:
            if wanted > self._size - self._taken():
                raise DeviceError(
                    f"{size} bytes asked, {self._size - self._taken()} of {self._size} are left: "
                    "close a buffer first"
                )
            driver = self._opened()
            try:
                buffer = PoolBuffer(self, driver, driver.allocate(size))
            except BaseException:
                driver.close()
                raise
            self._buffers[buffer] = client
            return buffer

    def release(self, client: str) -> int:
        with self._lock:
            theirs = [buffer for buffer, owner in self._buffers.items() if owner == client]
            for buffer in theirs:
                del self._buffers[buffer]
        return sum(_ended(buffer) for buffer in theirs)

    def drop(self, buffer: PoolBuffer) -> None:
        """What `PoolBuffer.close` does; a second time does nothing."""
        with self._lock:
            if self._buffers.pop(buffer, None) is None:
                return
        buffer.end()

    def close(self) -> None:
        for client in set(self._buffers.values()):
            self.release(client)

    def _taken(self) -> int:
        return sum(buffer.size for buffer in self._buffers)


def _ended(buffer: PoolBuffer) -> int:
    size = buffer.size
    buffer.end()
    return size
