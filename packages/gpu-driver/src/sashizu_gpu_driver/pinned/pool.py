"""A bounded amount of memory for clients that share it."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from threading import Lock

from sashizu_core.devices import DeviceError

from sashizu_gpu_driver.pinned.memory import (
    HUGE_PAGE,
    PAGE,
    SharedMemory,
    free_huge_pages,
    new_memory,
)

__all__ = ["MIB", "MemoryPool"]

MIB = 1024 * 1024


class MemoryPool:
    """At most `size` bytes with clients, of which each may have `quota`.

    Every allocation is memory of its own, made by the kernel and zeroed by it, so nobody reads what
    another one left there. Huge pages are taken where the operator has set enough of them aside.
    With `cuda` the driver of CUDA pins, where there is one. Any thread may call.
    """

    def __init__(
        self,
        size: int = 256 * MIB,
        *,
        quota: int | None = None,
        cuda: bool = False,
        root: Path = Path("/"),
    ) -> None:
        self.size = size
        self._quota = size if quota is None else quota
        self._cuda = cuda
        self._root = root
        self._lock = Lock()
        self._charged: dict[str, int] = {}
        self._given: dict[SharedMemory, str] = {}
        self._closed = False

    @property
    def used(self) -> int:
        """Bytes that are with clients."""
        with self._lock:
            return sum(self._charged.values())

    @property
    def pinned(self) -> bool:
        """Whether all that is with clients stays in memory; False while nothing is."""
        with self._lock:
            return bool(self._given) and all(memory.pinned for memory in self._given)

    @property
    def reason(self) -> str:
        """Why it is not pinned; empty if it is."""
        with self._lock:
            if not self._given:
                return "nothing is with clients"
            return next((one.reason for one in self._given if not one.pinned), "")

    def clients(self) -> Mapping[str, int]:
        """Bytes by client, of those that have some."""
        with self._lock:
            return {client: size for client, size in self._charged.items() if size}

    def allocate(self, size: int, *, client: str = "") -> SharedMemory:
        """Zeroed memory, pinned if that can be had.

        Raises:
            DeviceError: the pool or the client's quota has no room, or the system no memory.
        """
        if size <= 0:
            raise DeviceError(f"memory of {size} bytes was asked for; ask for one at least")
        whole = _rounded(size, HUGE_PAGE)
        huge = (
            size >= HUGE_PAGE
            and free_huge_pages(self._root) * HUGE_PAGE >= whole
            and self._room(client) >= whole
        )
        if not huge:
            whole = _rounded(size, PAGE)
        self._charge(whole, client)
        try:
            memory = self._made(whole, huge=huge)
        except BaseException:
            self._credit(whole, client)
            raise
        with self._lock:
            self._given[memory] = client
        memory.on_close = self._returned
        return memory

    def release(self, client: str) -> int:
        """Take back all that a client has; how many bytes that were.

        Who has mapped it keeps what is mapped: the kernel frees it with the last one.
        """
        with self._lock:
            theirs = [memory for memory, owner in self._given.items() if owner == client]
        freed = sum(memory.size for memory in theirs)
        for memory in theirs:
            memory.close()
        return freed

    def close(self) -> None:
        """Take back everything; nothing can be allocated any more."""
        self._closed = True
        with self._lock:
            given = list(self._given)
        for memory in given:
            memory.close()

    # --- accounts ---------------------------------------------------------------------------------

    def _room(self, client: str) -> int:
        with self._lock:
            used = sum(self._charged.values())
            return min(self.size - used, self._quota - self._charged.get(client, 0))

    def _charge(self, size: int, client: str) -> None:
        with self._lock:
            used, theirs = sum(self._charged.values()), self._charged.get(client, 0)
            if self._closed:
                raise DeviceError("the pool is closed")
            if used + size > self.size:
                raise DeviceError(
                    f"{size} bytes were asked for, and of {self.size} of the pool {used} are in use"
                )
            if theirs + size > self._quota:
                raise DeviceError(
                    f"{size} bytes were asked for, and {client!r} has {theirs} of its {self._quota}"
                )
            self._charged[client] = theirs + size

    def _credit(self, size: int, client: str) -> None:
        with self._lock:
            self._charged[client] -= size
            if not self._charged[client]:
                del self._charged[client]

    def _returned(self, memory: SharedMemory) -> None:
        with self._lock:
            client = self._given.pop(memory, None)
        if client is not None:
            self._credit(memory.size, client)

    def _made(self, size: int, *, huge: bool) -> SharedMemory:
        if huge:
            try:
                memory = new_memory(size, huge=True)
            except DeviceError:  # somebody else was quicker to take the huge pages
                memory = new_memory(size)
        else:
            memory = new_memory(size)
        memory.pin(cuda=self._cuda)
        return memory


def _rounded(size: int, unit: int) -> int:
    return -(-size // unit) * unit
