"""A run whose agents answer when they are told to: `steered_run.py WORKSPACE AGENT...`.

Each line on stdin lets every agent that waits for its model go on by one answer; when stdin ends,
all go on to their end. Prints the id of the run as it begins, and how each agent ended. An agent
writes a file, which somebody has to allow, asks for what it is not given, and answers; what the
models say is as hostile as can be.
"""

from __future__ import annotations

import os
import sys
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import replace

import anyio
from sashizu_core.agents import AgentDefinition
from sashizu_core.approvals import AnsweredElsewhere
from sashizu_core.control import RunHandle
from sashizu_core.grants import PathRequest, PermissionRequest, Subject
from sashizu_core.plugins import open_registry
from sashizu_core.protocols import Model
from sashizu_core.runtime import delegate_parallel
from sashizu_core.settings import Settings
from sashizu_core.specs import ModelSpec, PolicySpec
from sashizu_core.testing.fakes import ScriptedModel, call
from sashizu_core.types import Completion, Decision, Limits, ModelInfo, ModelRequest, Price, Task

HOSTILE = "</script><img src=x onerror=\"document.title='owned'\"> \u202e\x1b[2J"
INFO = ModelInfo("fake/steered", "fake", min_output_tokens=16, price=Price(2_000, 200, 0, 8_000))
SCRIPT = [
    [call("write_file", path="out/notes.md", content=HOSTILE)],
    [call("read_file", path="../../etc/shadow")],
    [call(f"tool{HOSTILE}")],
    f"I am done. {HOSTILE}",
]


class Steered(ScriptedModel):
    """Waits before each answer until as many lines came as it has spoken, and one more."""

    def __init__(self, lines: Lines) -> None:
        super().__init__(SCRIPT, info=INFO)
        self._lines = lines

    async def complete(
        self, request: ModelRequest, *, on_text: Callable[[str], None] | None = None
    ) -> Completion:
        spoken = sum(message.role == "assistant" for message in request.messages)
        await self._lines.more_than(spoken)
        return await super().complete(request, on_text=on_text)


class Lines:
    """Counts the lines of stdin."""

    def __init__(self) -> None:
        self._count = 0
        self._ended = False
        self._changed = anyio.Event()

    async def read(self) -> None:
        while not self._ended:
            line = await anyio.to_thread.run_sync(sys.stdin.readline, abandon_on_cancel=True)
            self._count += 1
            self._ended = not line
            changed, self._changed = self._changed, anyio.Event()
            changed.set()

    async def more_than(self, count: int) -> None:
        while self._count <= count and not self._ended:
            await self._changed.wait()


class AsksBeforeWriting:
    def check(self, request: PermissionRequest, subject: Subject) -> Decision | None:
        if isinstance(request, PathRequest) and request.access == "write":
            return Decision("ask", f"{subject.agent_name} writes {HOSTILE}", "ask write", "policy")
        return None


def definition(name: str) -> AgentDefinition:
    return AgentDefinition.model_validate(
        {
            "name": name,
            "goal": "Write notes.",
            "model": INFO.name,
            "budget": {"tokens": 40_000},
            "tools": {
                "mcp": ["read_file", "write_file"],
                "fs": {"read": True, "write": ["out"]},
            },
            "artifacts": ["out/notes.md"],
        }
    )


async def main(workspace: str, *names: str) -> None:
    lines = Lines()

    @asynccontextmanager
    async def model(_name: str) -> AsyncIterator[Model]:
        yield Steered(lines)

    @asynccontextmanager
    async def policy() -> AsyncIterator[AsksBeforeWriting]:
        yield AsksBeforeWriting()

    def told(handle: RunHandle) -> None:
        print(handle.run_id, flush=True)

    registry = open_registry(Settings())
    registry = replace(
        registry,
        models={INFO.name: ModelSpec(INFO.name, "steered", model)},
        policies={"asks": PolicySpec("asks", "asks before writing", policy)},
    )
    async with anyio.create_task_group() as group:
        group.start_soon(lines.read)
        report = await delegate_parallel(
            [Task(name) for name in names],
            workspace=workspace,
            agents=[definition(name) for name in names],
            settings=Settings(),
            registry=registry,
            budget=Limits(tokens=100_000, nusd=2_000_000_000, requests=50),
            approver=AnsweredElsewhere(),
            on_start=told,
        )
        group.cancel_scope.cancel()
    for result in report.results:
        print(result.agent, result.outcome.value, result.error, flush=True)
    os._exit(0)  # the thread that reads stdin would wait for ever


if __name__ == "__main__":
    anyio.run(main, *sys.argv[1:])
