"""Agents whose models and tools fail at random, for the workers of a cluster and who submits.

What fails, and when, is drawn from a generator of the process: `SASHIZU_CHAOS_SEED` and its id.
"""

from __future__ import annotations

import os
import random
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from typing import Any, get_args

from sashizu_budget.ledger import Ledger
from sashizu_core.agents import AgentDefinition
from sashizu_core.errors import Fault, ModelError, ToolError
from sashizu_core.plugins import Registry
from sashizu_core.protocols import Budget
from sashizu_core.specs import BudgetSpec, ToolSpec
from sashizu_core.testing.fakes import ScriptedModel, call, scripted_model
from sashizu_core.types import Completion, ModelInfo, ModelRequest, StepKind, ToolResult, ToolSchema

INFO = ModelInfo("fake/chaos", "fake", local=True, min_output_tokens=16, max_output_tokens=64)
FAULTS = sorted(set(get_args(Fault)) - {"quota", "auth"})
CHANCE = random.Random(f"{os.environ.get('SASHIZU_CHAOS_SEED', '1')} {os.getpid()}")


class Moody(ScriptedModel):
    """Calls a tool in every turn but the last; one call in so many fails in some way."""

    def __init__(self, steps: int, faults: float, latency_s: float) -> None:
        super().__init__(self._say, info=INFO, latency_s=latency_s)
        self._steps, self._faults = steps, faults

    async def complete(self, request: ModelRequest, **options: Any) -> Completion:
        self.requests.clear()
        return await super().complete(request, **options)

    def _say(self, request: ModelRequest) -> Any:
        if CHANCE.random() < self._faults:
            fault = CHANCE.choice(FAULTS)
            raise ModelError("made to fail", fault=fault, sent=fault in ("transport", "timeout"))
        turn = sum(message.role == "assistant" for message in request.messages)
        return "done" if turn >= self._steps else [call("toss", f"call_{turn}")]


class Toss:
    """A tool that changes nothing; one call in so many fails."""

    schema = ToolSchema("toss", "tosses a coin", {"type": "object"})
    kind = StepKind.PURE

    def __init__(self, faults: float) -> None:
        self._faults = faults

    def parse(self, arguments: str) -> Any:
        return arguments

    def requests(self, arguments: Any, context: Any) -> Sequence[Any]:
        return ()

    async def run(self, arguments: Any, context: Any) -> ToolResult:
        if CHANCE.random() < self._faults:
            raise ToolError("made to fail")
        return ToolResult("heads")


def registry(steps: int, model_faults: float, tool_faults: float, latency_s: float) -> Registry:
    """The model, the tool and the ledger of this process."""

    @asynccontextmanager
    async def toss() -> AsyncIterator[Toss]:
        yield Toss(tool_faults)

    @asynccontextmanager
    async def ledger() -> AsyncIterator[Budget]:
        yield Ledger()

    return Registry(
        models={INFO.name: scripted_model(Moody(steps, model_faults, latency_s))},
        tools={"toss": ToolSpec("toss", "tosses a coin", toss)},
        budget=BudgetSpec("ledger", "the ledger", ledger),
    )


AGENT = AgentDefinition.model_validate(
    {"name": "chaos", "goal": "toss", "model": INFO.name, "tools": {"mcp": ["toss"]}}
)
