"""A run of one agent that calls the tool `shell` once: `run_agent.py WORKSPACE ARGV...`."""

from __future__ import annotations

import sys
from dataclasses import replace

import anyio
from sashizu_cli.interrupts import Interrupts
from sashizu_core.agents import AgentDefinition
from sashizu_core.plugins import open_registry
from sashizu_core.runtime import delegate_parallel
from sashizu_core.settings import Settings
from sashizu_core.testing.fakes import ScriptedModel, call, scripted_model
from sashizu_core.types import ModelInfo, Task

INFO = ModelInfo("fake/a", "fake", local=True)


async def main(workspace: str, *argv: str) -> None:
    model = ScriptedModel([[call("shell", argv=list(argv), timeout=600)], "done"], info=INFO)
    agent = AgentDefinition.model_validate(
        {
            "name": "a",
            "goal": "g",
            "model": INFO.name,
            "tools": {
                "mcp": ["shell"],
                "fs": {"read": True, "write": ["out"]},
                "shell": {"exec": ["python3"]},
            },
        }
    )
    registry = open_registry(Settings())
    interrupts = Interrupts()
    async with anyio.create_task_group() as group:
        await group.start(interrupts.watch)
        report = await delegate_parallel(
            [Task("a")],
            workspace=workspace,
            agents=[agent],
            settings=Settings(),
            registry=replace(registry, models={INFO.name: scripted_model(model)}),
            audit=False,
            on_start=interrupts.attach,
        )
        group.cancel_scope.cancel()
    (result,) = report.results
    print(result.outcome.value, result.error)


if __name__ == "__main__":
    anyio.run(main, *sys.argv[1:])
