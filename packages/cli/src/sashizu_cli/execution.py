"""Carries out what commands ask of agents, from settings to exit code."""

from __future__ import annotations

import gc
import os
import sys
import time
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import anyio
from sashizu_core.errors import TrustNeeded
from sashizu_core.ids import RunId, new_run_id
from sashizu_core.protocols import EventSink
from sashizu_core.types import Limits, RunReport, Task

from sashizu_cli import render
from sashizu_cli.approving import approver_for
from sashizu_cli.descriptors import make_room
from sashizu_cli.exits import INTERRUPTED, OK, exit_code
from sashizu_cli.interrupts import Interrupts
from sashizu_cli.live import Display, JsonLines, LiveDisplay, PlainLines
from sashizu_cli.outfile import OutFile, opened
from sashizu_cli.reports import print_answer, print_report
from sashizu_cli.session import Session
from sashizu_cli.trusting import trust_now
from sashizu_cli.view import RunView
from sashizu_cli.windows_ai import on_windows_ai, with_reason

if TYPE_CHECKING:
    from sashizu_core.agents import AgentDefinition

__all__ = ["RunRequest", "asked_first", "delegated", "execute", "watched"]

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class RunRequest:
    """What the command line asks. `budget`, `deadline_s` and `jobs` are None where it is silent.

    `approve` is `never`, `ask`, the name of a file, or None where the command line is silent.
    `definitions` are agents beside those found in files.
    `only_answer` prints the answer of a single agent instead of a combined report.
    `plan` shows what would be run and asks, and so does a worst case above `confirm_above`; `yes`
    answers.
    """

    tasks: Sequence[Task]
    budget: Limits | None = None
    rebalance: bool = False
    deadline_s: float | None = None
    jobs: int | None = None
    model: str | None = None
    isolation: str | None = None
    approve: str | None = None
    out: Path | None = None
    as_json: bool = False
    audit: bool = True
    conversation: str | None = None
    only_answer: bool = False
    definitions: Sequence[AgentDefinition] = ()
    plan: bool = False
    yes: bool = False
    confirm_above: str | None = None
    run_id: RunId | None = None


def execute(request: RunRequest, session: Session) -> int:
    """Run the agents, print their reports, write the output file; returns the exit code.

    Raises:
        SashizuError: nothing could be run, or the record or the output file not be written.
    """
    agreed = asked_first(on_windows_ai(request, session), session)
    if agreed is None:
        return OK
    request = agreed
    with opened(request.out) as file:
        report, interrupted = watched(request, session, partial(delegated, request), file)
        report = with_reason(report, session)
        try:
            _write_down(report, file)
        finally:  # what the agents said is shown also where the file cannot be written
            _print(report, request)
    return exit_code(report.results, interrupted=interrupted)


def asked_first(request: RunRequest, session: Session) -> RunRequest | None:
    """The request as it goes on, after somebody was asked where that is wanted; None if it ends.

    Raises:
        SashizuError: it cannot be planned, or may cost too much to go on without an answer.
    """
    if not (request.plan or request.confirm_above or session.settings.run.confirm_above):
        return request
    from sashizu_cli.confirming import confirmed

    run_id = confirmed(request, session)
    return None if run_id is None else replace(request, run_id=run_id)


def watched(
    request: RunRequest,
    session: Session,
    call: Callable[[Mapping[str, Any]], Awaitable[T]],
    file: OutFile | None,
) -> tuple[T, bool]:
    """Do something with agents while a person watches; returns what came of it.

    `call` gets what every run takes, by name. The second value says whether somebody interrupted.

    Raises:
        SashizuError: nothing could be run, or the record not be written.
    """
    for text in session.settings.warnings:
        render.warning(text)
    display = _display(request)
    interrupts = Interrupts(partial(_end_at_once, display, file))
    try:
        found = _outcome(request, session, display, interrupts, call)
    except TrustNeeded as needed:  # nothing has begun
        if not trust_now(needed, session):
            raise
        found = _outcome(request, session, display, interrupts, call)
    return found, interrupts.count > 0


def _write_down(report: RunReport, file: OutFile | None) -> None:
    if file is not None:
        from sashizu_cli.document import document_text

        file.write(document_text(report))


def _print(report: RunReport, request: RunRequest) -> None:
    for text in report.warnings:
        render.warning(text)
    if request.only_answer:
        print_answer(report, to_stderr=request.as_json)
    else:
        print_report(report, to_stderr=request.as_json)


def _outcome(
    request: RunRequest,
    session: Session,
    display: Display,
    interrupts: Interrupts,
    call: Callable[[Mapping[str, Any]], Awaitable[T]],
) -> T:
    """Run the agents; what ended the run is raised as it is, out of its group.

    Raises:
        SashizuError: nothing could be run, or the record not be written.
    """
    try:
        return anyio.run(_run, request, session, display, interrupts, call)
    except BaseExceptionGroup as group:
        if len(group.exceptions) == 1:
            raise group.exceptions[0] from None
        raise
    finally:
        gc.unfreeze()  # extension modules that stay frozen complain of leaks at exit


def _display(request: RunRequest) -> Display:
    limit = request.budget.tokens if request.budget is not None else None
    view = RunView(time.monotonic, expected=len(request.tasks), limit=limit)
    console = render.terminal(sys.stderr)
    return PlainLines(view) if console is None else LiveDisplay(view, console)


def _end_at_once(display: Display, file: OutFile | None) -> None:
    """Give the terminal back, leave no file of ours behind, and be gone."""
    display.close()
    if file is not None:
        file.clean_up()
    os._exit(INTERRUPTED)


def _spare_the_collector() -> None:
    """Keep what is loaded out of garbage collection, and collect less often.

    Many agents make many objects that live as long as their conversation; with the usual thresholds
    the collector walks over all of them again and again.
    """
    gc.freeze()
    gc.set_threshold(50_000, 20, 100)


async def _run(
    request: RunRequest,
    session: Session,
    display: Display,
    interrupts: Interrupts,
    call: Callable[[Mapping[str, Any]], Awaitable[T]],
) -> T:
    _spare_the_collector()
    make_room(len(request.tasks))
    run_id = request.run_id or new_run_id()
    sinks: list[EventSink] = [display]
    if request.as_json:
        gone = partial(interrupts.end, "nobody reads the events any more")
        sinks.append(JsonLines(render.raw, lost=gone))
    options = {
        "settings": session.settings,
        "registry": session.registry,
        "budget": request.budget,
        "rebalance": request.rebalance,
        "deadline_s": request.deadline_s,
        "jobs": request.jobs,
        "model": request.model,
        "audit": request.audit,
        "isolation": request.isolation,
        "approver": approver_for(request.approve, display, run_id),
        "run_id": run_id,
        "sinks": sinks,
        "on_text": display.view.hear,
        "on_line": display.view.hear_line,
        "on_start": interrupts.attach,
    }
    async with anyio.create_task_group() as group:
        await group.start(interrupts.watch)
        with display.shown():
            group.start_soon(display.keep_fresh)
            found = await call(options)
        group.cancel_scope.cancel()
    return found


async def delegated(request: RunRequest, options: Mapping[str, Any]) -> RunReport:
    """Run the tasks of a request; `options` are what every run takes."""
    from sashizu_core.runtime import delegate_parallel

    return await delegate_parallel(
        request.tasks,
        agents=request.definitions,
        continue_conversation=request.conversation,
        **options,
    )
