"""`replay`: a recorded run once more, with what models and tools answered then."""

from __future__ import annotations

import tempfile
from collections.abc import AsyncIterator, Callable, Iterator, Mapping, Sequence
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

from sashizu_core.errors import Diverged, SashizuError
from sashizu_core.plugins import Registry, open_registry
from sashizu_core.protocols import Budget, EventSink, Model
from sashizu_core.repeating.comparing import Collected, compared_events
from sashizu_core.repeating.making import carried_out
from sashizu_core.repeating.reading import KnownRun, check_kinds, known_run
from sashizu_core.runtime.asked import asked_by
from sashizu_core.runtime.counting_ledger import CountingLedger
from sashizu_core.runtime.written_plan import model_infos
from sashizu_core.sandboxing import NoSandbox, Sandbox, SandboxInfo
from sashizu_core.settings import Settings, load_settings
from sashizu_core.specs import BudgetSpec, ModelSpec, SandboxSpec
from sashizu_core.supervisor.report import Supervision
from sashizu_core.types import Bound, Completion, ModelInfo, ModelRequest, RunReport, Usage

__all__ = ["Replay", "replay"]


@dataclass(frozen=True, slots=True)
class Replay:
    """What came of a replay. `compared` events were held against those on record.

    `differences` are empty where all of them say the same. `supervision` is what a supervisor's run
    came to.
    """

    run_id: str
    replay_of: str
    report: RunReport
    compared: int
    differences: tuple[Diverged, ...]
    supervision: Supervision | None = None

    @property
    def same(self) -> bool:
        return not self.differences


async def replay(
    run: str,
    *,
    settings: Settings | None = None,
    registry: Registry | None = None,
    sinks: Sequence[EventSink] = (),
    **options: Any,
) -> Replay:
    """Make a recorded run once more: no model is asked, no tool is run, nothing is paid.

    The definitions, tasks and texts are those of the record; what the runtime makes of them is made
    anew and held against the recorded events. Agents are matched by who started them in which step.

    Args:
        run: its id, the beginning of it if that is the only one, or `last`.
        settings: None reads them for the current folder; what shaped the run is on record.
        registry: None wires the installed plugins; its tools read arguments and are never run.
        sinks: further sinks for this run's events.
        options: `on_text`, `on_line`, `on_start`, `run_id` and `audit`, which `delegate_parallel`
            takes, too.

    Raises:
        UsageError: there is no such run.
        MissingPackage: no record can be read.
        SashizuError: content was not kept, was pruned or redacted, the record is not intact, or
            another version wrote it.
    """
    settings = settings if settings is not None else load_settings(Path())
    registry = registry if registry is not None else open_registry(settings)
    known = await known_run(registry, run, recomputes=True)
    _check(known)
    collected = Collected(known.past.fresh)
    with _workspace(known.asked.root) as root:
        shaped = _settings(settings, known)
        asked = asked_by(
            known.asked.tasks,
            workspace=root,
            budget=known.asked.budget,
            jobs=known.asked.jobs,
            model=known.asked.model,
            isolation=known.asked.isolation,
            agents=known.asked.agents,
            settings=shaped,
            registry=_recorded_world(registry, shaped, known),
            sinks=[*sinks, collected],
            **options,
        )
        asked = replace(asked, past=known.past, deadline_s=None)
        report, supervision = await carried_out(asked, known)
    same = {past.agent_id: past.goes_on_as for past in known.past.every}
    count, differences = compared_events(_of_its_process(known), collected.events, same)
    found = known.past.diverged or differences
    return Replay(asked.run_id, known.recorded.run_id, report, count, tuple(found), supervision)


def _of_its_process(known: KnownRun) -> list[Mapping[str, Any]]:
    """The recorded events, but for what processes of agents say of themselves as a whole."""
    writer = known.started.get("writer_id")
    return [
        event
        for event in known.recorded.events
        if event.get("agent_id") is not None or event.get("writer_id") == writer
    ]


def _check(known: KnownRun) -> None:
    """Refuse what cannot be made again.

    Raises:
        SashizuError: says what of it cannot.
    """
    if known.recorded.alive:
        raise SashizuError(f"run {known.recorded.run_id} is still at work: wait for its end")
    check_kinds(known)


