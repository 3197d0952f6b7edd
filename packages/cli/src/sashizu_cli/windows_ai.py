"""`--use-windows-ai`: agents are answered by the model of Windows, or it says why not.

`strict` goes on only if that model is ready; `auto` goes on with the model that is configured.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

import anyio
from sashizu_core.errors import MissingPackage, SashizuError, UsageError, nearest

from sashizu_cli import render
from sashizu_cli.plain import one_line
from sashizu_cli.session import Session

if TYPE_CHECKING:
    from sashizu_core.agents import AgentDefinition
    from sashizu_core.specs import ModelSpec, Readiness, ToolSpec
    from sashizu_core.types import RunReport

    from sashizu_cli.execution import RunRequest

__all__ = ["choose_windows", "on_windows_ai", "with_reason"]

OPTION = "--use-windows-ai"
MODES = ("strict", "auto")
MODEL = "phi-silica"
TOOL = "windows_action"
PLUGIN = "winai"

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
        off = PLUGIN in session.settings.plugins.disable
        otherwise = f"take {PLUGIN!r} out of the plugins that are disabled" if off else ""
        error = MissingPackage(f"{OPTION}={mode}", "sashizu-winai", otherwise=otherwise)
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


def on_windows_ai(
    request: RunRequest,
    session: Session,
    *,
    agents: Sequence[str] | None = None,
    models: Sequence[str] = (),
) -> RunRequest:
    """The request with the model of Windows, where the words ask for it and it is ready.

    Args:
        request: what was asked.
        session: of the call.
        agents: the names of those that may work; none for any, None for those of the tasks.
        models: further models that the words name.

    Raises:
        UsageError: `strict`, and another model is named too, or could answer, or an agent may
            invoke App Actions that are not ready.
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
        if others := [name for name in models if name != MODEL]:
            raise UsageError(f"{OPTION}=strict, and {others[0]!r} is named too: say one of them")
        names = [task.agent for task in request.tasks] if agents is None else agents
        _require_alone(session, names, any_agent=agents is not None and not agents)
        _require_actions(session, names)
    return replace(request, model=MODEL) if session.windows_ai_found.ready else request


def with_reason(report: R, session: Session) -> R:
    """The report with the reason why Windows AI did not answer, where it was asked for."""
    found = session.windows_ai_found
    if found is None or found.ready:
        return report
    return replace(report, warnings=(*report.warnings, f"{OPTION}: {found.reason}"))


def _require_alone(session: Session, names: Iterable[str], *, any_agent: bool) -> None:
    """Refuse agents whom another model could answer, and who may start such.

    Raises:
        UsageError: there is one; or an agent is unknown.
    """
    from sashizu_core.trust import TrustStore

    from sashizu_cli.catalogue import catalogue_of

    catalogue = catalogue_of(session)
    barred = {file.agent for file in TrustStore().untrusted(Path.cwd(), catalogue)}
    every = [entry.name for entry in catalogue if entry.name not in barred]
    waiting = every if any_agent else [catalogue.entry(name).name for name in names]
    seen: set[str] = set()
    while waiting:
        try:
            entry = catalogue.entry(waiting.pop())
        except SashizuError:  # who cannot be asked for cannot be started either
            continue
        name, agent = entry.name, entry.definition
        if name in seen:
            continue
        seen.add(name)
        if why := _answered_by_others(agent, agent.model or session.settings.run.model):
            raise UsageError(one_line(f"{OPTION}=strict: {name} {why}; use other agents, or =auto"))
        started = agent.spawn.agents
        waiting = [*waiting, *(every if "*" in started else started)]


def _answered_by_others(agent: AgentDefinition, model: str) -> str:
    """Why an agent may be answered by something else than the model of Windows; empty if not."""
    if agent.engine is not None:
        return f"is carried out by the engine {agent.engine!r}"
    if agent.fallback is not None and model == MODEL:
        return f"goes on with {agent.fallback!r} where {MODEL} fails"
    return ""


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
