"""The backend of systems without Windows AI: it says why, and fails with the same words."""

from __future__ import annotations

import sys
from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractAsyncContextManager
from uuid import UUID

from sashizu_winai.backend import Generated
from sashizu_winai.capabilities import Capability, Probe
from sashizu_winai.entities import ActionInfo, ActionOutcome, Entity, Feedback
from sashizu_winai.errors import Missing, Unsupported, WindowsAiError
from sashizu_winai.filtering.verdicts import MessageFilter
from sashizu_winai.hosting.calls import ActionProvider
from sashizu_winai.onnx.providers import ExecutionProvider

__all__ = ["UnavailableBackend"]

_NEEDS = {
    Capability.ACTIONS: "App Actions are part of Windows 11, build 26100 or newer",
    Capability.ACTIONS_PROVIDER: (
        "programs provide App Actions on Windows 11, build 26100 or newer, from a package"
    ),
    Capability.WINDOWS_ML: (
        "the catalogue of execution providers is part of the Windows App Runtime"
    ),
    Capability.MCP_FILTER: "filters of MCP messages are an experiment of Windows 11",
    Capability.LANGUAGE_MODEL: (
        "the on-device language model is part of Windows 11 25H2 on machines with a fitting NPU "
        "or GPU"
    ),
}


class UnavailableBackend:
    """Nothing works here, and `why` says what is wrong with the system as a whole.

    Args:
        why: what was found; empty stands for a system that is not Windows.
        remedy: what to do about it.
        missing: whether it could be installed.
    """

    name = "unavailable"

    def __init__(self, why: str = "", *, remedy: str = "", missing: bool = False) -> None:
        self._why = why or f"this system is {sys.platform!r}, not Windows"
        self._remedy = remedy or ("" if why else "use Windows 11, or another model or tool")
        self._error = Missing if missing else Unsupported

    async def probe(self, capability: Capability) -> Probe:
        return self._refusal(capability, "probe").probe(capability)

    async def list_actions(self, inputs: Sequence[Entity]) -> list[ActionInfo]:
        raise self._refusal(Capability.ACTIONS, "list the actions")

    async def invoke_action(
        self, action_id: str, inputs: Mapping[str, Entity], feedback: Feedback | None
    ) -> ActionOutcome:
        raise self._refusal(Capability.ACTIONS, f"invoke the action {action_id!r}")

    def hosted(self, provider: ActionProvider, clsid: UUID) -> AbstractAsyncContextManager[None]:
        return _Refused(self._refusal(Capability.ACTIONS_PROVIDER, "provide actions"))

    def filtered(self, judge: MessageFilter, clsid: UUID) -> AbstractAsyncContextManager[None]:
        return _Refused(self._refusal(Capability.MCP_FILTER, "filter MCP messages"))

    async def execution_providers(self) -> list[ExecutionProvider]:
        raise self._refusal(Capability.WINDOWS_ML, "list the execution providers")

    async def ready_provider(self, name: str) -> ExecutionProvider:
        raise self._refusal(Capability.WINDOWS_ML, f"prepare the execution provider {name!r}")

    async def prepare_model(self) -> None:
        raise self._refusal(Capability.LANGUAGE_MODEL, "prepare the language model")

    async def usable_prompt(self, prompt: str) -> int:
        raise self._refusal(Capability.LANGUAGE_MODEL, "measure a prompt")

    async def generate(
        self, prompt: str, *, json_schema: str | None, on_text: Callable[[str], None]
    ) -> Generated:
        raise self._refusal(Capability.LANGUAGE_MODEL, "generate a text")

    async def aclose(self) -> None:
        """There is nothing to give back."""

    def _refusal(self, capability: Capability, operation: str) -> WindowsAiError:
        return self._error(operation, f"{_NEEDS[capability]}, and {self._why}", remedy=self._remedy)


class _Refused(AbstractAsyncContextManager[None]):
    """What cannot be opened."""

    def __init__(self, error: WindowsAiError) -> None:
        self._error = error

    async def __aenter__(self) -> None:
        raise self._error

    async def __aexit__(self, *_exc: object) -> None:
        """It was never open."""
