"""`--use-windows-ai`: agents are answered by the model of Windows, or it says why not.

`strict` goes on only if that model is ready; `auto` goes on with the model that is configured.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING, TypeVar

import anyio
from sashizu_core.errors import MissingPackage, UsageError, nearest

from sashizu_cli import render
from sashizu_cli.plain import one_line
from sashizu_cli.session import Session

if TYPE_CHECKING:
    from sashizu_core.specs import ModelSpec, Readiness, ToolSpec
    from sashizu_core.types import RunReport

    from sashizu_cli.execution import RunRequest

__all__ = ["choose_windows", "on_windows_ai", "with_reason"]

OPTION = "--use-windows-ai"
MODES = ("strict", "auto")
MODEL = "phi-silica"
TOOL = "windows_action"

R = TypeVar("R", bound="RunReport")


def choose_windows(session: Session) -> None:
    """Look whether Windows AI is ready, once a call, and say on stderr which model will answer.

    Raises:
        MissingPackage: `strict`, and nobody offers the model.
        UsageError: there is no such mode, or `strict`, and the model is not ready.
    """
    mode = session.windows_ai
    if mode is None or session.windows_ai_found is not None:
        return
    if mode not in MODES:
        hint = nearest(mode, MODES)
        raise UsageError(f"{OPTION}={mode}{hint}; known: {', '.join(MODES)}")
    spec = session.registry.models.get(MODEL)
    if spec is None:
        error = MissingPackage(f"{OPTION}={mode}", "sashizu-winai")
        if mode == "strict":
            raise error
        session.windows_ai_found = _told(session, False, str(error))
        return
    found = _readiness(spec)
    if not found.ready and mode == "strict":
        raise UsageError(one_line(f"{OPTION}: {MODEL} is not ready: {_reason(found)}"))
    if found.ready:
        text = f"{MODEL} is ready, carried out by {found.backend}: {found.reason}"
    else:
        text = f"{MODEL} is not ready, so the configured model answers: {_reason(found)}"
    session.windows_ai_found = _told(session, found.ready, text)


def on_windows_ai(request: RunRequest, session: Session) -> RunRequest:
    """The request with the model of Windows, where the words ask for it and it is ready.

    Raises:
        UsageError: `strict`, and another model is named too, or an agent may invoke App Actions
            that are not ready.
    """
    if session.windows_ai_found is None:
        return request
    strict = session.windows_ai == "strict"
    if request.model is not None and request.model != MODEL:
        if strict:
            raise UsageError(
                f"{OPTION}=strict and --model {request.model!r} name two models: say one of them"
            )
        note = f"--model {request.model!r} was named, so it answers"
        session.windows_ai_found = _told(session, False, note)
    if strict:
        _require_actions(session, [task.agent for task in request.tasks])
    return replace(request, model=MODEL) if session.windows_ai_found.ready else request


def with_reason(report: R, session: Session) -> R:
    """The report with the reason why Windows AI did not answer, where it was asked for."""
    found = session.windows_ai_found
    if found is None or found.ready:
        return report
    return replace(report, warnings=(*report.warnings, f"{OPTION}: {found.reason}"))


def _require_actions(session: Session, agents: Iterable[str]) -> None:
    """Refuse agents that may invoke App Actions which cannot be invoked here.

    Raises:
        UsageError: they are not ready.
    """
    from sashizu_cli.catalogue import catalogue_of

    catalogue = catalogue_of(session)
    users = [name for name in agents if TOOL in catalogue.get(name).tools.mcp]
    spec = session.registry.tools.get(TOOL)
    if not users or spec is None:  # a tool that nobody offers is refused with the run
        return
    found = _readiness(spec)
    if not found.ready:
        names = ", ".join(dict.fromkeys(users))
        raise UsageError(one_line(f"{OPTION}: {names} need {TOOL}: {_reason(found)}"))


def _readiness(spec: ModelSpec | ToolSpec) -> Readiness:
    from sashizu_core.specs import Readiness

    if spec.probe is None:
        return Readiness(True, "it is offered", backend=spec.name)
    return anyio.run(partial(spec.probe))


def _reason(found: Readiness) -> str:
    return f"{found.reason}; {found.remedy}" if found.remedy else found.reason


def _told(session: Session, ready: bool, text: str) -> Readiness:
    from sashizu_core.specs import Readiness

    render.line(one_line(f"{OPTION}={session.windows_ai}: {text}"), to_stderr=True)
    return Readiness(ready, one_line(text))
