"""Who carries out what is asked of Windows AI: one protocol for Windows, the fake and nobody."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass
from enum import StrEnum
from typing import Protocol
from uuid import UUID

from sashizu_winai.capabilities import Capability, Probe
from sashizu_winai.entities import ActionInfo, ActionOutcome, Entity, Feedback
from sashizu_winai.filtering.verdicts import MessageFilter
from sashizu_winai.hosting.calls import ActionProvider
from sashizu_winai.onnx.providers import ExecutionProvider

__all__ = ["Backend", "Generated", "GeneratedStatus"]


class GeneratedStatus(StrEnum):
    """How a generation ended; the names are those of Windows."""

    COMPLETE = "complete"
    BLOCKED_BY_POLICY = "blocked_by_policy"
    PROMPT_LARGER_THAN_CONTEXT = "prompt_larger_than_context"
    PROMPT_BLOCKED = "prompt_blocked_by_content_moderation"
    RESPONSE_BLOCKED = "response_blocked_by_content_moderation"
    ERROR = "error"
    UNSUPPORTED_LANGUAGE = "unsupported_language"
    LANGUAGE_MISMATCH = "language_mismatch"
    INVALID_STRUCTURE = "complete_with_invalid_structure"
    UNKNOWN = "unknown"


@dataclass(frozen=True, slots=True)
class Generated:
    """What a generation gave. Windows counts no tokens, so nothing here does."""

    text: str
    status: GeneratedStatus
    hresult: int | None = None


class Backend(Protocol):
    """All of it in one place. Every failure is a `WindowsAiError`.

    Cancelling a call cancels the operation that it waits for.
    """

    @property
    def name(self) -> str: ...

    async def probe(self, capability: Capability) -> Probe:
        """Look at one of those that Windows has to be asked for."""
        ...

    async def list_actions(self, inputs: Sequence[Entity]) -> list[ActionInfo]:
        """All actions, or those that fit the inputs."""
        ...

    async def invoke_action(
        self, action_id: str, inputs: Mapping[str, Entity], feedback: Feedback | None
    ) -> ActionOutcome:
        """Carry out an action; `feedback` is told to it afterwards, where it takes any."""
        ...

    def hosted(self, provider: ActionProvider, clsid: UUID) -> AbstractAsyncContextManager[None]:
        """Have the provider carry out what Windows asks of the class, while this is open."""
        ...

    def filtered(self, judge: MessageFilter, clsid: UUID) -> AbstractAsyncContextManager[None]:
        """Have the filter judge what Windows asks the class about, while this is open."""
        ...

    async def execution_providers(self) -> list[ExecutionProvider]:
        """The execution providers for ONNX models that fit this machine."""
        ...

    async def ready_provider(self, name: str) -> ExecutionProvider:
        """Have one of them made ready, which may download it."""
        ...

    async def prepare_model(self) -> None:
        """Have the language model made ready, which may download it."""
        ...

    async def usable_prompt(self, prompt: str) -> int:
        """How much of a prompt fits the model's context, in UTF-16 code units."""
        ...

    async def generate(
        self, prompt: str, *, json_schema: str | None, on_text: Callable[[str], None]
    ) -> Generated:
        """Answer a prompt, in JSON of a schema if one is given.

        `on_text` is called in the event loop with each piece as it comes. `prepare_model` has to
        have succeeded.
        """
        ...

    async def aclose(self) -> None:
        """Give everything back. Calls after it fail."""
        ...