_LEFT_OUT = frozenset({"budget", "models", "mcp", "hooks", "devices"})
"""Tables of today that say what is there to be asked, paid, started or measured."""


def _settings(settings: Settings, known: KnownRun) -> Settings:
    """Today's settings, with the tables that shaped the run as they were."""
    shaped = {name: dict(table) for name, table in known.asked.tables.items()}
    run = {**shaped.pop("run", {}), "sandbox": "none", "executor": "local"}
    kept = {name: table for name, table in settings.tables.items() if name not in _LEFT_OUT}
    return Settings({**kept, **shaped, "run": run}, {}, ())


@contextmanager
def _workspace(root: Path) -> Iterator[Path]:
    """The folder of the run; an empty one of that name where it is gone: nothing is read there."""
    if root.is_dir():
        yield root
        return
    with tempfile.TemporaryDirectory(prefix="sashizu-replay-") as folder:
        stand_in = Path(folder) / root.name
        stand_in.mkdir()
        yield stand_in


# --- the outside, as it is recorded ---------------------------------------------------------------


def _recorded_world(registry: Registry, settings: Settings, known: KnownRun) -> Registry:
    """What is installed, with nothing in it that reaches the outside."""
    sandbox = next(
        (e for e in known.recorded.events if e["kind"] == "security.sandbox" and "status" in e),
        None,
    )
    return replace(
        registry,
        models={info.name: _model_spec(info) for info in _models(settings, known)},
        budget=_ledger_spec() if known.started.get("budget_id") is not None else None,
        sandboxes={"none": _sandbox_spec(sandbox)} if sandbox is not None else {},
        tool_sources={},
        isolations={},
        executors={},
        hosts={},
        agents={},
    )


def _models(settings: Settings, known: KnownRun) -> Iterator[ModelInfo]:
    """What was known of models; of those that were never asked, their names."""
    asked = known.asked
    names = {settings.run.model, asked.model, *(task.model for task in asked.tasks)}
    names |= {name for agent in asked.agents for name in (agent.model, agent.fallback)}
    names |= {*((asked.supervised or {}).get("wanted") or {}).get("models", ())}
    for name in filter(None, names):
        yield ModelInfo(name, name.partition("/")[0])
    for document in known.past.documents:
        yield from model_infos(document)


class _RecordedModel:
    """A model that is asked nothing."""

    def __init__(self, info: ModelInfo) -> None:
        self.info = info

    def bound(self, request: ModelRequest) -> Bound:  # noqa: ARG002 - as `Model` has it
        return Bound(0, 0, "recorded")

    def learn(self, bound: Bound, usage: Usage) -> None:
        """It knows what it was."""

    async def count(self, request: ModelRequest) -> int | None:  # noqa: ARG002
        return None

    async def complete(
        self,
        request: ModelRequest,  # noqa: ARG002 - as `Model` has it
        *,
        on_text: Callable[[str], None] | None = None,  # noqa: ARG002
    ) -> Completion:
        raise SashizuError(f"a replay asks no model, and {self.info.name!r} was to be asked")


def _model_spec(info: ModelInfo) -> ModelSpec:
    @asynccontextmanager
    async def open_(_name: str) -> AsyncIterator[Model]:
        yield _RecordedModel(info)

    return ModelSpec(info.name, "as it is recorded", open_)


def _ledger_spec() -> BudgetSpec:
    @asynccontextmanager
    async def open_() -> AsyncIterator[Budget]:
        yield CountingLedger()

    return BudgetSpec("recorded", "counts what was paid", open_)


def _sandbox_spec(event: Mapping[str, Any]) -> SandboxSpec:
    attrs = event.get("attrs") or {}
    info = SandboxInfo(str(attrs.get("sandbox")), event["status"], str(attrs.get("reason") or ""))

    @asynccontextmanager
    async def open_() -> AsyncIterator[Sandbox]:
        yield NoSandbox(info)

    return SandboxSpec("none", "as it is recorded", partial(_told, info), open_)


def _told(info: SandboxInfo) -> SandboxInfo:
    return info
