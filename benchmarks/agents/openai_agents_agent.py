"""openai-agents over Chat Completions, tracing off. No budget, no permissions, no record."""

from __future__ import annotations

import asyncio

from _measure import arguments, measure, tick
from agents import Agent, OpenAIChatCompletionsModel, RunConfig, Runner, function_tool
from openai import AsyncOpenAI


@function_tool
async def add(a: int, b: int) -> int:
    """Add two numbers."""
    tick()
    return a + b


def main() -> None:
    asked = arguments()
    client = AsyncOpenAI(base_url=asked.url, api_key="x", max_retries=0, timeout=600)
    model = OpenAIChatCompletionsModel(model="m", openai_client=client)
    agent = Agent(name="adder", instructions="Use the tool.", model=model, tools=[add])
    config = RunConfig(tracing_disabled=True)

    async def one() -> object:
        turns = asked.steps + 2
        found = await Runner.run(agent, "What is 1 + 2?", max_turns=turns, run_config=config)
        return found.final_output

    async def run(count: int) -> list[object]:
        return await asyncio.gather(*(one() for _ in range(count)))

    measure(asked, run)


if __name__ == "__main__":
    main()
