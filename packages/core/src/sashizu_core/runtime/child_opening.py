"""An exit stack that every task of a run may use."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractAsyncContextManager, AsyncExitStack
from types import TracebackType
from typing import Any, Self, TypeVar

import anyio
from anyio.abc import TaskGroup

__all__ = ["OwnedStack"]

T = TypeVar("T")


class _Wish:
    """A context that somebody wants to be entered; `done` is set when it is, or cannot be."""

    __slots__ = ("context", "done", "error", "value")

    def __init__(self, context: AbstractAsyncContextManager[Any]) -> None:
        self.context = context
        self.done = anyio.Event()
        self.value: Any = None
        self.error: BaseException | None = None


class OwnedStack:
    """Enters and leaves contexts in one task, whoever asks for them.

    A context that holds a task group has to be left by the task that entered it, and what a run
    opens late is asked for by tasks that end long before the run does.
    """

    def __init__(self) -> None:
        self._stack = AsyncExitStack()
        self._wanted, self._coming = anyio.create_memory_object_stream[_Wish](1000)
        self._group: TaskGroup = anyio.create_task_group()

    async def __aenter__(self) -> Self:
        await self._group.__aenter__()
        self._group.start_soon(self._own)
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> bool | None:
        self._wanted.close()
        return await self._group.__aexit__(kind, error, trace)

    async def enter_async_context(self, context: AbstractAsyncContextManager[T]) -> T:
        """Enter a context, which is left when the stack is.

        Raises:
            BrokenResourceError: the stack is being left.
        """
        wish = _Wish(context)
        await self._wanted.send(wish)
        await wish.done.wait()
        if wish.error is not None:
            raise wish.error
        value: T = wish.value
        return value

    def callback(self, call: Callable[[], object]) -> None:
        """Have something called when the stack is left."""
        self._stack.callback(call)

    async def _own(self) -> None:
        with self._coming:
            async with self._stack:
                while True:
                    # What is open serves until the run has said its last words.
                    with anyio.CancelScope(shield=True):
                        try:
                            wish = await self._coming.receive()
                        except anyio.EndOfStream:
                            return
                    await self._grant(wish)

    async def _grant(self, wish: _Wish) -> None:
        try:
            wish.value = await self._stack.enter_async_context(wish.context)
        except Exception as error:  # noqa: BLE001 - it is raised where it was asked for
            wish.error = error
        except BaseException as error:
            wish.error = anyio.BrokenResourceError()
            wish.error.__cause__ = error
            raise
        finally:
            wish.done.set()
