"""Calls to COM from an event loop: in threads of their own apartment, with errors of ours.

Nothing here imports a projection, so that all of it runs on every system.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from typing import Any, NoReturn, Protocol, TypeVar, overload

import anyio
import anyio.from_thread
import anyio.to_thread
from anyio.lowlevel import current_token

from sashizu_winai.errors import Missing, error_of

__all__ = ["Apartment", "Operation", "from_any_thread", "translated"]

R = TypeVar("R")
T = TypeVar("T")
R_co = TypeVar("R_co", covariant=True)
_CANCEL_S = 2.0
_SOON_S = 0.02
"""An operation that ends within it needs one way to the event loop instead of two."""
_FAILED = 0x80004005


class Operation(Protocol[R_co]):
    """What all asynchronous operations of WinRT have in common.

    `completed` is set once; it is called with two arguments, in any thread, also at once.
    """

    @property
    def completed(self) -> Any: ...
    @completed.setter
    def completed(self, value: Any) -> None: ...
    def get_results(self) -> R_co: ...
    def cancel(self) -> None: ...


class Apartment:
    """Threads that have entered one kind of apartment.

    Args:
        enter: called once in each thread before anything else.
    """

    def __init__(self, enter: Callable[[], None]) -> None:
        self._enter = enter
        self._entered = threading.local()

    async def call(self, operation: str, function: Callable[..., R], *args: object) -> R:
        """Call in a thread. A call that hangs is left behind when this is cancelled.

        Raises:
            WindowsAiError: it failed.
        """

        def once() -> R:
            with translated(operation):
                if not hasattr(self._entered, "yes"):
                    self._enter()
                    self._entered.yes = True
                return function(*args)

        return await anyio.to_thread.run_sync(once, abandon_on_cancel=True)

    @overload
    async def finished(self, operation: str, begin: Callable[[], Operation[R]]) -> R: ...

    @overload
    async def finished(
        self, operation: str, begin: Callable[[], Operation[R]], collect: Callable[[R], T]
    ) -> T: ...

    async def finished(
        self,
        operation: str,
        begin: Callable[[], Operation[Any]],
        collect: Callable[[Any], Any] = lambda given: given,
    ) -> Any:
        """Begin an asynchronous operation, and wait for what it gives.

        Whoever cancels this cancels the operation, also if it only begins afterwards.

        Args:
            operation: what is asked, for errors.
            begin: begins it, in a thread of the apartment.
            collect: makes of the result what is given here, in the thread that the operation ends
                in: a way to the event loop and back costs more than most results.

        Raises:
            WindowsAiError: it failed.
        """
        done = anyio.Event()
        tell = from_any_thread(done.set)
        running: list[Operation[Any]] = []
        ended: list[Callable[[], Any]] = []
        ready, late, given_up = threading.Event(), threading.Event(), threading.Event()

        def begun() -> None:
            found = begin()
            running.append(found)
            found.completed = lambda _operation, _status: end()
            if given_up.is_set():
                found.cancel()
            elif not ready.wait(_SOON_S):
                late.set()

        def end() -> None:
            try:
                (found,) = running
                with translated(operation):
                    given = collect(found.get_results())
                ended.append(lambda: given)
            except Exception as error:  # noqa: BLE001 - it is raised where it is waited for
                ended.append(_raising(error))
            ready.set()
            if late.is_set():  # else whoever began it takes the end to the event loop too
                tell()

        try:
            await self.call(operation, begun)
            if not ended:
                await done.wait()
        except anyio.get_cancelled_exc_class():
            given_up.set()
            with anyio.move_on_after(_CANCEL_S, shield=True):
                for one in running:
                    await self.call(operation, one.cancel)
            raise
        finally:  # an operation may keep who is told of its end, and would be kept by it
            running.clear()
        return ended[0]()


def _raising(error: Exception) -> Callable[[], NoReturn]:
    def give() -> NoReturn:
        raise error

    return give


def from_any_thread(function: Callable[..., None]) -> Callable[..., None]:
    """The same function, to be called in any thread and run in this event loop."""
    token = current_token()
    loop = threading.get_ident()

    def call(*args: object) -> None:
        if threading.get_ident() == loop:
            function(*args)
            return
        with suppress(RuntimeError):  # the loop has ended, and nobody waits
            anyio.from_thread.run_sync(function, *args, token=token)

    return call


@contextmanager
def translated(operation: str) -> Iterator[None]:
    """What COM says, as errors of ours.

    An object of an older build lacks members, which the projections tell as `AttributeError`.
    """
    try:
        yield
    except OSError as error:
        code = getattr(error, "winerror", None) or error.errno or _FAILED
        raise error_of(operation, code, error.strerror or str(error)) from error
    except AttributeError as error:
        found = f"this build of Windows lacks it: {error}"
        raise Missing(operation, found, remedy="bring Windows up to date") from error
