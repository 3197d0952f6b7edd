"""The scripted model keeps the contract of models, and the contract notices who does not."""

from collections.abc import Callable
from dataclasses import replace

import anyio
import pytest
from sashizu_core.errors import ModelError
from sashizu_core.protocols import Model
from sashizu_core.specs import ModelSpec
from sashizu_core.testing.fakes import ScriptedModel, call, scripted_model
from sashizu_core.testing.model import ModelContract
from sashizu_core.types import Bound, Completion, Message, ModelRequest, ToolCall, Usage


def answer(request: ModelRequest) -> object:
    if request.tools and request.messages[-1].role == "user":
        return [call("read_file", path="README.md")]
    return "one, two, three, four, five, six, seven"


class TestScriptedModel(ModelContract):
    @pytest.fixture
    def spec(self) -> ModelSpec:
        return scripted_model(ScriptedModel(answer))

    @pytest.fixture
    def failing(self) -> Model:
        return ScriptedModel([ModelError("it is down", fault="overloaded")])


class Faulty(ScriptedModel):
    """A good model to spoil."""

    def __init__(self) -> None:
        super().__init__(answer)


class WithoutCap(Faulty):
    async def complete(
        self, request: ModelRequest, *, on_text: Callable[[str], None] | None = None
    ) -> Completion:
        return await super().complete(replace(request, max_output_tokens=None), on_text=on_text)


class BoundTooLow(Faulty):
    def bound(self, request: ModelRequest) -> Bound:
        return Bound(1, 1, "hope")


class SilentAboutUsage(Faulty):
    async def complete(
        self, request: ModelRequest, *, on_text: Callable[[str], None] | None = None
    ) -> Completion:
        return replace(await super().complete(request, on_text=on_text), usage=None)


class MoreCachedThanRead(Faulty):
    async def complete(
        self, request: ModelRequest, *, on_text: Callable[[str], None] | None = None
    ) -> Completion:
        usage = Usage(10, 10, cache_read_tokens=11)
        return replace(await super().complete(request, on_text=on_text), usage=usage)


class StreamsAnotherText(Faulty):
    async def complete(
        self, request: ModelRequest, *, on_text: Callable[[str], None] | None = None
    ) -> Completion:
        if on_text is not None:
            on_text("zero, ")
        return await super().complete(request, on_text=on_text)


class RepeatsIds(Faulty):
    async def complete(
        self, request: ModelRequest, *, on_text: Callable[[str], None] | None = None
    ) -> Completion:
        twice = (ToolCall("a", "read_file", '{"path": "x"}'),) * 2
        made = await super().complete(request, on_text=on_text)
        return replace(made, message=Message("assistant", "", twice))


class HoldsOutAgainstCancellation(Faulty):
    async def complete(
        self, request: ModelRequest, *, on_text: Callable[[str], None] | None = None
    ) -> Completion:
        with anyio.CancelScope(shield=True):
            await anyio.sleep(1.2)
        return await super().complete(request, on_text=on_text)


class FailsInItsOwnWay(Faulty):
    async def complete(
        self, request: ModelRequest, *, on_text: Callable[[str], None] | None = None
    ) -> Completion:
        raise ConnectionError("it is down")


@pytest.mark.parametrize(
    ("faulty", "broken"),
    [
        (WithoutCap, "test_the_output_cap_is_kept"),
        (BoundTooLow, "test_no_call_uses_more_than_its_bound"),
        (SilentAboutUsage, "test_it_reports_what_was_used"),
        (MoreCachedThanRead, "test_it_reports_what_was_used"),
        (StreamsAnotherText, "test_text_is_streamed_as_it_comes"),
        (RepeatsIds, "test_it_calls_a_tool"),
    ],
)
async def test_the_contract_notices_a_model_that_breaks_it(
    faulty: type[Faulty], broken: str
) -> None:
    with pytest.raises(AssertionError):
        await getattr(ModelContract(), broken)(faulty())


async def test_the_contract_notices_an_error_of_another_type() -> None:
    with pytest.raises(ConnectionError):
        await ModelContract().test_failures_become_model_errors(FailsInItsOwnWay())


async def test_the_contract_notices_a_call_that_cannot_be_cancelled() -> None:
    with pytest.raises(AssertionError):
        await ModelContract().test_a_cancelled_call_ends_at_once(HoldsOutAgainstCancellation())
