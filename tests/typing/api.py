"""A user's typed code: mypy has nothing to say about it."""

from collections.abc import Sequence
from typing import assert_type

from sashizu_core import (
    AgentDefinition,
    AgentReport,
    Event,
    Limits,
    Outcome,
    RunReport,
    SashizuError,
    Task,
    delegate,
    delegate_parallel,
)
from sashizu_core.hookspecs import hookimpl
from sashizu_core.protocols import BudgetNode, Busy, EventSink, Hold, Model, Refused
from sashizu_core.settings import Settings
from sashizu_core.specs import ModelSpec
from sashizu_core.testing.fakes import MemorySink, ScriptedModel
from sashizu_core.types import Amount


async def run_two() -> list[str]:
    tasks = [Task("code-reviewer", scope=("src",)), Task("sec-audit", goal="Look at the login")]
    try:
        report = await delegate_parallel(tasks, budget=Limits(tokens=60_000), jobs=2)
    except SashizuError as error:
        assert_type(error.exit_code, int)
        raise
    assert_type(report, RunReport)
    assert_type(report.results, Sequence[AgentReport])
    return [result.answer for result in report.results if result.outcome is Outcome.ANSWERED]


async def run_one(definition: AgentDefinition) -> AgentReport:
    return await delegate(Task(definition.name), agents=[definition], on_text=print)


def reserve(node: BudgetNode) -> int:
    found = node.reserve(Amount(tokens=10))
    if isinstance(found, Busy | Refused):
        return found.left
    assert_type(found, Hold)
    found.release()
    return 0


def fakes_stand_for_what_they_fake() -> tuple[Model, EventSink]:
    return ScriptedModel(["Yes."]), MemorySink()


def names(events: Sequence[Event]) -> set[str]:
    return {event.kind for event in events}


@hookimpl
def register_models(settings: Settings) -> Sequence[ModelSpec]:
    return []
