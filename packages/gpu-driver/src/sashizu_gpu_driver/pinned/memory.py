"""One piece of memory behind a descriptor that can be handed over."""

from __future__ import annotations

import contextlib
import ctypes
import errno
import mmap
import os
import sys
from collections.abc import Callable
from pathlib import Path

from sashizu_core.devices import DeviceError

from sashizu_gpu_driver.pinned.cuda import Registration, register

__all__ = ["HUGE_PAGE", "PAGE", "SharedMemory", "adopt", "free_huge_pages", "new_memory"]

PAGE = mmap.PAGESIZE
HUGE_PAGE = 2 * 1024 * 1024

_MIB = 1024 * 1024
_HUGE_2MIB = 21 << 26  # MFD_HUGE_2MB, which `os` has as a name only where glibc had it

# Of linux/fcntl.h; `fcntl` has them only on Linux.
_ADD_SEALS, _GET_SEALS = 1033, 1034
_SEAL_SEAL, _SEAL_SHRINK, _SEAL_GROW, _SEAL_WRITE = 1, 2, 4, 8


class SharedMemory:
    """Memory of `size` bytes; `view` reads it, and writes it where `writable`.

    `pinned` says whether it is certain that it stays in memory, `reason` why not; `registered`
    whether CUDA copies from it at full speed.
    """

    def __init__(
        self,
        fd: int,
        size: int,
        *,
        writable: bool,
        pinned: bool = False,
        reason: str = "",
        registration: Registration | None = None,
    ) -> None:
        access = mmap.PROT_READ | (mmap.PROT_WRITE if writable else 0)
        self._map = mmap.mmap(fd, size, mmap.MAP_SHARED, access)
        self._view: memoryview | None = memoryview(self._map)
        self._fd = fd
        self._registration = registration
        self.on_close: Callable[[SharedMemory], None] | None = None
        self.size = size
        self.writable = writable
        self.pinned = pinned
        self.reason = reason

    @property
    def fd(self) -> int:
        """The descriptor; whoever gets it can map the same memory.

        Raises:
            DeviceError: it has been given back.
        """
        if self._fd < 0:
            raise DeviceError("the memory has been given back")
        return self._fd

    @property
    def view(self) -> memoryview:
        """The bytes themselves, not a copy.

        Raises:
            DeviceError: it has been given back.
        """
        if self._view is None:
            raise DeviceError("the memory has been given back")
        return self._view

    @property
    def registered(self) -> bool:
        return self._registration is not None

    @property
    def frozen(self) -> bool:
        """Whether nobody can change it any more."""
        return bool(_seals(self.fd) & _SEAL_WRITE)

    def pin(self, *, cuda: bool = False) -> None:
        """Keep it in memory if the system allows it; `pinned` and `reason` say what became of it.

        With `cuda` the driver is asked, which pins by itself; where it cannot, the kernel is.
        """
        why = ""
        if cuda:
            found = register(_address(self._map), self.size)
            if isinstance(found, Registration):
                self._registration, self.pinned, self.reason = found, True, ""
                return
            why = f"CUDA: {found}; "
        refused = "" if self.pinned else _locked(_address(self._map), self.size)
        self.pinned, self.reason = not refused, why + refused

    def freeze(self) -> None:
        """Have nobody change it from now on, this process included; `view` is a new one.

        Whoever receives it can then check it once and rely on it.

        Raises:
            DeviceError: somebody has mapped it to write.
        """
        if self._registration is not None:
            raise DeviceError("memory that is registered with CUDA cannot be frozen")
        was_pinned = self.pinned
        self._unmap()
        try:
            _add_seals(self.fd, _SEAL_WRITE | _SEAL_SEAL)
            self.writable = False
        except OSError as error:
            raise DeviceError(
                f"the memory cannot be frozen: another process may still write ({error.strerror})"
            ) from error
        finally:
            access = mmap.PROT_READ | (mmap.PROT_WRITE if self.writable else 0)
            self._map = mmap.mmap(self.fd, self.size, mmap.MAP_SHARED, access)
            self._view = memoryview(self._map)
        if was_pinned and self.reason == "":
            self.pinned = False
            self.pin()

    def close(self) -> None:
        """Give it back; a slice of `view` that is still in use keeps its bytes."""
        if self._fd < 0:
            return
        if self._registration is not None:
            self._registration.close()
            self._registration = None
        self._unmap()
        os.close(self._fd)
        self._fd = -1
        self.pinned = False
        if self.on_close is not None:
            self.on_close(self)

    def _unmap(self) -> None:
        view, self._view = self._view, None
        with contextlib.suppress(BufferError):  # a slice is in use: the bytes go when that does
            if view is not None:
                view.release()
            self._map.close()


