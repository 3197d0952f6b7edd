"""The on-device language model of Windows as a `Model`."""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from dataclasses import replace

import anyio
from sashizu_core.bounds import Overhead, bound_of, text_bound
from sashizu_core.errors import Fault, ModelError
from sashizu_core.types import (
    Bound,
    Completion,
    FinishReason,
    Message,
    ModelInfo,
    ModelRequest,
    Usage,
)

from sashizu_winai.backend import Backend, Generated, GeneratedStatus
from sashizu_winai.capabilities import State
from sashizu_winai.errors import Crashed, TimedOut, WindowsAiError
from sashizu_winai.prompt import parsed_answer, prompt_of, schema_of

__all__ = ["WindowsModel"]

MAX_OUTPUT_TOKENS = 4096
SILENCE_S = 60.0
READY_S = 600.0
"""Seconds without a piece of text, and seconds in which the model may be downloaded."""

_FAULTS: dict[GeneratedStatus, tuple[Fault, str]] = {
    GeneratedStatus.PROMPT_LARGER_THAN_CONTEXT: (
        "context_too_long",
        "the prompt does not fit the model's context",
    ),
    GeneratedStatus.BLOCKED_BY_POLICY: ("content_filter", "a policy of this machine blocked it"),
    GeneratedStatus.PROMPT_BLOCKED: ("content_filter", "content moderation blocked the prompt"),
    GeneratedStatus.RESPONSE_BLOCKED: ("content_filter", "content moderation blocked the answer"),
    GeneratedStatus.UNSUPPORTED_LANGUAGE: (
        "invalid_request",
        "the model does not know the language of the prompt",
    ),
    GeneratedStatus.LANGUAGE_MISMATCH: (
        "invalid_request",
        "the languages of the prompt and of its content differ",
    ),
    GeneratedStatus.INVALID_STRUCTURE: (
        "protocol",
        "the answer does not fit the JSON Schema that was asked for",
    ),
    GeneratedStatus.ERROR: ("transport", "the model failed"),
    GeneratedStatus.UNKNOWN: ("protocol", "the model ended in a way that is not known here"),
}


class WindowsModel:
    """One model for all conversations; it works on one call at a time.

    Windows counts no tokens and takes no output cap. So a completion has no usage and counts with
    its bound, and an answer is cut, and its generation cancelled, after as many bytes of UTF-8 as
    the cap has tokens: no token covers less than a byte.

    Args:
        backend: who generates.
        name: the model's full name.
        silence: seconds without a piece of text after which a call fails.
    """

    def __init__(
        self, backend: Backend, name: str = "phi-silica", *, silence: float = SILENCE_S
    ) -> None:
        self._backend = backend
        self._silence = silence
        self._overhead = Overhead()
        self._one = anyio.Lock()
        self._ready = False
        self._info = ModelInfo(
            name, "windows", backend.name, max_output_tokens=MAX_OUTPUT_TOKENS, local=True
        )

    @property
    def info(self) -> ModelInfo:
        return self._info

    def bound(self, request: ModelRequest) -> Bound:
        """Of the text that is really sent: written out, it has more bytes than its messages.

        The schema counts too: nobody says whether Windows makes it a part of the prompt.
        """
        found = bound_of(request, self._overhead, output_cap=_cap(request))
        schema = schema_of(request)
        sent = self._overhead.per_request + text_bound(prompt_of(request))
        sent += 0 if schema is None else text_bound(json.dumps(schema))
        return replace(found, input_tokens=max(found.input_tokens, sent))

    def learn(self, bound: Bound, usage: Usage) -> None:
        self._overhead.learn(bound.input_tokens, usage.input_tokens)

    async def count(self, request: ModelRequest) -> int | None:  # noqa: ARG002 - as `Model` has it
        return None

    async def complete(
        self, request: ModelRequest, *, on_text: Callable[[str], None] | None = None
    ) -> Completion:
        """Wait for the calls before this one, look whether the prompt fits, and generate.

        Raises:
            ModelError: `context_too_long`, `content_filter`, or as the fault says.
        """
        prompt, schema = prompt_of(request), schema_of(request)
        started = time.monotonic_ns()
        shown = on_text if schema is None else None
        try:
            async with self._one:
                await self._fits(prompt)
                hearing = _Hearing(_cap(request), shown, self._silence, started)
                given = await hearing.generate(
                    self._backend, prompt, None if schema is None else json.dumps(schema)
                )
        except WindowsAiError as error:
            sent = isinstance(error, _SENT)
            raise ModelError(str(error), fault=_fault(error), sent=sent) from error
        return self._completion(request, given, hearing, on_text)

    async def _fits(self, prompt: str) -> None:
        if not self._ready:
            with anyio.move_on_after(READY_S):
                await self._backend.prepare_model()
                self._ready = True
            if not self._ready:
                raise TimedOut("prepare the language model", f"not ready after {READY_S:g} s")
        length = len(prompt.encode("utf-16-le", "surrogatepass")) // 2
        usable = await self._backend.usable_prompt(prompt)
        if usable < length:
            raise ModelError(
                f"the prompt has {length} UTF-16 units, and the model's context takes {usable}",
                fault="context_too_long",
                sent=False,
            )

    def _completion(
        self,
        request: ModelRequest,
        given: Generated | None,
        hearing: _Hearing,
        on_text: Callable[[str], None] | None,
    ) -> Completion:
        if given is None:
            structured = schema_of(request) is not None
            cut = Message("assistant", "" if structured else hearing.text)
            return self._completed(cut, "length", hearing)
        if given.status is not GeneratedStatus.COMPLETE:
            fault, told = _FAULTS[given.status]
            code = "" if not given.hresult else f" (0x{given.hresult:08X})"
            raise ModelError(f"{self._info.name}: {told}{code}", fault=fault, sent=True)
        message = parsed_answer(hearing.text, request)
        if message is None:
            fault, told = _FAULTS[GeneratedStatus.INVALID_STRUCTURE]
            raise ModelError(f"{self._info.name}: {told}", fault=fault, sent=True)
        if schema_of(request) is not None and on_text is not None and message.content:
            on_text(message.content)
        return self._completed(message, "tool_calls" if message.tool_calls else "stop", hearing)

    def _completed(self, message: Message, finish: FinishReason, hearing: _Hearing) -> Completion:
        name, backend = self._info.name, self._backend.name
        return Completion(message, None, finish, name, ttft_ns=hearing.ttft_ns, backend=backend)


