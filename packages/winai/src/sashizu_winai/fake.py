"""A Windows AI that needs no Windows: for tests, demonstrations and the work of others.

It answers without any model and carries out three actions of its own. What it says names it.
"""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Callable, Iterator, Mapping, Sequence
from contextlib import asynccontextmanager, contextmanager
from dataclasses import replace
from typing import Any
from uuid import UUID

import anyio
from anyio import lowlevel

from sashizu_winai.backend import Generated, GeneratedStatus
from sashizu_winai.capabilities import Capability, Probe
from sashizu_winai.entities import ActionInfo, ActionInput, ActionOutcome, Entity, Feedback
from sashizu_winai.errors import Missing, NotReady, WindowsAiError
from sashizu_winai.filtering.verdicts import FilteredConnection, MessageFilter, Parties
from sashizu_winai.hosting.calls import ActionProvider, HostedCall
from sashizu_winai.onnx.providers import ExecutionProvider
from sashizu_winai.unlocking import Unlock, judge

__all__ = ["FakeBackend"]

_PACKAGE = "sashizu.fake"
_TEXT = ((ActionInput("text", "text"),),)


def _action(name: str, description: str, available: bool = True) -> ActionInfo:
    return ActionInfo(f"fake.{name}", description, _PACKAGE, available, False, False, _TEXT)


_PROVIDERS = (
    ExecutionProvider("FakeExecutionProvider", "not_present", "", certified=True),
    ExecutionProvider("FakeReadyExecutionProvider", "ready", "/fake/ready.dll", certified=False),
)
_ACTIONS = (
    _action("echo", "Give back the text."),
    _action("upper", "Give back the text in capital letters."),
    _action("hang", "Never end."),
    _action("absent", "Be listed, and unavailable.", available=False),
)


