"""What plugins offer: cheap descriptions that open the real thing.

A spec has a `name`, a `summary` of one line and an `open`. Heavy imports and connections happen in
`open`, never when a spec is made.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping, Sequence
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from sashizu_core.devices.contract import DeviceSpec
from sashizu_core.executors import Executor, Operation
from sashizu_core.hosts import AgentHost
from sashizu_core.isolation import Isolation
from sashizu_core.protocols import (
    Admission,
    Budget,
    EventSink,
    Model,
    Policy,
    Tool,
    ToolSource,
)
from sashizu_core.recorded import RecordedRun
from sashizu_core.sandboxing import Sandbox, SandboxInfo

__all__ = [
    "AdmissionSpec",
    "AgentSource",
    "BudgetSpec",
    "CommandSpec",
    "DeviceSpec",
    "ExecutorSpec",
    "HostSpec",
    "IsolationSpec",
    "ModelSpec",
    "PolicySpec",
    "Readiness",
    "RecordRows",
    "SandboxSpec",
    "SinkSpec",
    "ToolSourceSpec",
    "ToolSpec",
]


@dataclass(frozen=True, slots=True)
class Readiness:
    """Whether something can be used on this machine now.

    `backend` is what would carry it out. `reason` says what was found, `remedy` what a person can
    do; `remedy` is empty where nothing can be done or needs to be.
    """

    ready: bool
    reason: str
    remedy: str = ""
    backend: str = ""


@dataclass(frozen=True, slots=True)
class ModelSpec:
    """A model, or a family of models.

    A name that ends in `/*` offers every model with that prefix. `open` gets the full name that was
    asked for and yields the model. `secrets` are the keys that it is called with: they are taken
    out of everything that is recorded or shown. `engine` says that what opens is a
    `turn.engine.Engine`: a program that is a whole agent. `probe` looks whether it can be used
    here, and never raises; None where only a call can tell.
    """

    name: str
    summary: str
    open: Callable[[str], AbstractAsyncContextManager[Model]]
    secrets: tuple[str, ...] = field(default=(), repr=False)
    engine: bool = False
    probe: Callable[[], Awaitable[Readiness]] | None = None


@dataclass(frozen=True, slots=True)
class ToolSpec:
    """A tool.

    `needs` names the grants that bound it (`fs.read`, `fs.write`, `net`, `shell.exec`, `spawn`):
    without all of them the tool does not exist for an agent.
    `aliases` are other names that a definition may list it by. `probe` as for a model.
    """

    name: str
    summary: str
    open: Callable[[], AbstractAsyncContextManager[Tool]]
    needs: tuple[str, ...] = ()
    aliases: tuple[str, ...] = ()
    probe: Callable[[], Awaitable[Readiness]] | None = None


@dataclass(frozen=True, slots=True)
class ToolSourceSpec:
    """Tools that are known only once somebody is asked: those of servers, as `server/tool`.

    `open` gets the workspace; it asks nobody yet. `check` gets the workspace and, for each agent
    that lists such tools, the names and what its definition says of servers; it raises what a run
    has to be refused for before anything happens. `secrets` are taken out of everything that is
    recorded or shown.
    """

    name: str
    summary: str
    open: Callable[[Path], AbstractAsyncContextManager[ToolSource]]
    check: Callable[[Path, Sequence[tuple[tuple[str, ...], Mapping[str, Any]]]], None]
    secrets: tuple[str, ...] = field(default=(), repr=False)


@dataclass(frozen=True, slots=True)
class PolicySpec:
    """A policy; every policy must agree."""

    name: str
    summary: str
    open: Callable[[], AbstractAsyncContextManager[Policy]]


@dataclass(frozen=True, slots=True)
class SandboxSpec:
    """A way to hold programs.

    `probe` tests for real what it can do on this machine, in the blocking way; of those that can
    the same, the one with the lowest `rank` is taken.
    """

    name: str
    summary: str
    probe: Callable[[], SandboxInfo]
    open: Callable[[], AbstractAsyncContextManager[Sandbox]]
    rank: int = 100


@dataclass(frozen=True, slots=True)
class RecordRows:
    """What a query of a record gave. `truncated` says that there was more."""

    columns: tuple[str, ...]
    rows: tuple[tuple[Any, ...], ...]
    truncated: bool = False


@dataclass(frozen=True, slots=True)
class SinkSpec:
    """A sink; every sink gets every event.

    `query` asks what the sink has kept: one SELECT in SQL, the most rows, and the most seconds. It
    changes nothing but that the question is recorded, may block, and raises `UsageError` for what
    it does not allow. None where the record cannot be asked. `open_beneath` opens it in a process
    that another one started, with what `child_handoff` said there; None opens it as anywhere else.
    `recorded` reads one run back, by its id or the beginning of it; it may block, and raises
    `UsageError` where there is none. None where runs cannot be read back.
    """

    name: str
    summary: str
    open: Callable[[], AbstractAsyncContextManager[EventSink]]
    query: Callable[[str, int, float], RecordRows] | None = None
    open_beneath: Callable[[Mapping[str, str]], AbstractAsyncContextManager[EventSink]] | None = (
        None
    )
    recorded: Callable[[str], RecordedRun] | None = None


@dataclass(frozen=True, slots=True)
class AdmissionSpec:
    """What says when local models may be loaded; opened only for runs that have to load one.

    `open` gets all backends of devices.
    """

    name: str
    summary: str
    open: Callable[[Sequence[DeviceSpec]], AbstractAsyncContextManager[Admission]]


@dataclass(frozen=True, slots=True)
class BudgetSpec:
    """The ledger of this process."""

    name: str
    summary: str
    open: Callable[[], AbstractAsyncContextManager[Budget]]


@dataclass(frozen=True, slots=True)
class ExecutorSpec:
    """An executor.

    `open` gets the operations that it can be asked for, by name; where other processes do the work,
    these have to know operations of the same names.
    """

    name: str
    summary: str
    open: Callable[[Mapping[str, Operation]], AbstractAsyncContextManager[Executor]]


@dataclass(frozen=True, slots=True)
class IsolationSpec:
    """A way to keep agents apart that change the same files.

    `fits` says whether it can be used for a workspace, as a reason why not, empty if it can; it may
    block. `open` gets the workspace and the id of the run. `gone` gets the id of an agent instance
    of an earlier run and says why nobody can work on in its folder, empty if somebody can; it may
    block. What it opens is a `LastingIsolation`; None where folders do not outlast their run.
    """

    name: str
    summary: str
    fits: Callable[[Path], str]
    open: Callable[[Path, str], AbstractAsyncContextManager[Isolation]]
    gone: Callable[[str], str] | None = None


@dataclass(frozen=True, slots=True)
class HostSpec:
    """A way to have an agent work in a process of its own.

    A definition asks for it by `isolation`. `open` gets the workspace of the run.
    """

    name: str
    summary: str
    open: Callable[[Path], AbstractAsyncContextManager[AgentHost]]


@dataclass(frozen=True, slots=True)
class AgentSource:
    """A folder of agent definitions. `scope` says whose it is; a repository never overrides."""

    name: str
    summary: str
    folder: Path
    scope: Literal["shipped", "user", "repository"]
    patterns: tuple[str, ...] = ("*.yaml", "*.yml")


@dataclass(frozen=True, slots=True)
class CommandSpec:
    """A command of the CLI. `target` is `module:typer_app`, imported when it is called.

    `experimental` commands may change in any release, and say so in their help.
    """

    name: str
    summary: str
    target: str
    experimental: bool = False
