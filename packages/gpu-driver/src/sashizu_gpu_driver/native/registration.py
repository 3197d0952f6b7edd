"""A runtime that the driver knows of, on a handle of its own."""

from __future__ import annotations

import threading

from sashizu_core.devices import PathAdvice

from sashizu_gpu_driver.native.driver import NativeDriver
from sashizu_gpu_driver.native.errors import DriverError, DriverNotReady, DriverUnknown

__all__ = ["NativeRegistration"]


class NativeRegistration:
    """Registers at once, and takes the handle over: the registration ends with it."""

    def __init__(self, driver: NativeDriver, name: str, paths: frozenset[str]) -> None:
        """Register.

        Raises:
            DriverError: the driver refuses, or the name or a way is not one.
        """
        self._driver: NativeDriver | None = driver
        self._lock = threading.Lock()
        try:
            self._pid = driver.register_runtime(name, paths)
        except ValueError as error:
            raise DriverError(str(error)) from error

    @property
    def pid(self) -> int:
        return self._pid

    def advise(self, size: int = 0) -> PathAdvice:
        with self._lock:  # a handle that is closed meanwhile may be another one's by then
            if self._driver is None:
                raise DriverNotReady("the registration of this runtime was closed")
            found = self._driver.best_path(size)
            device = "" if found.gpu is None else _id_of(self._driver, found.gpu)
        return PathAdvice(found.path, found.reason, device, found.free_bytes, found.age_s)

    def close(self) -> None:
        with self._lock:
            if self._driver is not None:
                self._driver.close()
                self._driver = None


def _id_of(driver: NativeDriver, index: int) -> str:
    try:
        return driver.gpu(index).id
    except (DriverNotReady, DriverUnknown):  # the collector ended since
        return ""