class FakeBackend:
    """Deterministic; the same questions get the same answers.

    Args:
        answer: gives the text for a prompt and the parsed schema, if there is one.
        status: how every generation ends.
        context: how much of a prompt fits, in UTF-16 code units.
        failing: raised by every operation of these capabilities, and told by their probes.
        downloaded: False leaves the model unready until `prepare_model`.
        hangs: whether a generation never goes on after its first piece.
        locked: the token without which the language model is denied; empty for none.
        unlock: what unlocks it.
    """

    name = "fake"

    def __init__(
        self,
        *,
        answer: Callable[[str, Mapping[str, Any] | None], str] | None = None,
        status: GeneratedStatus = GeneratedStatus.COMPLETE,
        context: int = 1 << 16,
        failing: Mapping[Capability, WindowsAiError] | None = None,
        downloaded: bool = True,
        hangs: bool = False,
        locked: str = "",
        unlock: Unlock | None = None,
    ) -> None:
        self._answer = answer or _plain_answer
        self._status = status
        self._context = context
        self._failing = dict(failing or {})
        self._prepared = downloaded
        self._hangs = hangs
        self._locked = locked
        self._unlock = unlock
        self.invoked: list[tuple[str, Mapping[str, Entity], Feedback | None]] = []
        self.cancelled = 0
        self._hosted: dict[UUID, ActionProvider] = {}
        self._filters: dict[UUID, MessageFilter] = {}
        self._execution = {one.name: one for one in _PROVIDERS}

    async def probe(self, capability: Capability) -> Probe:
        if (error := self._failing.get(capability)) is not None:
            return error.probe(capability)
        try:
            self._unlocked(capability)
        except WindowsAiError as refusal:
            return refusal.probe(capability)
        if capability is Capability.LANGUAGE_MODEL and not self._prepared:
            return _unprepared("probe").probe(capability)
        return Probe(capability, "ready", "the fake backend plays it; nothing of Windows is used")

    async def list_actions(self, inputs: Sequence[Entity]) -> list[ActionInfo]:
        await self._begin(Capability.ACTIONS)
        kinds = sorted(str(one.kind) for one in inputs)
        return [
            one
            for one in self._known()
            if not kinds
            or any(sorted(taken.kind for taken in variant) == kinds for variant in one.variants)
        ]

    async def invoke_action(
        self, action_id: str, inputs: Mapping[str, Entity], feedback: Feedback | None
    ) -> ActionOutcome:
        await self._begin(Capability.ACTIONS)
        operation = f"invoke the action {action_id!r}"
        for provider in self._hosted.values():
            if any(one.id == action_id for one in provider.actions):
                return await self._of_provider(provider, action_id, inputs)
        info = next((one for one in _ACTIONS if one.id == action_id), None)
        if info is None:
            raise Missing(operation, "there is no such action", remedy="sashizu winai actions")
        self.invoked.append((action_id, dict(inputs), feedback))
        if not info.available:
            return ActionOutcome(action_id, "unavailable", backend=self.name)
        if action_id == "fake.hang":
            with self._counted():
                await anyio.sleep_forever()
        if {name: str(one.kind) for name, one in inputs.items()} != {"text": "text"}:
            return ActionOutcome(action_id, "unsupported", backend=self.name)
        text = inputs["text"].value
        told = text.upper() if action_id == "fake.upper" else text
        return ActionOutcome(action_id, "success", {"text": Entity("text", told)}, self.name)

    @asynccontextmanager
    async def hosted(self, provider: ActionProvider, clsid: UUID) -> AsyncIterator[None]:
        """What is provided here is listed and invoked like the actions of others."""
        await self._begin(Capability.ACTIONS_PROVIDER)
        self._hosted[clsid] = provider
        try:
            yield
        finally:
            del self._hosted[clsid]

    @asynccontextmanager
    async def filtered(self, judge: MessageFilter, clsid: UUID) -> AsyncIterator[None]:
        await self._begin(Capability.MCP_FILTER)
        self._filters[clsid] = judge
        try:
            yield
        finally:
            del self._filters[clsid]

    async def connect(self, parties: Parties) -> list[FilteredConnection | None]:
        """Have a client talk to a server: what each filter answers."""
        return [await one.connection(parties) for one in self._filters.values()]

    async def execution_providers(self) -> list[ExecutionProvider]:
        await self._begin(Capability.WINDOWS_ML)
        return list(self._execution.values())

    async def ready_provider(self, name: str) -> ExecutionProvider:
        await self._begin(Capability.WINDOWS_ML)
        if name not in self._execution:
            operation = f"prepare the execution provider {name!r}"
            raise Missing(operation, "the catalogue has none of this name", remedy="list them")
        found = self._execution[name]
        if found.state != "ready":
            found = replace(found, state="ready", library=f"/fake/{name}.dll")
            self._execution[name] = found
        return found

    async def prepare_model(self) -> None:
        await self._begin(Capability.LANGUAGE_MODEL)
        self._prepared = True

    async def usable_prompt(self, prompt: str) -> int:
        await self._begin(Capability.LANGUAGE_MODEL)
        return min(self._context, len(prompt.encode("utf-16-le", "surrogatepass")) // 2)

    async def generate(
        self, prompt: str, *, json_schema: str | None, on_text: Callable[[str], None]
    ) -> Generated:
        await self._begin(Capability.LANGUAGE_MODEL)
        if not self._prepared:
            raise _unprepared("generate a text")
        if self._status not in (GeneratedStatus.COMPLETE, GeneratedStatus.INVALID_STRUCTURE):
            return Generated("", self._status)
        text = self._answer(prompt, json.loads(json_schema) if json_schema else None)
        with self._counted():
            for piece in _pieces(text):
                on_text(piece)
                await lowlevel.checkpoint()
                if self._hangs:
                    await anyio.sleep_forever()
        return Generated(text, self._status)

    async def aclose(self) -> None:
        """There is nothing to give back."""

    def _known(self) -> list[ActionInfo]:
        return [*_ACTIONS, *(one for each in self._hosted.values() for one in each.actions)]

    async def _of_provider(
        self, provider: ActionProvider, action_id: str, inputs: Mapping[str, Entity]
    ) -> ActionOutcome:
        with self._counted():
            answer = await provider.invoke(HostedCall(action_id, dict(inputs), _PACKAGE))
        outputs, code = dict(answer.outputs), answer.hresult or None
        return ActionOutcome(action_id, answer.status, outputs, self.name, code)

    async def _begin(self, capability: Capability) -> None:
        await lowlevel.checkpoint()
        if (error := self._failing.get(capability)) is not None:
            raise error
        self._unlocked(capability)

    def _unlocked(self, capability: Capability) -> None:
        if capability is Capability.LANGUAGE_MODEL and self._locked:
            token = "" if self._unlock is None else self._unlock.checked()
            judge("available" if token == self._locked else "unavailable")

    @contextmanager
    def _counted(self) -> Iterator[None]:
        try:
            yield
        except anyio.get_cancelled_exc_class():
            self.cancelled += 1
            raise


def _unprepared(operation: str) -> NotReady:
    return NotReady(operation, "the model is not downloaded", remedy="use it, which downloads it")


def _pieces(text: str) -> Iterator[str]:
    for start in range(0, len(text), 8):
        yield text[start : start + 8]


def _plain_answer(prompt: str, schema: Mapping[str, Any] | None) -> str:
    """What the fake says: the end of the prompt, or the smallest value that fits the schema.

    Where tools may be called, it calls the first one, once.
    """
    told = f"The fake backend of Windows AI was asked: {prompt[-400:]}"
    if schema is None:
        return told
    options = schema.get("anyOf")
    if not options:
        return json.dumps(smallest(schema))
    called = "[tool result" in prompt
    chosen = dict(smallest(options[0 if called or len(options) == 1 else 1]))
    if "answer" in chosen:
        chosen["answer"] = told
    return json.dumps(chosen)


def smallest(schema: Mapping[str, Any]) -> Any:
    """The smallest value that fits the common part of JSON Schema, without bounds and patterns."""
    if "const" in schema:
        return schema["const"]
    if "enum" in schema:
        return schema["enum"][0]
    match schema.get("type"):
        case "object":
            wanted = schema.get("required", ())
            return {name: smallest(schema.get("properties", {}).get(name, {})) for name in wanted}
        case "array":
            return []
        case "integer" | "number":
            return 0
        case "boolean":
            return False
        case "string":
            return ""
        case _:
            return None
