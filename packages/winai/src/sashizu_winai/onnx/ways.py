"""What a policy means on this machine: which providers are to run a model."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

__all__ = ["CPU", "ProviderPolicy", "Way", "way_of"]

ProviderPolicy = Literal[
    "default",
    "cpu",
    "gpu",
    "npu",
    "directml",
    "cuda",
    "prefer_gpu",
    "prefer_npu",
    "max_performance",
    "max_efficiency",
    "min_power",
]
"""`default` takes what the build prefers. The next five name what has to run the model. The others
leave it to ONNX Runtime, which chooses among all devices by the wish that they name."""

CPU = "CPUExecutionProvider"

_ELSEWHERE = frozenset({CPU, "AzureExecutionProvider"})
"""The CPU, and a service of others: never what a policy means."""

_PROVIDERS: dict[str, frozenset[str]] = {
    "cpu": frozenset(),
    "gpu": frozenset(
        {
            "CUDAExecutionProvider",
            "DmlExecutionProvider",
            "MIGraphXExecutionProvider",
            "NvTensorRTRTXExecutionProvider",
            "ROCMExecutionProvider",
            "TensorrtExecutionProvider",
            "WebGpuExecutionProvider",
        }
    ),
    "npu": frozenset(
        {"QNNExecutionProvider", "OpenVINOExecutionProvider", "VitisAIExecutionProvider"}
    ),
    "directml": frozenset({"DmlExecutionProvider"}),
    "cuda": frozenset({"CUDAExecutionProvider"}),
}
_SELECTIONS: Mapping[str, str] = {
    "prefer_gpu": "PREFER_GPU",
    "prefer_npu": "PREFER_NPU",
    "max_performance": "MAX_PERFORMANCE",
    "max_efficiency": "MAX_EFFICIENCY",
    "min_power": "MIN_OVERALL_POWER",
}
"""The names of ONNX Runtime's `OrtExecutionProviderDevicePolicy`."""


@dataclass(frozen=True, slots=True)
class Way:
    """How a session is opened.

    `providers` are those of the build, in order. `devices` are those of providers that were added
    to the process, by provider; `selection` leaves the choice to ONNX Runtime. At most one of the
    three is not empty. `lacking` says why all are.
    """

    providers: tuple[str, ...] = ()
    devices: tuple[tuple[str, tuple[Any, ...]], ...] = ()
    selection: str = ""
    lacking: str = ""

    @property
    def nowhere(self) -> bool:
        """Whether there is nothing but the CPU."""
        return not (self.providers or self.devices or self.selection)

    def apply(self, ort: Any, options: Any, *, cpu: bool) -> Sequence[str]:
        """Tell the options of a session; gives the providers that it takes as an argument."""
        if self.selection:
            policies = ort.OrtExecutionProviderDevicePolicy
            options.set_provider_selection_policy(getattr(policies, self.selection))
            return ()
        for _, devices in self.devices:
            options.add_provider_for_devices(list(devices), {})
        if self.devices:
            return ()  # the CPU comes last by itself, unless it is forbidden
        return (*self.providers, CPU) if cpu else self.providers


def way_of(ort: Any, policy: str) -> Way:
    """What a policy means with this build, and with the providers that were added to it."""
    if policy in _SELECTIONS:
        return Way(selection=_SELECTIONS[policy])
    known = _PROVIDERS.get(policy)
    built = tuple(ort.get_available_providers())
    meant = [name for name in built if _meant(name, known)]
    added: dict[str, list[Any]] = {}
    for device in ort.get_ep_devices():
        if device.ep_name not in built and _meant(device.ep_name, known):
            added.setdefault(device.ep_name, []).append(device)
    if added and policy != "cpu":
        return Way(devices=tuple((name, tuple(one)) for name, one in added.items()))
    return Way(tuple(meant), lacking="" if meant else f"this build has {', '.join(built)}")


def _meant(name: str, known: frozenset[str] | None) -> bool:
    return name not in _ELSEWHERE and (known is None or name in known)
