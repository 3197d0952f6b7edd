"""agno: an Agent without storage, telemetry off. No budget, no permissions, no record."""

from __future__ import annotations

import asyncio
import os
from typing import Any

from _measure import arguments, measure, tick

os.environ["AGNO_TELEMETRY"] = "false"

from agno.agent import Agent
from agno.models.base import Model
from agno.models.openai import OpenAIChat
from agno.models.response import ModelResponse


async def add(a: int, b: int) -> int:
    """Add two numbers."""
    tick()
    return a + b


def fake(steps: int) -> Model:
    def unused(self: Any, *_: Any, **__: Any) -> Any:
        raise NotImplementedError

    async def ainvoke(self: Any, messages: Any = None, **_: Any) -> ModelResponse:
        done = sum(message.role == "tool" for message in messages)
        if done == steps:
            return ModelResponse(role="assistant", content="The sum is 3.")
        function = {"name": "add", "arguments": f'{{"a": {done}, "b": 2}}'}
        call = {"id": f"call_{done}", "type": "function", "function": function}
        return ModelResponse(role="assistant", tool_calls=[call])

    missing = dict.fromkeys(Model.__abstractmethods__, unused)
    return type("Fake", (Model,), {**missing, "ainvoke": ainvoke})(id="fake")


def main() -> None:
    asked = arguments()
    model = (
        OpenAIChat(id="m", base_url=asked.url, api_key="x", max_retries=0, timeout=600)
        if asked.url
        else fake(asked.steps)
    )
    agent = Agent(model=model, tools=[add], instructions="Use the tool.", telemetry=False)

    async def one() -> object:
        return (await agent.arun("What is 1 + 2?")).content

    async def run(count: int) -> list[object]:
        return await asyncio.gather(*(one() for _ in range(count)))

    measure(asked, run)


if __name__ == "__main__":
    main()
