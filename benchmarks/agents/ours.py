"""sashizu, with all that it is for: a YAML agent, a tree of three budgets, the record on a disk."""

from __future__ import annotations

import gc
import os
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import replace
from hashlib import sha256
from typing import Any

from _measure import arguments, measure, tick
from sashizu_budget.ledger import Ledger
from sashizu_core import Limits, Task, delegate_parallel
from sashizu_core.bounds import Overhead, bound_of
from sashizu_core.builtin.typed import Arguments, TypedTool
from sashizu_core.plugins import Registry, open_registry
from sashizu_core.protocols import BudgetNode
from sashizu_core.settings import Settings
from sashizu_core.specs import BudgetSpec, ModelSpec, ToolSpec
from sashizu_core.trust import TrustStore
from sashizu_core.types import (
    Bound,
    Completion,
    Message,
    ModelInfo,
    ModelRequest,
    ToolCall,
    ToolResult,
    Usage,
)

AGENT = """\
name: adder
goal: Use the tool.
tools:
  mcp: [add]
  fs: {read: true}
budget: {tokens: 1000000000}
"""


class AddArguments(Arguments):
    a: int
    b: int


class Add(TypedTool[AddArguments]):
    name = "add"
    description = "Add two numbers."
    arguments = AddArguments

    def requests(self, arguments: AddArguments, context: object) -> Sequence[Any]:
        return ()

    async def run(self, arguments: AddArguments, context: object) -> ToolResult:
        tick()
        return ToolResult(str(arguments.a + arguments.b))


class Fake:
    """A model in this process that answers at once."""

    info = ModelInfo("fake/m", "fake", local=True, max_output_tokens=1000)

    def __init__(self, steps: int) -> None:
        self._steps = steps
        self._overhead = Overhead()

    def bound(self, request: ModelRequest) -> Bound:
        return bound_of(request, self._overhead, output_cap=request.max_output_tokens or 1000)

    def learn(self, bound: Bound, usage: Usage) -> None:
        self._overhead.learn(bound.input_tokens, usage.input_tokens)

    async def count(self, request: ModelRequest) -> int | None:
        return None

    async def complete(
        self, request: ModelRequest, *, on_text: Callable[[str], None] | None = None
    ) -> Completion:
        done = sum(message.role == "tool" for message in request.messages)
        usage = Usage(100, 20)
        if done < self._steps:
            call = ToolCall(f"call_{done}", "add", f'{{"a": {done}, "b": 2}}')
            return Completion(Message("assistant", "", (call,)), usage, "tool_calls")
        return Completion(Message("assistant", "The sum is 3."), usage, "stop")


class ThreeLevels(Ledger):
    """Every run is a child of an organisation, and every agent a child of its run."""

    def root(self, name: str, limits: Limits) -> BudgetNode:  # type: ignore[override]
        return super().root("organisation", Limits(tokens=10**12)).open(name, limits)


def always(value: object) -> Callable[..., AbstractAsyncContextManager[Any]]:
    @asynccontextmanager
    async def open_(*_: object) -> AsyncIterator[Any]:
        yield value

    return open_


def registry(settings: Settings, steps: int) -> Registry:
    found = open_registry(settings)
    return replace(
        found,
        models={
            **found.models,
            "fake/m": ModelSpec("fake/m", "answers at once", always(Fake(steps))),
        },
        tools={**found.tools, "add": ToolSpec("add", "adds", always(Add()))},
        budget=BudgetSpec("levels", "a tree of three levels", always(ThreeLevels())),
    )


def main() -> None:
    asked = arguments()
    agents = asked.workspace / ".sashizu" / "agents"
    agents.mkdir(parents=True, exist_ok=True)
    (agents / "adder.yaml").write_text(AGENT)
    os.environ["SASHIZU_HOME"] = str(asked.workspace / "state")
    fingerprint = sha256(AGENT.encode()).hexdigest()
    TrustStore().trust(asked.workspace, {".sashizu/agents/adder.yaml": fingerprint})
    endpoint = {"base_url": asked.url, "api": "chat", "key_env": "OPENAI_API_KEY"}
    tables = {"models": {"local": endpoint}} if asked.url else {}
    settings = Settings({**tables, "run": {"max_turns": asked.steps + 2}})
    offered = registry(settings, asked.steps)
    model = "local/m" if asked.url else "fake/m"

    async def run(count: int) -> list[object]:
        report = await delegate_parallel(
            [Task("adder", "What is 1 + 2?")] * count,
            workspace=asked.workspace,
            budget=Limits(tokens=10**11),
            jobs=count,
            model=model,
            settings=settings,
            registry=offered,
        )
        for result in report.results:
            if result.error:
                raise RuntimeError(result.error)
        return [result.answer for result in report.results]

    gc.freeze()  # as the command line does
    gc.set_threshold(50_000, 20, 100)
    measure(asked, run)


if __name__ == "__main__":
    main()
