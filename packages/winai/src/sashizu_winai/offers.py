"""The specs of this package; nothing is opened here."""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from functools import partial

from sashizu_core.devices import DeviceSpec
from sashizu_core.protocols import Model, Tool
from sashizu_core.settings import Settings
from sashizu_core.specs import ModelSpec, Readiness, ToolSpec

from sashizu_winai.capabilities import Capability
from sashizu_winai.settings import WinAiSettings, winai_settings

__all__ = ["model_specs", "tool_specs"]


def model_specs(settings: Settings) -> Sequence[ModelSpec]:
    """The on-device language model.

    Raises:
        ConfigError: the table `[winai]` is wrong.
    """
    table = winai_settings(settings)

    @asynccontextmanager
    async def open_(name: str) -> AsyncIterator[Model]:
        from sashizu_winai.choosing import chosen_backend
        from sashizu_winai.model import WindowsModel
        from sashizu_winai.runtime import WindowsAiRuntime
        from sashizu_winai.unlocking import unlock_of

        backend, devices = chosen_backend(table.fake, unlock_of(table)), _with_driver(settings)
        async with WindowsAiRuntime.open(backend=backend, devices=devices) as runtime:
            if (await runtime.probe_one(Capability.KERNEL_DRIVER)).ready:
                await runtime.register_with_kernel()  # for as long as the model is open
            yield WindowsModel(runtime.backend, name)

    summary = "the language model of Windows itself, on this device"
    probe = partial(_readiness, Capability.LANGUAGE_MODEL, table)
    return [ModelSpec("phi-silica", summary, open_, probe=probe)]


def _with_driver(settings: Settings) -> Sequence[DeviceSpec]:
    """All backends of devices, where the native driver is wanted among them; else none."""
    from sashizu_core.plugins import open_registry

    from sashizu_winai.accelerators import DRIVER

    devices = open_registry(settings).devices
    return list(devices.values()) if DRIVER in devices else []


def tool_specs(settings: Settings) -> Sequence[ToolSpec]:
    """The tool that invokes App Actions."""
    table = winai_settings(settings)

    @asynccontextmanager
    async def open_() -> AsyncIterator[Tool]:
        from sashizu_winai.choosing import chosen_backend
        from sashizu_winai.runtime import WindowsAiRuntime
        from sashizu_winai.tool import WindowsAction

        async with WindowsAiRuntime.open(backend=chosen_backend(table.fake)) as runtime:
            yield WindowsAction(runtime, table)

    probe = partial(_readiness, Capability.ACTIONS, table)
    return [ToolSpec("windows_action", "invoke an App Action of Windows", open_, probe=probe)]


async def _readiness(capability: Capability, table: WinAiSettings) -> Readiness:
    """Whether a capability can be used now, and who would carry it out."""
    from sashizu_winai.choosing import chosen_backend
    from sashizu_winai.runtime import WindowsAiRuntime
    from sashizu_winai.unlocking import unlock_of

    backend = chosen_backend(table.fake, unlock_of(table))
    async with WindowsAiRuntime.open(backend=backend) as runtime:
        found = await runtime.probe_one(capability)
        return Readiness(found.ready, found.reason, found.remedy, runtime.backend.name)
