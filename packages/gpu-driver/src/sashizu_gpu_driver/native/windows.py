r"""The driver on Windows: `\\.\Sashizu`."""

from __future__ import annotations

import mmap
import sys
from ctypes import Structure, byref, c_void_p, sizeof

from sashizu_gpu_driver.native.abi import WIN32, WINDOWS_DEVICE, Function, PoolMap, Status
from sashizu_gpu_driver.native.errors import DriverAbsent, DriverError, DriverForbidden, refused
from sashizu_gpu_driver.native.values import text_of

__all__ = ["WindowsTransport"]

# On other systems the module is empty: whoever walks through a package imports all of it.
if sys.platform == "win32":
    from ctypes import WinDLL, WinError, get_last_error, wintypes

    _READ_WRITE = 0xC0000000
    _OPEN_EXISTING = 3
    _OVERLAPPED = 0x40000000
    _PENDING = 997
    _DENIED = 5
    _INVALID_HANDLE = c_void_p(-1).value

    class _Overlapped(Structure):
        _fields_ = (
            ("internal", c_void_p),
            ("internal_high", c_void_p),
            ("offset", wintypes.DWORD),
            ("offset_high", wintypes.DWORD),
            ("event", wintypes.HANDLE),
        )

    _kernel = WinDLL("kernel32", use_last_error=True)
    _kernel.CreateFileW.restype = c_void_p
    _kernel.CreateFileW.argtypes = [
        *(wintypes.LPCWSTR, wintypes.DWORD, wintypes.DWORD, c_void_p),
        *(wintypes.DWORD, wintypes.DWORD, c_void_p),
    ]
    _kernel.CreateEventW.restype = wintypes.HANDLE
    _kernel.CreateEventW.argtypes = [c_void_p, wintypes.BOOL, wintypes.BOOL, wintypes.LPCWSTR]
    _kernel.DeviceIoControl.argtypes = [
        *(c_void_p, wintypes.DWORD, c_void_p, wintypes.DWORD, c_void_p, wintypes.DWORD),
        *(c_void_p, c_void_p),
    ]
    _kernel.GetOverlappedResult.argtypes = [c_void_p, c_void_p, c_void_p, wintypes.BOOL]
    _kernel.CancelIoEx.argtypes = [c_void_p, c_void_p]
    _kernel.CloseHandle.argtypes = [c_void_p]

    class WindowsTransport:
        """An open handle. Raises as `open_transport` says."""

        def __init__(self, device: str | None = None) -> None:
            path = device or WINDOWS_DEVICE
            handle = _kernel.CreateFileW(
                path, _READ_WRITE, 0, None, _OPEN_EXISTING, _OVERLAPPED, None
            )
            if handle == _INVALID_HANDLE:
                code = get_last_error()
                if code == _DENIED:
                    raise DriverForbidden(f"{path} may not be opened by this user: run elevated")
                raise DriverAbsent(f"{path} cannot be opened ({WinError(code)}): start the driver")
            self._handle: int | None = handle

        def call(self, function: Function, frame: Structure) -> None:
            size = sizeof(frame)
            given = wintypes.DWORD(0)
            # an event of its own, so that threads do not take each other's answers
            state = _Overlapped(event=_kernel.CreateEventW(None, True, False, None))
            try:
                good = _kernel.DeviceIoControl(
                    *(self._handle, function.windows, byref(frame), size, byref(frame), size),
                    *(byref(given), byref(state)),
                )
                if not good and get_last_error() == _PENDING:
                    good = self._wait(state, given)
                code = 0 if good else get_last_error()
            finally:
                _kernel.CloseHandle(state.event)
            if code:
                status = WIN32.get(code)
                if status is None:
                    raise DriverError(f"{function.name}: {WinError(code)}")
                raise refused(function.name, status)

        def _wait(self, state: _Overlapped, given: wintypes.DWORD) -> bool:
            """Until the driver has answered; what interrupts it cancels the call first."""
            try:
                return bool(
                    _kernel.GetOverlappedResult(self._handle, byref(state), byref(given), True)
                )
            except BaseException:
                _kernel.CancelIoEx(self._handle, byref(state))
                _kernel.GetOverlappedResult(self._handle, byref(state), byref(given), True)
                raise

        def cancel(self) -> None:
            """End every wait of this handle, in whichever thread; each raises `DriverCancelled`."""
            _kernel.CancelIoEx(self._handle, None)

        def map(self, place: PoolMap) -> mmap.mmap:
            try:
                return mmap.mmap(-1, place.bytes, tagname=text_of(place.name))
            except OSError as error:
                message = f"buffer {place.handle} cannot be mapped: {error}"
                raise DriverError(message, Status.MEMORY) from error

        def fileno(self) -> int:
            return -1

        def close(self) -> None:
            if self._handle is not None:
                _kernel.CloseHandle(self._handle)
                self._handle = None
