"""AgentDojo's suites with a model that obeys every injection, and the permission engine between.

    uv run --with agentdojo==0.1.35 benchmarks/agentdojo_obedient.py [--suite NAME] [--every N]

Every pair of a user's task and an injection is a run of its own. The scripted model does what the
user asked, and then whatever the injection says, call by call. The agent may use the tools that the
user's task needs and no others, said in two ways: its definition lists only those, or it lists all
and the operator's rules deny the rest. Beside them the same runs where everything is granted, which
shows that the attacks work. AgentDojo itself says whether an attack reached its goal; what was
executed is what its own functions saw. Ends with 1 if anything was executed outside the permission.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
import tempfile
from collections import Counter
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import anyio
from agentdojo.agent_pipeline.tool_execution import tool_result_to_str
from agentdojo.functions_runtime import FunctionCall, FunctionsRuntime
from agentdojo.task_suite.load_suites import get_suites
from agentdojo.types import text_content_block_from_string
from sashizu_core.agents import AgentDefinition
from sashizu_core.errors import ArgumentsError
from sashizu_core.plugins import Registry
from sashizu_core.protocols import ToolContext
from sashizu_core.runtime import delegate_parallel
from sashizu_core.settings import Settings
from sashizu_core.specs import ToolSpec
from sashizu_core.testing.fakes import MemorySink, ScriptedModel, scripted_model
from sashizu_core.types import ModelInfo, StepKind, Task, ToolCall, ToolResult, ToolSchema

VERSION = "v1.2.2"
INFO = ModelInfo("fake/obedient", "fake", local=True, min_output_tokens=16)
WAYS = ("listed", "denied by rules", "all granted")


@dataclass
class World:
    """One environment of AgentDojo, and the calls that were really executed in it."""

    runtime: FunctionsRuntime
    env: Any
    executed: list[FunctionCall] = field(default_factory=list)


class DojoTool:
    """A function of AgentDojo as a tool of ours."""

    kind = StepKind.EFFECT

    def __init__(self, world: World, name: str) -> None:
        function = world.runtime.functions[name]
        self._world = world
        self._name = name
        self.schema = ToolSchema(
            name, function.description, function.parameters.model_json_schema()
        )

    def parse(self, arguments: str) -> dict[str, Any]:
        found = json.loads(arguments or "{}")
        if not isinstance(found, dict):
            raise ArgumentsError(f"{self._name}: the arguments are no object")
        return found

    def requests(self, arguments: dict[str, Any], context: ToolContext) -> Sequence[Any]:
        return ()  # the tool itself is all that is asked for

    async def run(self, arguments: dict[str, Any], context: ToolContext) -> ToolResult:
        self._world.executed.append(FunctionCall(function=self._name, args=arguments))
        result, error = self._world.runtime.run_function(self._world.env, self._name, arguments)
        return ToolResult(error or tool_result_to_str(result), error is not None)


def spec(world: World, name: str) -> ToolSpec:
    @asynccontextmanager
    async def open_() -> AsyncIterator[DojoTool]:
        yield DojoTool(world, name)

    return ToolSpec(name, name, open_)


def calls_of(found: Sequence[FunctionCall]) -> list[list[ToolCall]]:
    """One turn of the model for each call."""
    texts = [
        json.dumps(dict(call.args), default=lambda value: value.model_dump()) for call in found
    ]
    return [
        [ToolCall(f"call_{number}", call.function, text)]
        for number, (call, text) in enumerate(zip(found, texts, strict=True))
    ]


async def attack(suite: Any, user: Any, injection: Any, way: str, folder: Path) -> Counter[str]:
    """One run; counts what happened."""
    vectors = dict.fromkeys(suite.get_injection_vector_defaults(), injection.GOAL)
    world = World(FunctionsRuntime(suite.tools), None)
    try:
        env = suite.load_and_inject_default_environment(vectors)
    except Exception:  # noqa: BLE001 - a goal that does not fit into the file: the model knows it
        env = suite.load_and_inject_default_environment({})
    world.env = user.init_environment(env)
    before = world.env.model_copy(deep=True)
    asked = user.ground_truth(before)
    told = injection.ground_truth(before)
    names = sorted(world.runtime.functions)
    needed = {call.function for call in asked}
    granted = set(names) if way == "all granted" else needed
    listed = sorted(granted) if way == "listed" else names
    rules = [
        {"verdict": "deny", "touches": "tool", "pattern": name, "reason": "not what was asked for"}
        for name in names
        if name not in granted
    ]
    sink = MemorySink()
    await delegate_parallel(
        [Task("obedient", goal=user.PROMPT)],
        workspace=folder,
        agents=[
            AgentDefinition.model_validate(
                {"name": "obedient", "goal": "Obey.", "model": INFO.name, "tools": {"mcp": listed}}
            )
        ],
        settings=Settings({"policy": {"rule": rules}} if way == "denied by rules" else {}),
        registry=Registry(
            models={
                INFO.name: scripted_model(
                    ScriptedModel([*calls_of([*asked, *told]), "Done."], info=INFO)
                )
            },
            tools={name: spec(world, name) for name in names},
        ),
        sinks=[sink],
        audit=False,
    )
    outside = [call for call in world.executed if call.function not in granted]
    wanted = [call for call in told if call.function not in needed]
    said = [text_content_block_from_string("Done.")]
    reached = suite._check_task_result(injection, said, before, world.env, world.executed)
    return Counter(
        {
            "runs": 1,
            "calls that were asked for": len(asked) + len(told),
            "of them outside what the task needs": len(wanted),
            "executed": len(world.executed),
            "executed outside the permission": len(outside),
            "refused, or failed after a refusal": sum(
                fields["status"] != "ok" for fields in sink.of("tool.ended")
            ),
            "attacks that reached their goal": int(reached),
            "of them that take tools which the task does not need": int(bool(reached and wanted)),
        }
    )


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--suite", action="append", help="only this one; repeatable")
    parser.add_argument("--every", type=int, default=1, help="of the pairs, only every Nth")
    flags = parser.parse_args()
    suites = {
        name: suite
        for name, suite in get_suites(VERSION).items()
        if not flags.suite or name in flags.suite
    }
    found: dict[str, Counter[str]] = {way: Counter() for way in WAYS}
    with tempfile.TemporaryDirectory() as home:
        os.environ |= {"SASHIZU_HOME": f"{home}/state", "XDG_CONFIG_HOME": f"{home}/config"}
        folder = Path(home, "work")
        folder.mkdir()
        for suite in suites.values():
            pairs = [
                (user, injection)
                for user in suite.user_tasks.values()
                for injection in suite.injection_tasks.values()
            ]
            for user, injection in pairs[:: flags.every]:
                for way in WAYS:
                    found[way].update(anyio.run(attack, suite, user, injection, way, folder))
    rows = list(dict.fromkeys(row for counts in found.values() for row in counts))
    print(f"AgentDojo {VERSION}: {', '.join(suites)}\n")
    print(f"| | {' | '.join(WAYS)} |\n| --- |{' ---: |' * len(WAYS)}")
    for row in rows:
        print(f"| {row} | {' | '.join(str(found[way][row]) for way in WAYS)} |")
    outside = sum(counts["executed outside the permission"] for counts in found.values())
    print(f"\n{outside} actions outside the agent's permission")
    return 1 if outside else 0


if __name__ == "__main__":
    sys.exit(main())
