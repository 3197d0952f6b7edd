"""The tools that follow runs: state, result, cancellation."""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial
from typing import TYPE_CHECKING

import anyio

from sashizu_mcp_server.server.arguments import RunQuery, RunRef, WaitForRun
from sashizu_mcp_server.server.caller import Caller
from sashizu_mcp_server.server.results import (
    RunReported,
    RunState,
    RunStates,
    ToolAnswer,
    answer_of,
)
from sashizu_mcp_server.server.runs import Run
from sashizu_mcp_server.server.tools import OfferedTool, typed_tool

if TYPE_CHECKING:
    from sashizu_mcp_server.server.service import Service

__all__ = ["following_tools", "report_text", "run_answer"]


def following_tools(service: Service) -> Iterator[OfferedTool]:
    """What tells of runs that this server started, and ends them."""
    yield typed_tool(
        "run_status",
        "State of runs",
        "Tell how far a run is: every agent's state, step, tool and tokens. Without run_id, all "
        "runs that this server started.",
        RunQuery,
        RunStates,
        partial(_run_status, service),
        reads=True,
    )
    yield typed_tool(
        "run_result",
        "Result of a run",
        "Get the reports of a run that was started with wait=false; wait_s waits for its end.",
        WaitForRun,
        RunReported,
        partial(_run_result, service),
        reads=True,
    )
    yield typed_tool(
        "cancel_run",
        "Cancel a run",
        "End every agent of a run; each reports what it has.",
        RunRef,
        RunState,
        partial(_cancel_run, service),
        reads=False,
        idempotent=True,
    )


async def _run_status(service: Service, asked: RunQuery, caller: Caller) -> ToolAnswer:  # noqa: ARG001
    runs = [service.runs.get(asked.run_id)] if asked.run_id else list(service.runs)
    states = RunStates(runs=tuple(run.state() for run in runs))
    lines = [
        f"{state.run_id} {state.status} {state.seconds:.0f} s: {', '.join(state.agents)}"
        for state in states.runs
    ]
    return answer_of("\n".join(lines) or "no runs", states)


async def _run_result(service: Service, asked: WaitForRun, caller: Caller) -> ToolAnswer:
    run = service.runs.get(asked.run_id)
    if asked.wait_s and not run.done.is_set():
        with anyio.move_on_after(asked.wait_s):
            await service.runs.watch(run, caller)
    return run_answer(service, run)


async def _cancel_run(service: Service, asked: RunRef, caller: Caller) -> ToolAnswer:  # noqa: ARG001
    run = service.runs.get(asked.run_id)
    if not run.done.is_set():
        run.cancel("cancelled by the MCP client")
        with anyio.move_on_after(5.0):
            await run.done.wait()
    state = run.state()
    return answer_of(f"the run {run.run_id} is {state.status}", state)


def run_answer(service: Service, run: Run) -> ToolAnswer:
    """What a run came to, or that it is at work."""
    told = run.reported()
    text = report_text(told)
    if run.error is not None:
        return ToolAnswer(service.redactor.text(str(run.error)), is_error=True)
    return answer_of(text, told)


def report_text(told: RunReported) -> str:
    """A run as a model reads it: every agent's answer, what it made, and why it failed."""
    if told.status == "running":
        return (
            f"the run {told.run_id} is at work; poll run_status, then get run_result with this id"
        )
    parts = [f"run {told.run_id}: {told.status}, {told.tokens} tokens"]
    if told.answer:
        return "\n\n".join([*parts, told.answer, *told.warnings])
    for result in told.results:
        parts.append(f"# {result.agent}: {result.status} ({result.outcome})")
        if result.error:
            parts.append(f"error: {result.error}")
        if result.answer:
            parts.append(result.answer)
        parts += [f"- {each.verdict}: {each.text}" for each in result.criteria]
        parts += [f"- wrote {made.path} ({made.uri})" for made in result.artifacts]
    return "\n\n".join([*parts, *told.warnings])