def new_memory(size: int, *, huge: bool = False) -> SharedMemory:
    """Zeroed memory that can neither shrink nor grow; not pinned, unless it is of huge pages.

    Raises:
        DeviceError: the system has no such memory, or none left.
    """
    if sys.platform != "linux":
        raise DeviceError(f"memory to share needs Linux; this is {sys.platform}")
    flags = os.MFD_CLOEXEC | os.MFD_ALLOW_SEALING
    if huge:
        flags |= os.MFD_HUGETLB | _HUGE_2MIB
    fd = -1
    try:
        fd = os.memfd_create("sashizu", flags)
        os.ftruncate(fd, size)
        _add_seals(fd, _SEAL_SHRINK | _SEAL_GROW)
        reason = "" if huge else "not asked for yet"
        return SharedMemory(fd, size, writable=True, pinned=huge, reason=reason)
    except OSError as error:
        if fd >= 0:
            os.close(fd)
        raise DeviceError(f"there is no memory of {size} bytes: {error.strerror}") from error


def adopt(fd: int, *, writable: bool = False) -> SharedMemory:
    """Map memory that another process handed over; takes the descriptor, also where it fails.

    Raises:
        DeviceError: it is something else, or its sender could cut it while it is read.
    """
    try:
        # The seal first: a size that is read before it may be another one when it is set.
        sealed = bool(_seals(fd) & _SEAL_SHRINK)
        size = os.fstat(fd).st_size
        if size > 0 and sealed:
            return SharedMemory(fd, size, writable=writable, reason="its sender knows")
        problem = (
            "could be cut by its sender while it is read" if size > 0 else "is empty or no memory"
        )
    except OSError as error:
        problem = f"cannot be mapped: {error.strerror}"
    os.close(fd)
    raise DeviceError(f"what was handed over {problem}")


def free_huge_pages(root: Path = Path("/")) -> int:
    """How many pages of 2 MiB the operator has set aside and nobody uses."""
    folder = root / "sys/kernel/mm/hugepages/hugepages-2048kB"
    try:
        free = int((folder / "free_hugepages").read_text("ascii"))
        return free - int((folder / "resv_hugepages").read_text("ascii"))
    except (OSError, ValueError):
        return 0


def _seals(fd: int) -> int:
    import fcntl

    try:
        return fcntl.fcntl(fd, _GET_SEALS)
    except OSError:
        return 0  # a file that has no seals is not sealed


def _add_seals(fd: int, seals: int) -> None:
    import fcntl

    fcntl.fcntl(fd, _ADD_SEALS, seals)


def _address(mapped: mmap.mmap) -> int:
    # From a read-only mapping no ctypes array can be made; its address can be had all the same.
    class _Buffer(ctypes.Structure):
        _fields_ = (
            ("buf", ctypes.c_void_p),
            ("obj", ctypes.py_object),
            ("len", ctypes.c_ssize_t),
            ("itemsize", ctypes.c_ssize_t),
            ("readonly", ctypes.c_int),
            ("ndim", ctypes.c_int),
            ("format", ctypes.c_char_p),
            ("shape", ctypes.c_void_p),
            ("strides", ctypes.c_void_p),
            ("suboffsets", ctypes.c_void_p),
            ("internal", ctypes.c_void_p),
        )

    found = _Buffer()
    ctypes.pythonapi.PyObject_GetBuffer(ctypes.py_object(mapped), ctypes.byref(found), 0)
    address = int(found.buf or 0)
    ctypes.pythonapi.PyBuffer_Release(ctypes.byref(found))
    return address


def _locked(address: int, size: int) -> str:
    """Lock pages in memory; why that is not so, empty if it is."""
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.mlock(ctypes.c_void_p(address), ctypes.c_size_t(size)) == 0:
        return ""
    code = ctypes.get_errno()
    if code in (errno.ENOMEM, errno.EPERM, errno.EAGAIN):
        return _limit_of_locking()
    return f"mlock: {os.strerror(code)}"


def _limit_of_locking() -> str:
    import resource

    limit = resource.getrlimit(resource.RLIMIT_MEMLOCK)[0]
    if limit == resource.RLIM_INFINITY:
        return "mlock: the machine has not that much memory left"
    return (
        f"RLIMIT_MEMLOCK is {limit // _MIB} MiB; raise it with LimitMEMLOCK= of systemd "
        "or in /etc/security/limits.d"
    )
