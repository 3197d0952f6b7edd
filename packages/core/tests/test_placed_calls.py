"""Calls of models that are loaded for them: what an attempt finds, and what a pause holds."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from typing import Any

import pytest
from sashizu_core.errors import ModelError
from sashizu_core.ids import new_agent_id, new_run_id
from sashizu_core.testing.fakes import MemorySink, ScriptedModel
from sashizu_core.turn.attempts import ProviderGate
from sashizu_core.turn.inference import Inference
from sashizu_core.turn.record import Recorder
from sashizu_core.turn.steps import StepContext
from sashizu_core.types import Message, ModelInfo, ModelRequest

REQUEST = ModelRequest([Message("user", "go")])


class Places:
    """An admission that says what happened."""

    def __init__(self, refuses: ModelError | None = None) -> None:
        self.seen: list[str] = []
        self.agents: list[str] = []
        self.refuses = refuses

    def governs(self, info: ModelInfo) -> bool:
        return True

    @asynccontextmanager
    async def place(
        self, info: ModelInfo, told: Callable[[Mapping[str, Any]], None], agent: str = ""
    ) -> AsyncIterator[None]:
        self.seen.append("asked")
        self.agents.append(agent)
        if self.refuses is not None:
            raise self.refuses
        yield
        self.seen.append("left")


def inference(places: Places, *script: Any) -> Inference:
    answers = iter(script)
    recorder = Recorder([MemorySink()], {"agent_name": "reviewer"})
    steps = StepContext(recorder, new_run_id(), new_agent_id())
    model = ScriptedModel(lambda _: next(answers))
    return Inference(model, steps, ProviderGate(admission=places), None)


async def test_an_attempt_after_a_failed_one_has_a_place_of_its_own() -> None:
    places = Places()
    crashed = ModelError("the server is gone", fault="connect")

    completion = await inference(places, crashed, "done").complete(REQUEST)

    assert completion.message.content == "done"
    assert places.seen == ["asked", "left", "asked", "left"]
    assert places.agents == ["reviewer", "reviewer"]


async def test_who_is_refused_a_place_does_not_ask_again() -> None:
    places = Places(ModelError("no room within 5 s", fault="overloaded"))

    with pytest.raises(ModelError, match="no room"):
        await inference(places, "done").complete(REQUEST)

    assert places.seen == ["asked"]
