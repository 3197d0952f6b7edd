"""What Windows AI can do on this machine, and if it cannot, why and what to do about it."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from enum import StrEnum
from typing import Any, Literal

__all__ = ["Capability", "CapabilityReport", "Probe", "State"]

State = Literal["ready", "not_ready", "denied", "unsupported", "missing"]
"""`not_ready` can become ready by itself or by a download; `denied` is for want of identity,
consent or a token; `unsupported` is what this system can never do; `missing` is not
installed."""


class Capability(StrEnum):
    """What can be asked for."""

    ACTIONS = "actions"
    ACTIONS_PROVIDER = "actions_provider"
    LANGUAGE_MODEL = "language_model"
    ONNX = "onnx"
    DIRECTML = "directml"
    KERNEL_DRIVER = "kernel_driver"
    WINDOWS_ML = "windows_ml"
    MCP_FILTER = "mcp_filter"
    MCP_REGISTRY = "mcp_registry"


@dataclass(frozen=True, slots=True)
class Probe:
    """One capability as it was found.

    `hresult` is the unsigned 32-bit code that Windows answered with, None where none was involved.
    `reason` says what was found, `remedy` what to do; `remedy` is empty where nothing can be done
    or needs to be.
    """

    capability: Capability
    state: State
    reason: str
    remedy: str = ""
    hresult: int | None = None

    @property
    def ready(self) -> bool:
        return self.state == "ready"

    def as_json(self) -> dict[str, Any]:
        """For programs; the HRESULT as `0x80040154`, or null."""
        code = None if self.hresult is None else f"0x{self.hresult:08X}"
        return {
            "capability": self.capability.value,
            "state": self.state,
            "hresult": code,
            "reason": self.reason,
            "remedy": self.remedy,
        }


@dataclass(frozen=True, slots=True)
class CapabilityReport:
    """One probe for each capability. `backend` is the name of the one that was asked."""

    backend: str
    probes: tuple[Probe, ...]

    def of(self, capability: Capability) -> Probe:
        """The probe of one capability."""
        return next(probe for probe in self.probes if probe.capability is capability)

    def lacking(self, wanted: Iterable[Capability]) -> tuple[Probe, ...]:
        """The probes of those that are not ready."""
        return tuple(probe for one in wanted if not (probe := self.of(one)).ready)

    def as_json(self) -> dict[str, Any]:
        """For programs."""
        return {
            "backend": self.backend,
            "capabilities": [probe.as_json() for probe in self.probes],
        }
