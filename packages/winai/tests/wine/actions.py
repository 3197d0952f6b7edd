"""A catalogue of App Actions as a component of Windows."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Any

from com import ABI, Component, Factory, Failure, Later, Windows

_KINDS = ABI["enums"]["Windows.AI.Actions.ActionEntityKind"]
_RESULTS = ABI["enums"]["Windows.AI.Actions.ActionInvocationResult"]


class Title(Component):
    of = "Windows.AI.Actions.ActionEntityDisplayInfo"

    def __init__(self, title: str) -> None:
        super().__init__()
        self.title = title

    def close(self) -> None:
        """There is nothing to close."""


class EntityObject(Component):
    """An entity. `value` is the text or the path, `kind` as Windows numbers it."""

    def __init__(self, of: str, kind: str, value: Any) -> None:
        self.of = f"Windows.AI.Actions.{of}"  # type: ignore[misc]
        super().__init__()
        self.kind = _KINDS[kind]
        self.id = ""
        self.text = self.full_path = self.uri = value
        self.text_format = 0
        self.is_complete = True
        self.display_info = Title(str(value))

    def get_text(self) -> str:
        return str(self.text)

    def close(self) -> None:
        """There is nothing to close."""


class UriObject(Component):
    of = "Windows.Foundation.Uri"

    def __init__(self, text: str) -> None:
        super().__init__()
        self.absolute_uri = self.raw_uri = self.display_uri = text

    def to_string(self) -> str:
        return self.raw_uri


class UriFactory(Factory):
    def __init__(self) -> None:
        super().__init__("Windows.Foundation.Uri")

    def create(self, text: str) -> UriObject:
        if ":" not in text:
            raise Failure(0x80070057)
        return UriObject(text)


class EntityFactory(Component):
    of = "Windows.AI.Actions.ActionEntityFactory"

    def create_text_entity(self, text: str, text_format: int = 0) -> EntityObject:
        return EntityObject("TextActionEntity", "TEXT", text)

    def create_file_entity(self, path: str) -> EntityObject:
        return EntityObject("FileActionEntity", "FILE", path)

    def create_photo_entity(self, path: str) -> EntityObject:
        return EntityObject("PhotoActionEntity", "PHOTO", path)

    def create_document_entity(self, path: str) -> EntityObject:
        return EntityObject("DocumentActionEntity", "DOCUMENT", path)

    def create_uri_entity(self, uri: Any) -> EntityObject:
        return EntityObject("UriActionEntity", "URI", uri)

    def close(self) -> None:
        """There is nothing to close."""


class Named(Component):
    of = "Windows.AI.Actions.NamedActionEntity"

    def __init__(self, name: str, entity: Component) -> None:
        super().__init__()
        self.name, self.entity = name, entity

    def close(self) -> None:
        """There is nothing to close."""


class Context(Component):
    """What an action is invoked with and what it gives."""

    of = "Windows.AI.Actions.ActionInvocationContext"

    def __init__(self, action_id: str) -> None:
        super().__init__()
        self.action_id = action_id
        self.inputs: dict[str, EntityObject] = {}
        self.outputs: dict[str, EntityObject] = {}
        self.result = _RESULTS["SUCCESS"]
        self.extended_error = 0
        self.invoker_app_user_model_id = "Contoso.App"
        self.entity_factory = EntityFactory()

    def set_input_entity(self, name: str, entity: EntityObject) -> None:
        self.inputs[name] = entity

    def set_output_entity(self, name: str, entity: EntityObject) -> None:
        self.outputs[name] = entity

    def get_input_entities(self) -> list[Named]:
        return [Named(*pair) for pair in self.inputs.items()]

    def get_output_entities(self) -> list[Named]:
        return [Named(*pair) for pair in self.outputs.items()]

    def close(self) -> None:
        """There is nothing to close."""


class Taken(Component):
    """What an action takes under one name."""

    of = "Windows.AI.Actions.Hosting.ActionEntityRegistrationInfo"

    def __init__(self, name: str, kind: str) -> None:
        super().__init__()
        self.name, self.kind = name, _KINDS[kind]

    def close(self) -> None:
        """There is nothing to close."""


class Overload(Component):
    """One way to invoke an action. `act` does it, and gives when it ends."""

    of = "Windows.AI.Actions.Hosting.ActionOverload"

    def __init__(
        self,
        taken: list[Taken],
        act: Callable[[Context], Later],
        feedback: list[int] | None,
        **how: Any,
    ) -> None:
        super().__init__(**how)
        self.description_template = ""
        self._taken, self._act, self._feedback = taken, act, feedback

    def get_inputs(self) -> list[Taken]:
        return self._taken

    def invoke_async(self, context: Context) -> Later:
        return self._act(context)

    def get_supports_feedback(self) -> bool:
        return self._feedback is not None

    def invoke_feedback_async(self, context: Context, feedback: Feedback) -> Later:
        assert self._feedback is not None
        self._feedback.append(feedback.feedback_kind)
        return Later()

    def close(self) -> None:
        """There is nothing to close."""


class Definition(Component):
    of = "Windows.AI.Actions.Hosting.ActionDefinition"

    def __init__(self, action_id: str, overloads: list[Overload], **how: Any) -> None:
        super().__init__(**how)
        self.id = action_id
        self.description = f"The action {action_id}: größer, 語"
        self.package_family_name = "sashizu.fake_123"
        self.is_currently_available = True
        self.displays_ui = False
        self.uses_generative_ai = True
        self._overloads = overloads

    def get_overloads(self) -> list[Overload]:
        return self._overloads

    def close(self) -> None:
        """There is nothing to close."""


class Instance(Component):
    of = "Windows.AI.Actions.Hosting.ActionInstance"

    def __init__(self, definition: Definition) -> None:
        super().__init__()
        self.definition = definition


class Catalog(Component):
    of = "Windows.AI.Actions.Hosting.ActionCatalog"

    def __init__(self, definitions: list[Definition], **how: Any) -> None:
        super().__init__(**how)
        self.definitions = definitions

    def get_all_actions(self) -> list[Definition]:
        return self.definitions

    def get_actions_for_inputs(self, entities: list[EntityObject]) -> list[Instance]:
        kinds = sorted(one.kind for one in entities)
        return [
            Instance(one)
            for one in self.definitions
            for overload in one.get_overloads()
            if sorted(taken.kind for taken in overload.get_inputs()) == kinds
        ]

    def close(self) -> None:
        """There is nothing to close."""


class Feedback(Component):
    of = "Windows.AI.Actions.ActionFeedback"

    def __init__(self, kind: int) -> None:
        super().__init__()
        self.feedback_kind = kind


class Runtime(Component):
    """The entry to all of it; `feedback` is what was told to its actions."""

    of = "Windows.AI.Actions.ActionRuntime"

    def __init__(self, **how: Any) -> None:
        super().__init__(**how)
        self.feedback: list[int] = []
        self.contexts: list[Context] = []
        self.hanging = Later(hangs=True)
        self.entity_factory = EntityFactory()
        self.latest_supported_schema_version = 3
        self.closed = 0
        text, file = Taken("text", "TEXT"), Taken("file", "FILE")
        self.action_catalog = Catalog(
            [
                Definition("demo.upper", [Overload([text], _upper, self.feedback)]),
                Definition("demo.count", [Overload([file, text], _echoed, None)]),
                Definition("demo.hang", [Overload([text], lambda _: self.hanging, None)]),
                Definition("demo.canceled", [Overload([], _canceled, None)]),
                Definition("demo.dies", [Overload([text], _dies, None)]),
            ]
        )

    def add(
        self,
        action_id: str,
        takes: dict[str, str],
        *,
        gives: Mapping[str, str] | None = None,
        later: Later | None = None,
        overload_without: Iterable[str] = (),
        **how: Any,
    ) -> None:
        """One more action: it takes these kinds, and gives them back or entities of other kinds."""

        def act(context: Context) -> Later:
            context.outputs.update(context.inputs)
            for name, kind in (gives or {}).items():
                context.outputs[name] = EntityObject("ActionEntity", kind, f"a {kind.lower()}")
            return later or Later()

        taken = [Taken(*pair) for pair in takes.items()]
        overload = Overload(taken, act, None, without=overload_without)
        self.action_catalog.definitions.append(Definition(action_id, [overload], **how))

    def create_invocation_context(self, action_id: str) -> Context:
        self.contexts.append(Context(action_id))
        return self.contexts[-1]

    def create_action_feedback(self, kind: int) -> Feedback:
        return Feedback(kind)

    def close(self) -> None:
        self.closed += 1


class RuntimeFactory(Factory):
    def __init__(self, runtime: Runtime) -> None:
        super().__init__(Runtime.of)
        self.runtime = runtime

    def get_default(self) -> Runtime:
        return self.runtime


def _upper(context: Context) -> Later:
    text = context.inputs["text"].text
    context.outputs["text"] = EntityObject("TextActionEntity", "TEXT", text.upper())
    return Later()


def _echoed(context: Context) -> Later:
    context.outputs.update(context.inputs)
    return Later()


def _canceled(context: Context) -> Later:
    context.result = _RESULTS["USER_CANCELED"]
    context.extended_error = 0x800704C7
    return Later()


def _dies(_context: Context) -> Later:
    return Later(fails=0x800706BE)


def serve(windows: Windows, **how: Any) -> Runtime:
    """Have Windows find a runtime with these actions."""
    runtime = Runtime(**how)
    windows.serve(RuntimeFactory(runtime))
    windows.serve(UriFactory())
    return runtime
