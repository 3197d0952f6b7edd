"""The execution providers that Windows brings for ONNX models."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal

__all__ = ["ExecutionProvider", "ProviderState"]

ProviderState = Literal["ready", "not_ready", "not_present"]
"""`not_ready` is on the machine and has to be prepared, `not_present` has to be downloaded."""


@dataclass(frozen=True, slots=True)
class ExecutionProvider:
    """One of the catalogue. `library` is its absolute path, empty until it is ready.

    `name` is such as `QNNExecutionProvider`; `certified` says that Microsoft has tested it.
    """

    name: str
    state: ProviderState
    library: str
    certified: bool

    def as_json(self) -> dict[str, Any]:
        return {
            "name": self.name,
            "state": self.state,
            "library": self.library,
            "certified": self.certified,
        }
