"""The on-device language model as a component of Windows."""

from __future__ import annotations

from typing import Any

from com import ABI, Component, Factory, Later, Windows

_TEXT = "Microsoft.Windows.AI.Text"
STATES = ABI["enums"]["Microsoft.Windows.AI.AIFeatureReadyState"]
RESULT_STATES = ABI["enums"]["Microsoft.Windows.AI.AIFeatureReadyResultState"]
STATUSES = ABI["enums"][f"{_TEXT}.LanguageModelResponseStatus"]
STRUCTURED = ABI["enums"][f"{_TEXT}.GenerateStructuredJsonResponseStatus"]


class Options(Component):
    of = f"{_TEXT}.LanguageModelOptions"


class ReadyResult(Component):
    """How making the model ready ended."""

    of = "Microsoft.Windows.AI.AIFeatureReadyResult"

    def __init__(self, status: str, error: int = 0, text: str = "", extended: int = 0) -> None:
        super().__init__()
        self.status = RESULT_STATES[status]
        self.error, self.extended_error, self.error_display_text = error, extended, text


class Result(Component):
    """What was generated. `plain` is False for an answer in JSON."""

    def __init__(self, text: str, status: int, error: int, *, plain: bool) -> None:
        name = "LanguageModelResponseResult" if plain else "GenerateStructuredJsonResponseResult"
        self.of = f"{_TEXT}.{name}"  # type: ignore[misc]
        super().__init__()
        self.text, self.status, self.extended_error = text, status, error


class Model(Component):
    """Answers each prompt with `pieces`, in the state that `status` names."""

    of = f"{_TEXT}.LanguageModel"

    def __init__(self, **how: Any) -> None:
        super().__init__(**how)
        self.pieces = ["Grüße, ", "語 and ", "\N{GRINNING FACE}."]
        self.status = "COMPLETE"
        self.error = 0
        self.context = 1 << 16
        self.later: Later | None = None
        self.prompts: list[tuple[str, ...]] = []
        self.closed = 0

    def generate_response_async(self, prompt: str, options: Options) -> Later:
        self.prompts.append((prompt,))
        return self._answer(STATUSES[self.status], plain=True)

    def generate_structured_json_response_async(
        self, prompt: str, schema: str, options: Options
    ) -> Later:
        self.prompts.append((prompt, schema))
        return self._answer(STRUCTURED[self.status], plain=False)

    def get_usable_prompt_length(self, prompt: str) -> int:
        return min(self.context, len(prompt.encode("utf-16-le")) // 2)

    def close(self) -> None:
        self.closed += 1

    def _answer(self, status: int, *, plain: bool) -> Later:
        if self.later is None:
            text = "".join(self.pieces)
            return Later(Result(text, status, self.error, plain=plain), self.pieces)
        return self.later


class ModelFactory(Factory):
    """What Windows says of the model before there is one."""

    def __init__(self, model: Model) -> None:
        super().__init__(Model.of)
        self.model = model
        self.state = STATES["READY"]
        self.ready = Later(ReadyResult("SUCCESS"), (0.5, 1.0))
        self.created = Later(model)

    def get_ready_state(self) -> int:
        return self.state

    def ensure_ready_async(self) -> Later:
        return self.ready

    def create_async(self) -> Later:
        return self.created


def serve(windows: Windows, **how: Any) -> ModelFactory:
    """Have Windows find a model."""
    factory = ModelFactory(Model(**how))
    windows.serve(factory)
    windows.serve(Factory(Options.of, Options))
    return factory