class _Hearing:
    """Hears one generation: passes pieces on, ends it at the cap, and when it falls silent."""

    def __init__(
        self, cap: int, on_text: Callable[[str], None] | None, silence: float, started: int
    ) -> None:
        self._left = cap
        self._on_text = on_text
        self._silence = silence
        self._started = started
        self._pieces: list[str] = []
        self._full = False
        self._scope = anyio.CancelScope()
        self.ttft_ns: int | None = None

    @property
    def text(self) -> str:
        return "".join(self._pieces)

    async def generate(self, backend: Backend, prompt: str, schema: str | None) -> Generated | None:
        """What was generated; None if it was cut at the cap.

        Raises:
            WindowsAiError: it failed, or fell silent.
        """
        given = None
        with self._scope:
            self._scope.deadline = anyio.current_time() + self._silence
            given = await backend.generate(prompt, json_schema=schema, on_text=self._hear)
            self._end(given)
        if self._full:
            return None
        if given is None:
            raise TimedOut("generate a text", f"silent for {self._silence:g} s; it was cancelled")
        return given

    def _hear(self, piece: str) -> None:
        if self._full or not piece:
            return
        if self.ttft_ns is None:
            self.ttft_ns = time.monotonic_ns() - self._started
        self._scope.deadline = anyio.current_time() + self._silence
        whole = piece.encode("utf-8", "replace").decode()  # a half of a character is no text
        fitting = whole.encode()[: self._left].decode("utf-8", "ignore")
        self._left -= len(fitting.encode())
        if fitting:
            self._pieces.append(fitting)
            if self._on_text is not None:
                self._on_text(fitting)
        if len(fitting) < len(whole):
            self._full = True
            self._scope.cancel()

    def _end(self, given: Generated) -> None:
        """Hear what was given at the end and not piece by piece."""
        if given.text.startswith(self.text):
            self._hear(given.text[len(self.text) :])


_SENT = (TimedOut, Crashed)
_OF_STATE: dict[State, Fault] = {
    "missing": "not_found",
    "denied": "auth",
    "unsupported": "not_found",
}


def _fault(error: WindowsAiError) -> Fault:
    if isinstance(error, TimedOut):
        return "timeout"
    if isinstance(error, Crashed):
        return "transport"
    return _OF_STATE.get(error.state, "overloaded")


def _cap(request: ModelRequest) -> int:
    asked = request.max_output_tokens
    return MAX_OUTPUT_TOKENS if asked is None else min(asked, MAX_OUTPUT_TOKENS)
