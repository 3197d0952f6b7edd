"""What sashizu-gpu-driver offers: backends of devices, tools that read them, the command `gpu`."""

from __future__ import annotations

from collections.abc import Sequence

from sashizu_core.devices import DeviceSpec
from sashizu_core.hookspecs import hookimpl
from sashizu_core.settings import Settings
from sashizu_core.specs import AdmissionSpec, CommandSpec, ToolSpec

__all__ = ["provide_admission", "register_commands", "register_devices", "register_tools"]


@hookimpl
def register_devices(settings: Settings) -> Sequence[DeviceSpec]:
    from sashizu_gpu_driver.offers import device_specs

    return device_specs(settings)


@hookimpl
def register_tools(settings: Settings) -> Sequence[ToolSpec]:
    from sashizu_gpu_driver.offers import tool_specs

    return tool_specs(settings)


@hookimpl
def register_commands() -> Sequence[CommandSpec]:
    return [CommandSpec("gpu", "Show what GPUs and NPUs do.", "sashizu_gpu_driver.cli:app")]


@hookimpl
def provide_admission(settings: Settings) -> AdmissionSpec:
    from sashizu_gpu_driver.offers import admission_spec

    return admission_spec(settings)
