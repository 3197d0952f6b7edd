"""Whether ONNX models can be run, and on what; imports ONNX Runtime, which takes a moment."""

from __future__ import annotations

import sys
from typing import Any

from sashizu_winai.capabilities import Capability, Probe

__all__ = ["INSTALL", "onnxruntime", "paths_of_onnx", "probe_directml", "probe_onnx"]

INSTALL = "pip install 'sashizu-winai[onnx]'"

_PATHS = {
    "CUDAExecutionProvider": "cuda",
    "DmlExecutionProvider": "directml",
    "MIGraphXExecutionProvider": "rocm",
    "NvTensorRTRTXExecutionProvider": "cuda",
    "OpenVINOExecutionProvider": "npu",
    "QNNExecutionProvider": "npu",
    "ROCMExecutionProvider": "rocm",
    "TensorrtExecutionProvider": "cuda",
    "VitisAIExecutionProvider": "npu",
}
"""The way to compute that a provider of ONNX Runtime takes."""


def onnxruntime() -> Any:
    """The module.

    Raises:
        ImportError: it is not installed, or a library that it needs is missing.
    """
    import onnxruntime as found

    return found


def probe_onnx() -> Probe:
    """Whether ONNX Runtime is here."""
    try:
        found = onnxruntime()
    except (ImportError, OSError) as error:
        return Probe(Capability.ONNX, "missing", f"ONNX Runtime cannot be loaded: {error}", INSTALL)
    providers = ", ".join(found.get_available_providers())
    return Probe(Capability.ONNX, "ready", f"ONNX Runtime {found.__version__}: {providers}")


def probe_directml(platform: str = sys.platform) -> Probe:
    """Whether this build of ONNX Runtime has DirectML.

    Only opening a session shows whether a device answers.
    """
    if platform != "win32":
        return Probe(
            Capability.DIRECTML,
            "unsupported",
            f"DirectML is part of Windows, and this system is {platform!r}",
            "use the providers that 'onnx' names",
        )
    onnx = probe_onnx()
    if not onnx.ready:
        return Probe(Capability.DIRECTML, onnx.state, onnx.reason, onnx.remedy)
    if "DmlExecutionProvider" not in onnxruntime().get_available_providers():
        return Probe(
            Capability.DIRECTML, "missing", "this ONNX Runtime is built without DirectML", INSTALL
        )
    return Probe(Capability.DIRECTML, "ready", "ONNX Runtime is built with DirectML")


def paths_of_onnx() -> frozenset[str]:
    """The ways to compute of this ONNX Runtime; `cpu` is always one, also where there is none."""
    try:
        providers = onnxruntime().get_available_providers()
    except (ImportError, OSError):
        providers = []
    return frozenset({"cpu", *(_PATHS[one] for one in providers if one in _PATHS)})
