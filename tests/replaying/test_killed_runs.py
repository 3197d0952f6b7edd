"""A run whose process is killed in the middle of an effect, and what goes on from its record."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
from sashizu_core.builtin.typed import Arguments, TypedTool
from sashizu_core.grants import PermissionRequest
from sashizu_core.protocols import Tool, ToolContext
from sashizu_core.specs import ToolSpec
from sashizu_core.testing.fakes import call
from sashizu_core.types import Limits, ModelRequest, StepKind, ToolResult

pytestmark = pytest.mark.crash

_PROGRAM = """
import os, signal, sys
from contextlib import asynccontextmanager
from pathlib import Path

import anyio
from sashizu_audit import plugin as audit
from sashizu_budget.ledger import Ledger
from sashizu_core.agents import AgentDefinition
from sashizu_core.builtin import plugin as builtin
from sashizu_core.builtin.typed import Arguments, TypedTool
from sashizu_core.plugins import Registry
from sashizu_core.runtime import delegate_parallel
from sashizu_core.settings import Settings
from sashizu_core.specs import BudgetSpec, ToolSpec
from sashizu_core.testing.fakes import ScriptedModel, call, scripted_model
from sashizu_core.types import Limits, ModelInfo, StepKind, Task, ToolResult

place, record, ledger_file, where = Path(sys.argv[1]), sys.argv[2], Path(sys.argv[3]), sys.argv[4]


def die():
    os.kill(os.getpid(), signal.SIGKILL)


class SendArguments(Arguments):
    text: str


class Send(TypedTool):
    name, description, arguments, kind = "send", "Sends.", SendArguments, StepKind.EFFECT

    def requests(self, arguments, context):
        return []

    async def run(self, arguments, context):
        with ledger_file.open("a") as file:
            file.write(arguments.text + chr(10))
        if where == "tool" and arguments.text == "two":
            die()
        return ToolResult("sent " + arguments.text)


@asynccontextmanager
async def opened():
    yield Send()


@asynccontextmanager
async def ledger():
    yield Ledger()


def answer(request):
    spoken = sum(message.role == "assistant" for message in request.messages)
    if spoken == 2 and where == "model":
        die()
    words = ("one", "two")
    return [call("send", f"c{spoken}", text=words[spoken])] if spoken < 2 else "all sent"


info = ModelInfo("fake/worker", "fake", local=True, min_output_tokens=16, max_output_tokens=500)
model = ScriptedModel(answer, info=info)
settings = Settings({"audit": {"dir": record, "content": "blobs"}})
tools = {spec.name: spec for spec in builtin.register_tools(Settings())}
registry = Registry(
    models={info.name: scripted_model(model)},
    tools={**tools, "send": ToolSpec("send", "sends", opened)},
    sinks={spec.name: spec for spec in audit.register_sinks(settings)},
    budget=BudgetSpec("ledger", "the ledger", ledger),
)
agent = AgentDefinition.model_validate(
    {"name": "worker", "goal": "send", "model": info.name, "tools": {"mcp": ["send"]}}
)
anyio.run(
    lambda: delegate_parallel(
        [Task("worker")], workspace=place, agents=[agent], settings=settings, registry=registry,
        budget=Limits(tokens=60_000),
    )
)
"""


class SendArguments(Arguments):
    text: str


class Send(TypedTool[SendArguments]):
    """Writes down what it sends, as the killed process did."""

    name = "send"
    description = "Sends."
    arguments = SendArguments
    kind = StepKind.EFFECT

    def __init__(self, file: Path) -> None:
        super().__init__()
        self.file = file

    def requests(
        self, arguments: SendArguments, context: ToolContext
    ) -> Sequence[PermissionRequest]:
        return []

    async def run(self, arguments: SendArguments, context: ToolContext) -> ToolResult:
        with self.file.open("a") as file:
            file.write(f"{arguments.text}\n")
        return ToolResult(f"sent {arguments.text}")


@pytest.mark.parametrize("where", ["tool", "model"])
async def test_what_a_killed_process_did_is_never_done_twice(
    world: Any, tmp_path: Path, where: str
) -> None:
    sent = tmp_path / "sent"
    program = [sys.executable, "-c", _PROGRAM, world.place, world.record, sent, where]
    killed = subprocess.run(program, capture_output=True, text=True, timeout=60, check=False)
    assert killed.returncode == -9, killed.stderr
    assert sent.read_text() == "one\ntwo\n"

    def answer(request: ModelRequest) -> Any:
        spoken = sum(message.role == "assistant" for message in request.messages)
        return [call("send", f"c{spoken}", text="three")] if spoken < 2 else "all sent"

    @asynccontextmanager
    async def open_() -> AsyncIterator[Tool]:
        yield Send(sent)

    world.agent("worker", answer)
    world.tools["send"] = ToolSpec("send", "sends", open_)
    (run,) = world.query("SELECT CAST(run_id AS VARCHAR) AS id, status FROM runs")
    assert run["status"] == "unfinished"
    found = await world.resume(run["id"], crashed=False, budget=Limits(tokens=60_000))
    assert found.report.results[0].answer == "all sent"
    assert sent.read_text() == "one\ntwo\n"
    assert [doubt.tool for doubt in found.doubts] == (["send"] if where == "tool" else [])
    kinds = world.query(
        "SELECT status, error_type FROM events WHERE kind = 'tool.ended' "
        f"AND run_id = '{found.run_id}' ORDER BY step"
    )
    assert kinds[0] == {"status": "ok", "error_type": None}
    unknown = {"status": "error", "error_type": "outcome_unknown"}
    assert kinds[1] == (unknown if where == "tool" else {"status": "ok", "error_type": None})
    assert json.dumps(world.query("SELECT DISTINCT missing FROM seq_gaps")) == '[{"missing": 0}]'
