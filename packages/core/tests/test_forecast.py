"""What a run may use at most, and what it is likely to use."""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from sashizu_core.agents import AgentDefinition
from sashizu_core.plugins import Registry
from sashizu_core.protocols import EventSink
from sashizu_core.runtime.forecast import (
    AgentForecast,
    Cost,
    Forecast,
    Likely,
    exceeds,
    forecast_of,
)
from sashizu_core.runtime.planning import planned_run
from sashizu_core.settings import Settings
from sashizu_core.settings_tables import RunSettings
from sashizu_core.specs import RecordRows, SinkSpec
from sashizu_core.testing.fakes import MemorySink, ScriptedModel, scripted_model
from sashizu_core.types import Limits, ModelInfo, Task

MODEL = ModelInfo("fake/m", "fake", context_window=10_000, max_output_tokens=500)


def agent(
    tokens: int | None, nusd: int | None, seconds: float | None, likely: Likely | None = None
) -> AgentForecast:
    return AgentForecast("a", "m", "g", (), Cost(tokens, nusd, seconds), likely)


def together(
    agents: Sequence[AgentForecast],
    *,
    limits: Limits | None = None,
    deadline_s: float | None = None,
    jobs: int = 8,
) -> Forecast:
    return forecast_of("r", agents, limits or Limits(), deadline_s=deadline_s, jobs=jobs)


def test_worst_cases_add_up_and_times_overlap() -> None:
    both = [agent(100, 5, 60.0), agent(200, 7, 90.0)]
    assert together(both).worst == Cost(300, 12, 90.0)
    assert together(both, jobs=1).worst == Cost(300, 12, 150.0)


def test_limits_that_are_shared_bound_the_sum() -> None:
    both = [agent(100, 5, 60.0), agent(200, 7, None)]
    limits = Limits(tokens=250, nusd=100, seconds=30.0)
    assert together(both, limits=limits).worst == Cost(250, 12, 30.0)
    assert together(both, limits=limits, deadline_s=20.0).worst.seconds == 20.0


def test_one_agent_without_a_bound_leaves_the_run_without_one() -> None:
    both = [agent(100, 5, 60.0), agent(None, None, None)]
    assert together(both).worst == Cost(None, None, None)
    assert together(both, limits=Limits(tokens=10)).worst == Cost(10, None, None)


def test_what_is_likely_is_known_only_where_it_is_of_every_agent() -> None:
    known = agent(1, 1, 1.0, likely=Likely(3, 50, 2, 4.0))
    assert together([known, known]).likely == Cost(100, 4, 4.0)
    assert together([known, known], jobs=1).likely == Cost(100, 4, 8.0)
    assert together([known, agent(1, 1, 1.0)]).likely is None


@pytest.mark.parametrize(
    ("worst", "above", "exceeded"),
    [
        (Cost(100, 5, None), Limits(tokens=100), False),
        (Cost(101, 5, None), Limits(tokens=100), True),
        (Cost(None, 5, None), Limits(tokens=100), True),
        (Cost(None, 5, None), Limits(nusd=5), False),
        (Cost(None, 5, 61.0), Limits(seconds=60.0), True),
        (Cost(None, None, None), Limits(), False),
    ],
)
def test_a_worst_case_is_above_a_limit_in_any_unit_of_it(
    worst: Cost, above: Limits, exceeded: bool
) -> None:
    assert exceeds(worst, above) is exceeded


class Record:
    """A sink that can be asked; it gives these rows."""

    def __init__(self, *rows: tuple[Any, ...]) -> None:
        self.sink = MemorySink()
        self.asked: list[str] = []
        self._rows = rows

    def query(self, sql: str, limit: int, seconds: float) -> RecordRows:
        self.asked.append(sql)
        names = ("agent_name", "model", "runs", "tokens", "usd", "ms")
        return RecordRows(names, self._rows)

    @property
    def spec(self) -> SinkSpec:
        @asynccontextmanager
        async def open_() -> AsyncIterator[EventSink]:
            yield self.sink

        return SinkSpec("memory", "for tests", open_, self.query)


async def planned(
    tmp_path: Path,
    record: Record,
    info: ModelInfo = MODEL,
    definition: dict[str, Any] | None = None,
    **options: Any,
) -> Forecast:
    model = ScriptedModel(["never"], info=info)
    fields = {"name": "a", "goal": "g", **(definition or {})}
    async with planned_run(
        [Task(str(fields["name"]))],
        agents=[AgentDefinition.model_validate(fields)],
        registry=Registry(models={info.name: scripted_model(model)}, sinks={"m": record.spec}),
        settings=Settings({"run": {"model": info.name, "max_turns": 10}}),
        workspace=tmp_path,
        **options,
    ) as found:
        assert model.requests == []
        return found.forecast


@pytest.fixture(autouse=True)
def _home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SASHIZU_HOME", str(tmp_path / "home"))
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "config"))


async def test_turns_window_output_and_billed_attempts_bound_an_agent(tmp_path: Path) -> None:
    found = await planned(tmp_path, Record())
    assert found.worst == Cost(10 * 4 * (10_000 + 500), None, None)


async def test_without_a_window_only_limits_bound_it(tmp_path: Path) -> None:
    info = replace(MODEL, context_window=None)
    assert (await planned(tmp_path, Record(), info)).worst.tokens is None


async def test_the_plan_is_on_record_and_nothing_else_is(tmp_path: Path) -> None:
    record = Record()
    found = await planned(tmp_path, record)
    assert record.sink.kinds() == ["run.planned"]
    (event,) = record.sink.of("run.planned")
    assert event["run_id"] == found.run_id
    assert event["attrs"]["worst"]["tokens"] == found.worst.tokens
    assert event["attrs"]["agents"][0]["model"] == "fake/m"


async def test_medians_of_earlier_runs_are_asked_of_the_record(tmp_path: Path) -> None:
    record = Record(("a", "fake/m", 7, 1234.5, 0.25, 1500.0))
    found = await planned(tmp_path, record)
    assert found.agents[0].likely == Likely(7, 1234, 250_000_000, 1.5)
    assert found.likely == Cost(1234, 250_000_000, 1.5)
    assert "('a', 'fake/m')" in record.asked[0]


async def test_without_earlier_runs_nothing_is_said_to_be_likely(tmp_path: Path) -> None:
    found = await planned(tmp_path, Record())
    assert found.agents[0].likely is None
    assert found.likely is None


async def test_who_wants_no_record_asks_none(tmp_path: Path) -> None:
    record = Record(("a", "fake/m", 7, 1234.5, 0.25, 1500.0))
    found = await planned(tmp_path, record, audit=False)
    assert found.likely is None
    assert record.asked == []
    assert record.sink.events == []


async def test_an_answer_that_was_cut_off_may_be_twice_as_long_the_next_time(
    tmp_path: Path,
) -> None:
    long = replace(MODEL, max_output_tokens=100_000)
    found = await planned(tmp_path, Record(), long)
    assert found.worst.tokens == 10 * 4 * (10_000 + 2 * RunSettings().max_output_tokens)
