"""The backend that asks Windows itself, through the PyWinRT projections.

Unverified: it is written and type-checked against the projections that are made from Microsoft's
metadata, and has not run on Windows. This is the one module that imports them; nothing of theirs
leaves it, and every `OSError` and every missing member becomes a `WindowsAiError`.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from enum import IntEnum
from typing import Any, Protocol, TypeVar

import anyio
import anyio.from_thread
import anyio.to_thread
from anyio.lowlevel import current_token
from winrt.microsoft.windows.ai import AIFeatureReadyResultState, AIFeatureReadyState
from winrt.microsoft.windows.ai.text import LanguageModel, LanguageModelOptions
from winrt.runtime import ApartmentType, init_apartment
from winrt.system import Array
from winrt.windows.ai.actions import (
    ActionEntity,
    ActionEntityFactory,
    ActionFeedbackKind,
    ActionInvocationContext,
    ActionInvocationResult,
    ActionRuntime,
    DocumentActionEntity,
    FileActionEntity,
    PhotoActionEntity,
    StreamingTextActionEntity,
    TextActionEntity,
    UriActionEntity,
)
from winrt.windows.ai.actions.hosting import ActionDefinition, ActionOverload
from winrt.windows.foundation import Uri

from sashizu_winai.backend import Generated, GeneratedStatus
from sashizu_winai.capabilities import Capability, Probe, State
from sashizu_winai.entities import (
    ActionInfo,
    ActionInput,
    ActionOutcome,
    Entity,
    EntityKind,
    Feedback,
    OutcomeStatus,
)
from sashizu_winai.errors import Failed, Missing, NotReady, error_of

__all__ = ["PyWinRtBackend"]

R = TypeVar("R")
R_co = TypeVar("R_co", covariant=True)
_CANCEL_S = 2.0
_UPDATE = "bring Windows up to date"

# Numbers that a newer Windows adds become members of their own, so these are asked with `get`.
_STATES: dict[int, tuple[State, str, str]] = {
    AIFeatureReadyState.READY: ("ready", "the model is ready", ""),
    AIFeatureReadyState.NOT_READY: (
        "not_ready",
        "the model is not downloaded or not prepared",
        "use it once, which prepares it",
    ),
    AIFeatureReadyState.NOT_SUPPORTED_ON_CURRENT_SYSTEM: (
        "unsupported",
        "this system does not support the model",
        "use another model",
    ),
    AIFeatureReadyState.DISABLED_BY_USER: (
        "denied",
        "the user has switched it off",
        "switch it on in the privacy settings of Windows",
    ),
    AIFeatureReadyState.CAPABILITY_MISSING: (
        "denied",
        "the package does not declare the capability",
        "declare systemAIModels in the package's manifest",
    ),
    AIFeatureReadyState.NOT_COMPATIBLE_WITH_SYSTEM_HARDWARE: (
        "unsupported",
        "this machine has no NPU or GPU that the model needs",
        "use another model",
    ),
    AIFeatureReadyState.OS_UPDATE_NEEDED: ("not_ready", "Windows is too old for it", _UPDATE),
}
_RESULTS: dict[int, OutcomeStatus] = {
    ActionInvocationResult.SUCCESS: "success",
    ActionInvocationResult.USER_CANCELED: "user_canceled",
    ActionInvocationResult.UNSUPPORTED: "unsupported",
    ActionInvocationResult.UNAVAILABLE: "unavailable",
}
_FEEDBACK = {"positive": ActionFeedbackKind.POSITIVE, "negative": ActionFeedbackKind.NEGATIVE}


class _Operation(Protocol[R_co]):
    """What all asynchronous operations of WinRT have in common."""

    @property
    def completed(self) -> Any: ...
    @completed.setter
    def completed(self, value: Any) -> None: ...
    def get_results(self) -> R_co: ...
    def cancel(self) -> None: ...


class _Answer(Protocol):
    """What both ways to generate give."""

    @property
    def text(self) -> str: ...
    @property
    def status(self) -> IntEnum: ...
    @property
    def extended_error(self) -> int: ...


class PyWinRtBackend:
    """Windows, asked in threads of a multi-threaded apartment, so that no call blocks the loop."""

    name = "windows"

    def __init__(self) -> None:
        self._runtime: ActionRuntime | None = None
        self._model: LanguageModel | None = None
        self._apartments = threading.local()

    async def probe(self, capability: Capability) -> Probe:
        if capability is Capability.ACTIONS:
            await self._in_thread("open the App Actions", self._actions)
            return Probe(capability, "ready", "the runtime of App Actions answers")
        state = await self._in_thread("ask for the language model", LanguageModel.get_ready_state)
        found = _STATES.get(state, ("not_ready", f"the state {int(state)} is not known", _UPDATE))
        return Probe(capability, *found)

    # --- actions ----------------------------------------------------------------------------------

    async def list_actions(self, inputs: Sequence[Entity]) -> list[ActionInfo]:
        return await self._in_thread("list the actions", self._listed, inputs)

    async def invoke_action(
        self, action_id: str, inputs: Mapping[str, Entity], feedback: Feedback | None
    ) -> ActionOutcome:
        operation = f"invoke the action {action_id!r}"
        overload, context = await self._in_thread(operation, self._prepared, action_id, inputs)
        await self._finished(operation, overload.invoke_async(context))
        outcome = await self._in_thread(operation, self._outcome, action_id, context)
        if feedback is not None and outcome.status == "success":
            await self._give_feedback(overload, context, feedback)
        return outcome

    def _actions(self) -> ActionRuntime:
        if self._runtime is None:
            self._runtime = ActionRuntime.get_default()
        return self._runtime

    def _listed(self, inputs: Sequence[Entity]) -> list[ActionInfo]:
        runtime = self._actions()
        catalog = runtime.action_catalog
        if not inputs:
            return [_info(one) for one in catalog.get_all_actions()]
        entities = [_entity(one, runtime.entity_factory) for one in inputs]
        fitting = catalog.get_actions_for_inputs(Array(ActionEntity, entities))
        return list({one.definition.id: _info(one.definition) for one in fitting}.values())

    def _prepared(
        self, action_id: str, inputs: Mapping[str, Entity]
    ) -> tuple[ActionOverload, ActionInvocationContext]:
        """The variant that takes these inputs, and a context that holds them."""
        operation = f"invoke the action {action_id!r}"
        runtime = self._actions()
        known = runtime.action_catalog.get_all_actions()
        found = next((one for one in known if one.id == action_id), None)
        if found is None:
            raise Missing(operation, "there is no such action", remedy="sashizu winai actions")
        wanted = {name: str(one.kind) for name, one in inputs.items()}
        for overload in found.get_overloads():
            if {one.name: one.kind for one in _inputs(overload)} == wanted:
                context = runtime.create_invocation_context(action_id)
                for name, one in inputs.items():
                    context.set_input_entity(name, _entity(one, runtime.entity_factory))
                return overload, context
        raise Failed(operation, f"it has no variant that takes {wanted}")

    def _outcome(self, action_id: str, context: ActionInvocationContext) -> ActionOutcome:
        outputs = {one.name: _given(one.entity) for one in context.get_output_entities()}
        status = _RESULTS.get(context.result, "unavailable")
        code = context.extended_error & 0xFFFFFFFF
        return ActionOutcome(action_id, status, outputs, self.name, code or None)

    async def _give_feedback(
        self, overload: ActionOverload, context: ActionInvocationContext, feedback: Feedback
    ) -> None:
        operation = "give feedback to an action"

        def begun() -> _Operation[None] | None:
            if not overload.get_supports_feedback():
                return None
            told = self._actions().create_action_feedback(_FEEDBACK[feedback])
            running: _Operation[None] = overload.invoke_feedback_async(context, told)
            return running

        begun_operation = await self._in_thread(operation, begun)
        if begun_operation is not None:
            await self._finished(operation, begun_operation)

    # --- the language model -----------------------------------------------------------------------

    async def prepare_model(self) -> None:
        operation = "prepare the language model"
        ensuring = await self._in_thread(operation, LanguageModel.ensure_ready_async)
        result = await self._finished(operation, ensuring)
        if result.status != AIFeatureReadyResultState.SUCCESS:
            code = (result.extended_error or result.error) & 0xFFFFFFFF
            if code:
                raise error_of(operation, code, result.error_display_text)
            raise NotReady(operation, result.error_display_text or "it did not become ready")
        creating = await self._in_thread(operation, LanguageModel.create_async)
        self._model = await self._finished(operation, creating)

    async def usable_prompt(self, prompt: str) -> int:
        model = self._opened("measure a prompt")
        return await self._in_thread(
            "measure a prompt", lambda: int(model.get_usable_prompt_length(prompt))
        )

    async def generate(
        self, prompt: str, *, json_schema: str | None, on_text: Callable[[str], None]
    ) -> Generated:
        operation = "generate a text"
        model = self._opened(operation)
        hearing = _Hearing(on_text)

        def begun() -> _Operation[_Answer]:
            options = LanguageModelOptions()
            if json_schema is None:
                plain = model.generate_response_async(prompt, options)
                plain.progress = lambda _operation, piece: hearing.hear(piece)
                return _answering(plain)
            structured = model.generate_structured_json_response_async(prompt, json_schema, options)
            structured.progress = lambda _operation, piece: hearing.hear(piece)
            return _answering(structured)

        result = await self._finished(operation, await self._in_thread(operation, begun))
        with _translated(operation):
            code = result.extended_error & 0xFFFFFFFF
            status = _status(result.status.name)
            return Generated(result.text, status, code or None)

    def _opened(self, operation: str) -> LanguageModel:
        if self._model is None:
            raise NotReady(operation, "the model was not prepared")
        return self._model

    async def aclose(self) -> None:
        model, self._model = self._model, None
        runtime, self._runtime = self._runtime, None
        for closing in (model, runtime):
            if closing is not None:
                await self._in_thread("close Windows AI", closing.close)

    # --- threads ----------------------------------------------------------------------------------

    async def _in_thread(self, operation: str, call: Callable[..., R], *args: object) -> R:
        """Call in a thread of the apartment. A call that hangs is left behind when cancelled."""

        def once() -> R:
            with _translated(operation):
                if not hasattr(self._apartments, "entered"):
                    init_apartment(ApartmentType.MULTI_THREADED)
                    self._apartments.entered = True
                return call(*args)

        return await anyio.to_thread.run_sync(once, abandon_on_cancel=True)

    async def _finished(self, operation: str, running: _Operation[R]) -> R:
        """What an operation gives. Whoever cancels this cancels the operation."""
        done = _Signal()

        def watch() -> None:
            running.completed = lambda _operation, _status: done.set()

        try:
            await self._in_thread(operation, watch)
            await done.wait()
            return await self._in_thread(operation, running.get_results)
        except anyio.get_cancelled_exc_class():
            with anyio.move_on_after(_CANCEL_S, shield=True):
                await self._in_thread(operation, running.cancel)
            raise


class _Signal:
    """An event that any thread may set, once."""

    def __init__(self) -> None:
        self._event = anyio.Event()
        self._token = current_token()

    def set(self) -> None:
        with suppress(RuntimeError):  # the loop has ended, and nobody waits
            anyio.from_thread.run_sync(self._event.set, token=self._token)

    async def wait(self) -> None:
        await self._event.wait()


class _Hearing:
    """Carries pieces of text from the threads of Windows into the event loop."""

    def __init__(self, on_text: Callable[[str], None]) -> None:
        self._on_text = on_text
        self._token = current_token()

    def hear(self, piece: str) -> None:
        with suppress(RuntimeError):  # the loop has ended, and nobody listens
            anyio.from_thread.run_sync(self._on_text, piece, token=self._token)


def _answering(running: _Operation[_Answer]) -> _Operation[_Answer]:
    """The same, as what both ways to generate have in common."""
    return running


@contextmanager
def _translated(operation: str) -> Iterator[None]:
    """What Windows says, as errors of ours."""
    try:
        yield
    except OSError as error:
        code = getattr(error, "winerror", None) or error.errno or 0x80004005
        raise error_of(operation, code, error.strerror or str(error)) from error
    except AttributeError as error:
        raise Missing(operation, f"this Windows lacks it: {error}", remedy=_UPDATE) from error


def _info(found: ActionDefinition) -> ActionInfo:
    return ActionInfo(
        found.id,
        found.description,
        found.package_family_name,
        found.is_currently_available,
        found.uses_generative_a_i,
        found.displays_ui,
        tuple(_inputs(one) for one in found.get_overloads()),
    )


def _inputs(overload: ActionOverload) -> tuple[ActionInput, ...]:
    return tuple(ActionInput(one.name, one.kind.name.lower()) for one in overload.get_inputs())


def _entity(given: Entity, factory: ActionEntityFactory) -> ActionEntity:
    match given.kind:
        case EntityKind.TEXT:
            return factory.create_text_entity(given.value)
        case EntityKind.FILE:
            return factory.create_file_entity(given.value)
        case EntityKind.PHOTO:
            return factory.create_photo_entity(given.value)
        case EntityKind.DOCUMENT:
            return factory.create_document_entity(given.value)
        case EntityKind.URI:
            return factory.create_uri_entity(Uri(given.value))
        case _:
            raise Failed("make an entity", f"the kind {given.kind!r} cannot be given")


def _given(entity: ActionEntity) -> Entity:
    """What an action gave, in words as far as its kind has any."""
    kind = entity.kind.name.lower()
    match entity:
        case TextActionEntity():
            return Entity(kind, entity.text)
        case StreamingTextActionEntity():
            return Entity(kind, entity.get_text())
        case FileActionEntity() | PhotoActionEntity() | DocumentActionEntity():
            return Entity(kind, entity.full_path)
        case UriActionEntity():
            return Entity(kind, entity.uri.absolute_uri)
        case _:
            return Entity(kind, entity.display_info.title)


def _status(name: str) -> GeneratedStatus:
    try:
        return GeneratedStatus(name.lower())
    except ValueError:
        return GeneratedStatus.UNKNOWN
