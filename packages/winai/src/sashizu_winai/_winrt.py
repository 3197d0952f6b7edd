"""The backend that asks Windows itself, through the PyWinRT projections.

Tests run it under Wine, with the real projections on components that stand in for those of Windows;
on Windows itself it has not run. This is the one module that imports the projections; nothing of
theirs leaves it, and every `OSError` and every missing member becomes a `WindowsAiError`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractAsyncContextManager, suppress
from enum import IntEnum
from time import perf_counter
from typing import Any, Protocol
from uuid import UUID

from winrt.microsoft.windows.ai import AIFeatureReadyResultState, AIFeatureReadyState
from winrt.microsoft.windows.ai.text import LanguageModel, LanguageModelOptions
from winrt.microsoft.windows.applicationmodel.dynamicdependency.bootstrap import (
    InitializeOptions,
    initialize,
)
from winrt.runtime import ApartmentType, init_apartment
from winrt.runtime.interop import wrap_interface
from winrt.system import Array
from winrt.windows.ai.actions import (
    ActionEntity,
    ActionFeedbackKind,
    ActionInvocationContext,
    ActionInvocationResult,
    ActionRuntime,
)
from winrt.windows.ai.actions.hosting import ActionDefinition, ActionOverload

from sashizu_winai._winrt_entities import entity_from, entity_to
from sashizu_winai._winrt_filter import filter_open, probe_filter
from sashizu_winai._winrt_hosting import hosting_open, probe_hosting
from sashizu_winai._winrt_providers import all_providers, made_ready
from sashizu_winai._winrt_unlocking import unlocked
from sashizu_winai.apartment import Apartment, Operation, from_any_thread, translated
from sashizu_winai.backend import Generated, GeneratedStatus
from sashizu_winai.capabilities import Capability, Probe, State
from sashizu_winai.entities import (
    ActionInfo,
    ActionInput,
    ActionOutcome,
    Entity,
    Feedback,
    OutcomeStatus,
)
from sashizu_winai.errors import Failed, Missing, NotReady, WindowsAiError, error_of
from sashizu_winai.filtering.verdicts import MessageFilter
from sashizu_winai.hosting.calls import ActionProvider
from sashizu_winai.local_server import made_by_server
from sashizu_winai.onnx.providers import ExecutionProvider
from sashizu_winai.unlocking import Unlock

__all__ = ["PyWinRtBackend"]

_UPDATE = "bring Windows up to date"
_PREPARE = "use it once, which prepares it"

# Numbers that a newer Windows adds become members of their own, so these are asked with `get`.
_STATES: dict[int, tuple[State, str, str]] = {
    AIFeatureReadyState.READY: ("ready", "the model is ready", ""),
    AIFeatureReadyState.NOT_READY: (
        "not_ready",
        "the model is not downloaded or not prepared",
        _PREPARE,
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
# The server of App Actions in builds before the one that `get_default` came with.
_RUNTIME_CLASS = UUID("c36fef7e-35f3-4192-9f2c-af1fd425fb85")
_RUNTIME_INTERFACE = UUID("206efa2c-c909-508a-b4b0-9482be96db9c")
_NOT_REGISTERED = 0x80040154
_FEEDBACK = {"positive": ActionFeedbackKind.POSITIVE, "negative": ActionFeedbackKind.NEGATIVE}

_LOOKED_AT = {
    Capability.ACTIONS_PROVIDER: probe_hosting,
    Capability.MCP_FILTER: probe_filter,
}


class _Answer(Protocol):
    """What both ways to generate give."""

    @property
    def text(self) -> str: ...
    @property
    def status(self) -> IntEnum: ...
    @property
    def extended_error(self) -> int: ...


class PyWinRtBackend:
    """Windows, asked in threads of a multi-threaded apartment, so that no call blocks the loop.

    Args:
        load: loads the Windows App Runtime before the language model is first asked, and gives what
            unloads it; for hosts that have loaded it themselves.
        unlock: what unlocks the language model; None where it needs nothing, or nobody has a token.
    """

    name = "windows"

    def __init__(
        self,
        *,
        load: Callable[[], Callable[[], None]] | None = None,
        unlock: Unlock | None = None,
    ) -> None:
        self._load = load or _load_app_runtime
        self._unlock = unlock
        self._runtime: ActionRuntime | None = None
        self._model: LanguageModel | None = None
        self._unload: Callable[[], None] | None = None
        self._apartment = Apartment(lambda: init_apartment(ApartmentType.MULTI_THREADED))

    async def probe(self, capability: Capability) -> Probe:
        if capability is Capability.ACTIONS:
            await self._apartment.call("open the App Actions", self._actions)
            return Probe(capability, "ready", "the runtime of App Actions answers")
        if (looked := _LOOKED_AT.get(capability)) is not None:
            return await self._apartment.call(f"probe {capability}", looked)
        if capability is Capability.WINDOWS_ML:
            names = ", ".join(one.name for one in await self.execution_providers())
            return Probe(capability, "ready", f"the catalogue answers: {names or 'nothing'}")
        state = await self._apartment.call("ask for the language model", self._ready_state)
        found = _STATES.get(state, ("not_ready", f"the state {int(state)} is not known", _UPDATE))
        return Probe(capability, *found)

    # --- actions ----------------------------------------------------------------------------------

    async def list_actions(self, inputs: Sequence[Entity]) -> list[ActionInfo]:
        return await self._apartment.call("list the actions", self._listed, inputs)

    async def invoke_action(
        self, action_id: str, inputs: Mapping[str, Entity], feedback: Feedback | None
    ) -> ActionOutcome:
        operation = f"invoke the action {action_id!r}"
        prepared: list[tuple[ActionOverload, ActionInvocationContext]] = []

        def begin() -> Operation[None]:
            overload, context = self._prepared(action_id, inputs)
            prepared.append((overload, context))
            return overload.invoke_async(context)

        outcome = await self._apartment.finished(
            operation, begin, lambda _: self._outcome(action_id, prepared[0][1])
        )
        if feedback is not None and outcome.status == "success":
            with suppress(WindowsAiError):  # what the action did is done, whoever hears of it
                await self._give_feedback(*prepared[0], feedback)
        return outcome

    async def invoke_bare(self, action_id: str, inputs: Mapping[str, Entity]) -> float:
        """The same with nothing of ours around the projection; how many seconds that took."""
        return await self._apartment.call("invoke it bare", self._bare, action_id, inputs)

    def _bare(self, action_id: str, inputs: Mapping[str, Entity]) -> float:
        began = perf_counter()
        overload, context = self._prepared(action_id, inputs)
        overload.invoke_async(context).get()
        self._outcome(action_id, context)
        return perf_counter() - began

    def _actions(self) -> ActionRuntime:
        if self._runtime is None:
            self._runtime = _action_runtime()
        return self._runtime

    def _listed(self, inputs: Sequence[Entity]) -> list[ActionInfo]:
        runtime = self._actions()
        catalog = runtime.action_catalog
        if not inputs:
            return [_info(one) for one in catalog.get_all_actions()]
        entities = [entity_to(one, runtime.entity_factory) for one in inputs]
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
                    context.set_input_entity(name, entity_to(one, runtime.entity_factory))
                return overload, context
        raise Failed(operation, f"it has no variant that takes {wanted}")

    def _outcome(self, action_id: str, context: ActionInvocationContext) -> ActionOutcome:
        outputs = {one.name: entity_from(one.entity) for one in context.get_output_entities()}
        status = _RESULTS.get(context.result, "unavailable")
        code = context.extended_error & 0xFFFFFFFF
        return ActionOutcome(action_id, status, outputs, self.name, code or None)

    async def _give_feedback(
        self, overload: ActionOverload, context: ActionInvocationContext, feedback: Feedback
    ) -> None:
        operation = "give feedback to an action"
        if not await self._apartment.call(operation, overload.get_supports_feedback):
            return

        def begin() -> Operation[None]:
            told = self._actions().create_action_feedback(_FEEDBACK[feedback])
            return overload.invoke_feedback_async(context, told)

        await self._apartment.finished(operation, begin)

    # --- what Windows asks of us, and brings ------------------------------------------------------

    def hosted(self, provider: ActionProvider, clsid: UUID) -> AbstractAsyncContextManager[None]:
        return hosting_open(self._apartment, provider, clsid)

    def filtered(self, judge: MessageFilter, clsid: UUID) -> AbstractAsyncContextManager[None]:
        return filter_open(self._apartment, judge, clsid)

    async def execution_providers(self) -> list[ExecutionProvider]:
        operation = "list the execution providers"
        await self._apartment.call(operation, self._app_runtime)
        return await self._apartment.call(operation, all_providers)

    async def ready_provider(self, name: str) -> ExecutionProvider:
        await self._apartment.call("prepare an execution provider", self._app_runtime)
        return await made_ready(self._apartment, name)

    # --- the language model -----------------------------------------------------------------------

    async def prepare_model(self) -> None:
        operation = "prepare the language model"
        await self._apartment.call(operation, self._open_model)
        result = await self._apartment.finished(operation, LanguageModel.ensure_ready_async)
        with translated(operation):
            if result.status != AIFeatureReadyResultState.SUCCESS:
                code = (result.extended_error or result.error) & 0xFFFFFFFF
                if code:
                    raise error_of(operation, code, result.error_display_text)
                raise NotReady(operation, result.error_display_text or "it did not become ready")
        self._model = await self._apartment.finished(operation, LanguageModel.create_async)

    def _ready_state(self) -> AIFeatureReadyState:
        self._open_model()
        return LanguageModel.get_ready_state()

    def _open_model(self) -> None:
        """What comes before any question about the model."""
        self._app_runtime()
        if self._unlock is not None:
            unlocked(self._unlock)
            self._unlock = None  # it stays so for the process

    def _app_runtime(self) -> None:
        if self._unload is None:
            self._unload = self._load()

    async def usable_prompt(self, prompt: str) -> int:
        model = self._opened("measure a prompt")
        return await self._apartment.call(
            "measure a prompt", lambda: int(model.get_usable_prompt_length(prompt))
        )

    async def generate(
        self, prompt: str, *, json_schema: str | None, on_text: Callable[[str], None]
    ) -> Generated:
        operation = "generate a text"
        model = self._opened(operation)
        hear = from_any_thread(on_text)

        def begin() -> Operation[_Answer]:
            options = LanguageModelOptions()
            if json_schema is None:
                plain = model.generate_response_async(prompt, options)
                plain.progress = lambda _operation, piece: hear(piece)
                return plain
            structured = model.generate_structured_json_response_async(prompt, json_schema, options)
            structured.progress = lambda _operation, piece: hear(piece)
            return structured

        result = await self._apartment.finished(operation, begin)
        with translated(operation):
            code = result.extended_error & 0xFFFFFFFF
            status = _status(result.status.name)
            return Generated(result.text, status, code or None)

    def _opened(self, operation: str) -> LanguageModel:
        if self._model is None:
            raise NotReady(operation, "the model was not prepared", remedy=_PREPARE)
        return self._model

    async def aclose(self) -> None:
        model, self._model = self._model, None
        runtime, self._runtime = self._runtime, None
        unload, self._unload = self._unload, None
        closings: list[Callable[[], None]] = []
        closings += [one.close for one in (model, runtime) if one is not None]
        closings += [unload] if unload is not None else []
        for closing in closings:
            with suppress(WindowsAiError):  # what cannot be closed ends with the process
                await self._apartment.call("close Windows AI", closing)


def _load_app_runtime() -> Callable[[], None]:
    """Load the Windows App Runtime, which a program without a package has to do itself."""
    return initialize(options=InitializeOptions.ON_PACKAGE_IDENTITY_NOOP)


def _action_runtime() -> ActionRuntime:
    """The runtime of App Actions: as new builds of Windows give it, else from its server."""
    try:
        return ActionRuntime.get_default()
    except (OSError, AttributeError) as first:
        try:
            with made_by_server(_RUNTIME_CLASS, _RUNTIME_INTERFACE) as capsule:
                return _wrapped(capsule)
        except OSError as error:
            if getattr(error, "winerror", 0) & 0xFFFFFFFF == _NOT_REGISTERED:
                raise first from None
            raise


def _wrapped(capsule: Any) -> ActionRuntime:
    """By itself: a name in the frame above could live as long as the traceback of `first`."""
    runtime: ActionRuntime = wrap_interface(capsule, ActionRuntime)
    return runtime


def _info(found: ActionDefinition) -> ActionInfo:
    return ActionInfo(
        found.id,
        found.description,
        found.package_family_name,
        _known(lambda: found.is_currently_available, otherwise=True),
        _known(lambda: found.uses_generative_a_i, otherwise=False),
        _known(lambda: found.displays_ui, otherwise=False),
        tuple(_inputs(one) for one in found.get_overloads()),
    )


def _known(ask: Callable[[], bool], *, otherwise: bool) -> bool:
    """What is asked for, or else what holds in builds of Windows that lack the member."""
    try:
        return ask()
    except AttributeError:
        return otherwise


def _inputs(overload: ActionOverload) -> tuple[ActionInput, ...]:
    return tuple(ActionInput(one.name, one.kind.name.lower()) for one in overload.get_inputs())


def _status(name: str) -> GeneratedStatus:
    try:
        return GeneratedStatus(name.lower())
    except ValueError:
        return GeneratedStatus.UNKNOWN
