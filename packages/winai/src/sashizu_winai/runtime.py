"""The way to Windows AI: one object that probes, invokes and answers, in bounded time."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Mapping, Sequence
from collections.abc import Set as AbstractSet
from contextlib import asynccontextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Self, TypeVar

import anyio
import anyio.to_thread
from sashizu_core.devices import DeviceSpec, Snapshot

from sashizu_winai.accelerators import Accelerators, Registration
from sashizu_winai.backend import Backend
from sashizu_winai.capabilities import Capability, CapabilityReport, Probe
from sashizu_winai.choosing import backend_of_this_system
from sashizu_winai.entities import ActionInfo, ActionOutcome, Entity, Feedback
from sashizu_winai.errors import Denied, Missing, NotReady, TimedOut, Unsupported, WindowsAiError
from sashizu_winai.onnx.probing import paths_of_onnx, probe_directml, probe_onnx
from sashizu_winai.registry.odr import probe_registry

if TYPE_CHECKING:
    from sashizu_winai.model import WindowsModel
    from sashizu_winai.onnx.providers import ExecutionProvider
    from sashizu_winai.onnx.session import OnnxSession, ProviderPolicy

__all__ = ["WindowsAiRuntime"]

_OF_THIS_MACHINE = {
    Capability.ONNX: probe_onnx,
    Capability.DIRECTML: probe_directml,
    Capability.MCP_REGISTRY: probe_registry,
}
"""What is looked at without a backend."""

_CLOSE_S = 10.0
_NAME = "sashizu-winai"

T = TypeVar("T")


class WindowsAiRuntime:
    """Made by `create` or `open`; `aclose` ends it.

    Every operation ends within its timeout, and a timeout cancels what Windows does. Only what
    drivers of devices are asked takes as long as they do.
    """

    def __init__(
        self, backend: Backend, timeout: float, devices: Sequence[DeviceSpec] = ()
    ) -> None:
        self.backend = backend
        self._timeout = timeout
        self._accelerators = Accelerators(devices)
        self._registration: Registration | None = None

    @classmethod
    async def create(
        cls,
        *,
        backend: Backend | None = None,
        devices: Sequence[DeviceSpec] = (),
        require: AbstractSet[Capability] = frozenset(),
        timeout: float = 10.0,  # noqa: ASYNC109 - part of what is asked
    ) -> Self:
        """Open the backend of this system, or take the given one.

        Args:
            backend: who does the work; None for the one of this system.
            devices: backends of devices, as plugins offer them (`Registry.devices`); the driver is
                the one that is called `native`.
            require: what has to be ready.
            timeout: seconds that a probe or a listing may take.

        Raises:
            WindowsAiError: something required is not ready: `Missing`, `Denied`, `Unsupported` or
                `NotReady`, with the remedy of its probe.
        """
        chosen = backend if backend is not None else backend_of_this_system()
        runtime = cls(chosen, timeout, devices)
        lacking = (await runtime.probe()).lacking(require) if require else ()
        if lacking:
            await runtime.aclose()
            raise _refusal(lacking[0])
        return runtime

    @classmethod
    @asynccontextmanager
    async def open(
        cls, *, backend: Backend | None = None, devices: Sequence[DeviceSpec] = ()
    ) -> AsyncIterator[Self]:
        """`create` and `aclose` around a block."""
        runtime = await cls.create(backend=backend, devices=devices)
        try:
            yield runtime
        finally:
            await runtime.aclose()

    async def probe(self) -> CapabilityReport:
        """Look at every capability; never raises for what it finds."""
        return CapabilityReport(
            self.backend.name, tuple([await self.probe_one(one) for one in Capability])
        )

    async def list_actions(self, inputs: Sequence[Entity] = ()) -> list[ActionInfo]:
        """The actions of this machine, or those that fit the inputs, sorted by id.

        Raises:
            WindowsAiError: the catalogue cannot be read.
        """
        found = await _bounded(
            "list the actions", self._timeout, lambda: self.backend.list_actions(inputs)
        )
        return sorted(found, key=lambda one: one.id)

    async def invoke_action(
        self,
        action_id: str,
        inputs: Mapping[str, Entity],
        *,
        timeout: float,  # noqa: ASYNC109 - a timeout has an error of its own
        feedback: Feedback | None = None,
    ) -> ActionOutcome:
        """Carry out an action.

        Args:
            action_id: as `list_actions` has it.
            inputs: entities by the names that one of its variants takes.
            timeout: seconds; after them the operation is cancelled.
            feedback: told to the action when it has succeeded, where it takes any.

        Raises:
            TimedOut: it did not end in time; what it does may have happened.
            WindowsAiError: it cannot be carried out.
        """
        return await _bounded(
            f"invoke the action {action_id!r}",
            timeout,
            lambda: self.backend.invoke_action(action_id, inputs, feedback),
        )

    def language_model(self) -> WindowsModel:
        """The on-device language model as a `Model`. Nothing is asked of it yet."""
        from sashizu_winai.model import WindowsModel

        return WindowsModel(self.backend)

    async def open_session(
        self, model: Path | bytes, *, policy: ProviderPolicy = "default", allow_cpu: bool = True
    ) -> OnnxSession:
        """Open an ONNX model; see `onnx.session.open_session`. Works on every system."""
        from sashizu_winai.onnx.session import open_session

        return await open_session(model, policy=policy, allow_cpu=allow_cpu)

    async def execution_providers(self) -> list[ExecutionProvider]:
        """The execution providers for ONNX models that Windows has for this machine.

        Raises:
            WindowsAiError: the catalogue cannot be read.
        """
        return await _bounded(
            "list the execution providers", self._timeout, self.backend.execution_providers
        )

    async def add_providers(
        self,
        names: Sequence[str] | None = None,
        *,
        timeout: float = 600.0,  # noqa: ASYNC109 - a timeout has an error of its own
    ) -> tuple[ExecutionProvider, ...]:
        """Make execution providers ready, which may download them, and have sessions use them.

        Args:
            names: which ones; None for all that Microsoft has certified.
            timeout: seconds for all of them.

        Raises:
            TimedOut: it took longer.
            WindowsAiError: see `onnx.catalogue.add_providers`.
        """
        from sashizu_winai.onnx.catalogue import add_providers

        return await _bounded(
            "add execution providers", timeout, lambda: add_providers(self.backend, names)
        )

    async def gpu_stats(self) -> Snapshot:
        """What every GPU and NPU does, each value with its source and age, or why it is unknown.

        What was measured at most a second ago is not measured again. Where the native driver is
        among the devices, it is told too.
        """
        return await self._accelerators.stats()

    async def register_with_kernel(self, paths: AbstractSet[str] | None = None) -> Registration:
        """Register this process with the native driver; it ends an earlier registration of this.

        Args:
            paths: the ways to compute: `cpu`, `directml`, `npu`, `cuda`, `rocm`, `level-zero`.
                None for those that this ONNX Runtime is built with.

        Raises:
            Missing, Denied: there is no driver, or it may not be used.
            Failed: it refuses.
        """
        if paths is None:
            paths = await anyio.to_thread.run_sync(paths_of_onnx)
        earlier, self._registration = self._registration, None
        if earlier is not None:
            await earlier.aclose()
        self._registration = await self._accelerators.register(_NAME, frozenset(paths))
        return self._registration

    async def aclose(self) -> None:
        """Give everything back, the registration too."""
        with anyio.move_on_after(_CLOSE_S, shield=True):
            await self.backend.aclose()
        with anyio.CancelScope(shield=True):
            if self._registration is not None:
                await self._registration.aclose()
            await self._accelerators.aclose()

    async def probe_one(self, capability: Capability) -> Probe:
        """Look at one capability; never raises for what it finds."""
        if (looked := _OF_THIS_MACHINE.get(capability)) is not None:
            return await anyio.to_thread.run_sync(looked)
        if capability is Capability.KERNEL_DRIVER:
            return await self._accelerators.probe()
        try:
            return await _bounded(
                f"probe {capability}", self._timeout, lambda: self.backend.probe(capability)
            )
        except WindowsAiError as error:
            return error.probe(capability)


async def _bounded(operation: str, seconds: float, call: Callable[[], Awaitable[T]]) -> T:
    """What the call gives, in time.

    Raises:
        TimedOut: it took longer, and was cancelled.
    """
    with anyio.move_on_after(seconds):
        return await call()
    raise TimedOut(
        operation,
        f"no answer within {seconds:g} s; it was cancelled",
        remedy="ask again with more time; the component may hang",
    )


def _refusal(probe: Probe) -> WindowsAiError:
    kinds: Iterable[type[WindowsAiError]] = (Missing, Denied, Unsupported)
    kind = next((one for one in kinds if one.state == probe.state), NotReady)
    return kind(
        f"require {probe.capability}", probe.reason, hresult=probe.hresult, remedy=probe.remedy
    )
