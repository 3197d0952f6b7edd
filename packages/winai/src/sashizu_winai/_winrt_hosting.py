"""Our agents as App Actions: `IActionProvider`, implemented for Windows.

Unverified on Windows, like `_winrt`. Windows starts the program that the package names, which
registers the class; then each invocation comes in a thread of Windows.
"""

from __future__ import annotations

import ctypes
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from uuid import UUID

import anyio
from winrt.runtime.interop import hresult_error
from winrt.windows.ai.actions import ActionInvocationContext, ActionInvocationResult
from winrt.windows.ai.actions.provider import IActionProvider
from winrt.windows.foundation import AsyncActionCompletedHandler, AsyncStatus, HResult, IAsyncAction

from sashizu_winai._winrt_classes import registered
from sashizu_winai._winrt_entities import entity_from, entity_to
from sashizu_winai.apartment import Apartment
from sashizu_winai.capabilities import Capability, Probe
from sashizu_winai.errors import error_of
from sashizu_winai.hosting.calls import ActionProvider, HostedAnswer, HostedCall
from sashizu_winai.hosting.running import HostedCalls, HostedRun, RunState

__all__ = ["hosting_open", "probe_hosting"]

_OPERATION = "provide actions"
_INSUFFICIENT_BUFFER = 122
_RESULTS = {
    "success": ActionInvocationResult.SUCCESS,
    "user_canceled": ActionInvocationResult.USER_CANCELED,
    "unsupported": ActionInvocationResult.UNSUPPORTED,
    "unavailable": ActionInvocationResult.UNAVAILABLE,
}
_STATES = {
    "started": AsyncStatus.STARTED,
    "completed": AsyncStatus.COMPLETED,
    "canceled": AsyncStatus.CANCELED,
    "error": AsyncStatus.ERROR,
}


def probe_hosting() -> Probe:
    """Whether this process has the identity of a package, which Windows asks of providers.

    Raises:
        WindowsAiError: it has none.
    """
    length = ctypes.c_uint32(0)
    code = ctypes.WinDLL("kernel32").GetCurrentPackageFullName(ctypes.byref(length), None)
    if code not in (0, _INSUFFICIENT_BUFFER):
        raise error_of("probe actions_provider", code)
    reason = "the process has the identity of a package"
    return Probe(Capability.ACTIONS_PROVIDER, "ready", reason)


@asynccontextmanager
async def hosting_open(
    apartment: Apartment, provider: ActionProvider, clsid: UUID
) -> AsyncIterator[None]:
    """Carry out what Windows asks of the class; ends what is at work when it is closed."""
    async with anyio.create_task_group() as group:
        calls = HostedCalls(group, provider)
        async with registered(apartment, _OPERATION, clsid, lambda: _Provider(apartment, calls)):
            yield
        group.cancel_scope.cancel()


class _Provider(IActionProvider):
    """What Windows makes of the class."""

    def __init__(self, apartment: Apartment, calls: HostedCalls) -> None:
        self._apartment = apartment
        self._calls = calls

    def invoke_async(self, context: ActionInvocationContext, /) -> IAsyncAction:
        inputs = {one.name: entity_from(one.entity) for one in context.get_input_entities()}
        call = HostedCall(context.action_id, inputs, context.invoker_app_user_model_id)

        async def deliver(answer: HostedAnswer) -> None:
            await self._apartment.call("answer an action", _answer, context, answer)

        return _Invocation(self._calls.begin(call, deliver))


def _answer(context: ActionInvocationContext, answer: HostedAnswer) -> None:
    for name, entity in answer.outputs.items():
        context.set_output_entity(name, entity_to(entity, context.entity_factory))
    if answer.hresult:
        code = answer.hresult
        context.extended_error = HResult(code - (1 << 32) if code & 0x80000000 else code)
    context.result = _RESULTS[answer.status]


class _Invocation(IAsyncAction):
    """One invocation, as Windows looks at it."""

    def __init__(self, run: HostedRun) -> None:
        self._run = run
        self._completed: AsyncActionCompletedHandler | None = None

    @property
    def id(self) -> int:
        return self._run.id

    @property
    def status(self) -> AsyncStatus:
        return _STATES[self._run.state]

    @property
    def error_code(self) -> HResult:
        code = self._run.hresult
        return HResult(code - (1 << 32) if code & 0x80000000 else code)

    def cancel(self) -> None:
        self._run.cancel()

    def close(self) -> None:
        """There is nothing to give back."""

    def get_results(self) -> None:
        if self._run.state == "error":
            raise hresult_error(self.error_code)

    @property
    def completed(self) -> AsyncActionCompletedHandler | None:
        return self._completed

    @completed.setter
    def completed(self, value: AsyncActionCompletedHandler) -> None:
        self._completed = value

        def tell(state: RunState) -> None:
            value(self, _STATES[state])

        self._run.on_end(tell)
