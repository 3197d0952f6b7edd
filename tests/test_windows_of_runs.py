"""Windows of spend over real runs, and what is reported of them."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from sashizu_audit.writer import AuditWriter
from sashizu_budget.ledger import Ledger
from sashizu_budget.plugin import provide_budget
from sashizu_budget.spend_connection import SpendFile
from sashizu_budget.windows import Windows
from sashizu_core.agents import AgentDefinition
from sashizu_core.errors import UsageError
from sashizu_core.events import Event
from sashizu_core.plugins import Registry
from sashizu_core.protocols import Busy, Refused
from sashizu_core.runtime import delegate_parallel
from sashizu_core.runtime.planning import planned_run
from sashizu_core.settings import Settings
from sashizu_core.supervisor import supervise
from sashizu_core.testing.fakes import MemorySink, ScriptedModel, scripted_model
from sashizu_core.types import Amount, Limits, ModelInfo, Outcome, Price, RunReport, Task

MODEL = ModelInfo("fake/m", "fake", min_output_tokens=16, max_output_tokens=500)
PRICED = replace(MODEL, price=Price(1000, 2000, source="a test", date="2026-11-21"))

Cli = Callable[..., tuple[int, str, str]]


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("SASHIZU_HOME", str(tmp_path / "home"))
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "config"))
    work = tmp_path / "work"
    work.mkdir()
    monkeypatch.chdir(work)
    return tmp_path / "home"


@pytest.fixture
def windows(home: Path) -> Windows:
    return Windows(SpendFile(home / "spend.sqlite"), str(Path.cwd()))


@pytest.fixture
def cli(capfd: pytest.CaptureFixture[str]) -> Cli:
    from sashizu_cli.main import main

    def call(*words: str) -> tuple[int, str, str]:
        code = main(list(words))
        found = capfd.readouterr()
        return code, found.out, found.err

    return call


def options_of(model: ScriptedModel, sink: MemorySink) -> dict[str, Any]:
    return {
        "agents": [AgentDefinition.model_validate({"name": "a", "goal": "g"})],
        "settings": Settings({"run": {"model": model.info.name}}),
        "registry": Registry(
            models={model.info.name: scripted_model(model)}, budget=provide_budget(Settings())
        ),
        "audit": False,
        "sinks": [sink],
    }


async def run(
    *script: str, info: ModelInfo = MODEL, agents: int = 1, budget: Limits | None = None
) -> RunReport:
    options = options_of(ScriptedModel(script, info=info), MemorySink())
    return await delegate_parallel([Task("a")] * agents, budget=budget, **options)


# --- runs -----------------------------------------------------------------------------------------


async def test_what_runs_spend_is_counted_in_every_window(windows: Windows) -> None:
    windows.set("day", Limits(tokens=100_000))
    one, other = await run("done"), await run("done", agents=2)
    spent = one.usage.tokens + other.usage.tokens
    day, month, project = windows.now().stands
    assert day.spent == month.spent == project.spent == (spent, 0, 3, 3)
    assert day.held == (0, 0, 0, 0)


async def test_a_run_is_not_started_where_nothing_fits_any_more(windows: Windows) -> None:
    windows.set("day", Limits(requests=1))
    assert (await run("done")).results[0].ok
    model, sink = ScriptedModel(["never"], info=MODEL), MemorySink()
    with pytest.raises(UsageError) as caught:
        await delegate_parallel([Task("a")], **options_of(model, sink))
    assert caught.value.exit_code == 2
    assert "nothing was started" in str(caught.value)
    assert "this day is 1 requests, of which 1 requests are spent" in str(caught.value)
    assert "'sashizu budget set --day LIMIT' changes it" in str(caught.value)
    assert model.requests == []
    assert sink.kinds() == []


async def test_a_run_whose_own_limit_is_too_small_still_begins(windows: Windows) -> None:
    windows.set("day", Limits(tokens=100_000))
    report = await run("never", budget=Limits(tokens=5))
    assert report.results[0].outcome is Outcome.BUDGET
    assert "budget of 'run' refused" in report.results[0].error


async def test_a_window_that_is_met_on_the_way_ends_the_agent_with_its_name(
    windows: Windows,
) -> None:
    windows.set("month", Limits(requests=1))
    report = await run("done", agents=2)
    assert {result.outcome for result in report.results} == {Outcome.ANSWERED, Outcome.BUDGET}
    (error,) = [result.error for result in report.results if result.error]
    assert "budget of 'month " in error
    assert "'sashizu budget set --month LIMIT' changes it" in error
    assert windows.now().stands[1].spent[2] == 1


async def test_a_window_in_dollars_refuses_a_model_without_a_price_by_its_name(
    windows: Windows,
) -> None:
    windows.set("project", Limits(nusd=10**9))
    with pytest.raises(UsageError, match="no price is known for 'fake/m'"):
        await run("never")
    report = await run("done", info=PRICED)
    usage = report.usage
    paid = 1000 * usage.input_tokens + 2000 * usage.output_tokens
    assert windows.now().stands[2].spent[1] == paid


async def test_what_costs_nothing_runs_where_all_dollars_are_spent(windows: Windows) -> None:
    windows.set("day", Limits(nusd=1))
    assert (await run("done", info=replace(MODEL, local=True))).results[0].ok
    with pytest.raises(UsageError, match="nothing was started"):
        await run("never", info=PRICED)


async def test_a_supervised_goal_counts_too(windows: Windows) -> None:
    windows.set("day", Limits(requests=1))
    await run("done")
    model = ScriptedModel(["never"] * 9, info=MODEL)
    options = options_of(model, MemorySink())
    options["definitions"] = options.pop("agents")
    with pytest.raises(UsageError, match="sashizu budget set --day"):
        await supervise("Look", agents=["a"], **options)
    assert model.requests == []


async def test_a_plan_has_no_more_than_what_windows_leave(windows: Windows) -> None:
    windows.set("day", Limits(tokens=4000, nusd=10**9))
    options = options_of(ScriptedModel(["never"], info=PRICED), MemorySink())
    async with planned_run([Task("a")], **options) as planned:
        worst = planned.forecast.worst
    assert worst.tokens == 4000
    assert worst.nusd == 10**9
    assert windows.now().stands[0].spent == (0, 0, 0, 0)
    assert windows.now().stands[0].held == (0, 0, 0, 0)


async def test_a_plan_reckons_with_the_dearer_of_a_model_and_its_fallback() -> None:
    cheap = replace(PRICED, context_window=1000)
    dear = replace(cheap, name="fake/dear", price=Price(1000, 9000), context_window=500)
    options = options_of(ScriptedModel(["never"], info=cheap), MemorySink())
    other = scripted_model(ScriptedModel(["never"], info=dear))
    options["registry"] = replace(
        options["registry"], models={**options["registry"].models, "fake/dear": other}
    )
    fields = {"name": "a", "goal": "g", "fallback": "fake/dear", "model": "fake/m"}
    options["agents"] = [AgentDefinition.model_validate(fields)]
    async with planned_run([Task("a")], **options) as planned:
        (agent,) = planned.forecast.agents
    calls = (50 + 1) * 4  # the fallback tries again what failed
    assert agent.worst.tokens == calls * (1000 + 500)
    assert agent.worst.nusd == calls * (500 * 1000 + 500 * 9000)
    assert (agent.model, agent.fallback, agent.unpriced) == ("fake/m", "fake/dear", ())


def test_a_ledger_of_somebody_elses_program_counts_too(windows: Windows) -> None:
    windows.set("day", Limits(tokens=10))
    assert Ledger().root("theirs", Limits()).left("tokens") == 10


# --- the commands ---------------------------------------------------------------------------------


def test_limits_are_set_and_shown(cli: Cli) -> None:
    code, out, err = cli("budget", "set", "--day", "5usd", "--day", "200k", "--project", "2.5usd")
    assert (code, err) == (0, "")
    rows = [line.split() for line in out.splitlines()]
    assert [row[2:7] for row in rows if row[:1] == ["day"]] == [
        ["tokens", "200,000", "0", "0", "200,000"],
        ["USD", "5", "0", "0", "5"],
    ]
    assert ["project", "USD", "2.5", "0", "0", "2.5", "never"] in rows
    assert cli("budget", "status")[1] == out
    shown = json.loads(cli("budget", "status", "--json")[1])
    assert [window["window"] for window in shown["windows"]] == ["day", "month", "project"]
    assert shown["windows"][0]["limit"] == {"tokens": 200_000, "nusd": 5 * 10**9, "requests": None}
    assert shown["windows"][0]["starts_anew"][10:19] == "T00:00:00"
    assert shown["windows"][2]["key"] == str(Path.cwd())
    assert shown["clock_went_back"] is False
    code, out, _ = cli("budget", "set", "--day", "none", "--project", "none", "--json")
    assert {*json.loads(out)["windows"][0]["limit"].values()} == {None}


@pytest.mark.parametrize(
    ("words", "told"),
    [
        ([], "no limit was given"),
        (["--day", "15m"], "a window limits tokens"),
        (["--month", "3agents"], "a window limits tokens"),
        (["--day", "0usd"], "not above zero"),
        (["--day", "none", "--day", "5usd"], "cannot read"),
    ],
)
def test_what_is_no_limit_of_a_window_is_refused(
    cli: Cli, home: Path, words: Sequence[str], told: str
) -> None:
    code, out, err = cli("budget", "set", *words)
    assert (code, out) == (2, "")
    assert told in err
    assert not (home / "spend.sqlite").exists()


def test_looking_makes_no_file(cli: Cli, home: Path) -> None:
    assert "no limit is set" in cli("budget", "status")[1]
    assert "nothing is recorded" in cli("budget", "history")[1]
    assert not (home / "spend.sqlite").exists()


def test_a_run_of_the_command_line_is_in_the_history_and_in_the_report(cli: Cli) -> None:
    Path("pay.py").write_text("import os\n")
    assert cli("budget", "set", "--day", "1000k")[0] == 0
    words = ["code-reviewer,sec-audit", "--scope", ".", "--budget", "60k"]
    assert cli("delegate-parallel", *words)[0] == 0
    (day,) = json.loads(cli("budget", "history", "--json")[1])["days"]
    code, out, err = cli("budget", "report", "last", "--json")
    assert (code, err) == (0, "")
    report = json.loads(out)
    assert report["spent"]["tokens"] == day["spent"]["tokens"] > 0
    assert report["limits"] == {"tokens": 60_000}
    assert {agent["agent"] for agent in report["agents"]} == {"code-reviewer", "sec-audit"}
    assert sum(agent["own"]["tokens"] for agent in report["agents"]) == report["spent"]["tokens"]
    (model,) = report["models"]
    assert model["model"] == "offline"
    assert model["price"] == "runs on this machine"
    assert model["input_tokens"] + model["output_tokens"] == report["spent"]["tokens"]
    text = cli("budget", "report", report["run_id"][:13])[1]
    assert f"run {report['run_id']}: ok" in text
    assert "60,000" in text


def test_a_plan_of_the_command_line_goes_by_what_is_on_record(cli: Cli) -> None:
    Path("pay.py").write_text("import os\n")
    words = ["delegate", "code-reviewer", "--scope", ".", "--plan"]
    assert "likely: not known" in cli(*words)[1]
    assert cli(*words, "--yes")[0] == 0
    out = cli(*words)[1]
    assert "(1 earlier run)" in out
    assert "at most: 400,000 tokens, 0 USD, time without limit" in out
    assert json.loads(cli("runs", "list", "--json")[1])[1:] == []


@pytest.fixture
def mostly_spent(cli: Cli) -> str:
    """The day of which 90 % of a million tokens are spent."""
    assert cli("budget", "set", "--day", "1000k")[0] == 0
    run = Ledger().root("theirs", Limits())
    hold = run.reserve(Amount(tokens=900_000))
    assert not isinstance(hold, Busy | Refused)
    hold.settle(hold.amount)
    run.close()
    Path("pay.py").write_text("import os\n")
    return str(json.loads(cli("budget", "status", "--json")[1])["windows"][0]["key"])


def test_a_plan_says_what_windows_leave_and_which_is_nearly_used_up(
    cli: Cli, mostly_spent: str
) -> None:
    assert cli("budget", "set", "--month", "5000k")[0] == 0
    code, out, _ = cli("delegate", "code-reviewer", "--scope", ".", "--plan")
    assert code == 0
    lines = out.splitlines()
    at = lines.index("- windows of spend")
    assert lines[at + 1].startswith(f"  day {mostly_spent}: 100,000 of 1,000,000 tokens left, ")
    assert lines[at + 1].endswith(": nearly used up")
    assert lines[at + 2].startswith(f"  month {mostly_spent[:7]}: 4,100,000 of 5,000,000 tokens")
    assert not lines[at + 2].endswith(": nearly used up")


def test_a_run_says_at_its_start_which_window_is_nearly_used_up(
    cli: Cli, mostly_spent: str
) -> None:
    code, _, err = cli("delegate", "code-reviewer", "--scope", ".")
    assert code == 0
    first, *rest = err.splitlines()
    told = f"sashizu: nearly used up: day {mostly_spent}: 100,000 of 1,000,000 tokens left, "
    assert first.startswith(told)
    assert not [line for line in rest if "used up" in line]
    sql = "select count(*) as n from events where kind = 'budget.degraded'"
    assert json.loads(cli("audit", "sql", "--format", "json", sql)[1]) == [{"n": 1}]


# --- reports of what is on record -----------------------------------------------------------------

RUN = "01a1fdbe-fecd-7f04-bc75-5f51c354fd97"
ABOVE, BELOW = "01a1fdbe-0000-7000-8000-000000000001", "01a1fdbe-0000-7000-8000-000000000002"


def call_of(agent: str, step: int, tokens: int, nusd: int, *, doubt: bool = False) -> list[Event]:
    common = {"run_id": RUN, "agent_id": agent, "agent_name": agent, "step": step}
    booked = {"budget_spent": tokens, "attrs": {"nusd": nusd, "in_doubt": doubt}}
    answered = {"input_tokens": tokens - 10, "output_tokens": 10, "tokens": tokens}
    return [
        Event("budget.held", {**common, "budget_held": tokens, "attrs": {"nusd": nusd}}),
        Event("model.requested", {**common, "model": "openai/gpt-5"}),
        *(
            [Event("model.failed", {**common, "status": "error"})]
            if doubt
            else [Event("model.answered", {**common, **answered, "price_ref": "list 2026-08-21"})]
        ),
        Event("budget.settled", {**common, **booked}),
    ]


@pytest.fixture
def recorded(home: Path) -> Callable[..., None]:
    """Puts a run of an engine on record, which started another agent; more events may follow."""

    def write(*more: Event, ended: bool = True) -> None:
        limits = {"limits": {"tokens": 9000, "nusd": 10**9}}
        above = {"run_id": RUN, "agent_id": ABOVE, "agent_name": "codex\x1b[2J", "model": "codex/x"}
        below = {"run_id": RUN, "agent_id": BELOW, "agent_name": "codex/one"}
        seen = {"input_tokens": 90, "output_tokens": 10}
        said = {"input_tokens": 60, "output_tokens": 10}
        told = {"seen": seen, "declared": said, "doubtful_tokens": 50, "undeclared_tokens": 30}
        events = [
            Event("run.started", {"run_id": RUN, "budget_limit": 9000, "attrs": limits}),
            Event("agent.started", {**above, "budget_limit": 5000}),
            Event("agent.started", {**below, "parent_agent_id": ABOVE}),
            *call_of(ABOVE, 0, 100, 7),
            *call_of(BELOW, 0, 40, 3),
            *call_of(BELOW, 1, 50, 5, doubt=True),
            Event("tool.ended", {**above, "step": 9, "status": "ok", "attrs": told}),
            *more,
        ]
        if ended:
            events += [
                Event("agent.ended", {**below, "status": "ok"}),
                Event("agent.ended", {**above, "status": "error"}),
                Event("run.ended", {"run_id": RUN, "status": "error"}),
            ]
        with AuditWriter(home / "audit") as writer:
            writer.write(events)
            writer.flush()

    return write


def held_of(agent: str) -> Event:
    fields = {"run_id": RUN, "agent_id": agent, "step": 7, "budget_held": 600}
    return Event("budget.held", {**fields, "attrs": {"nusd": 9}})


def reported(cli: Cli) -> dict[str, Any]:
    code, out, err = cli("budget", "report", RUN, "--json")
    assert code == 0, err
    found: dict[str, Any] = json.loads(out)
    return found


def test_an_agent_is_reported_with_what_it_started(cli: Cli, recorded: Callable[..., None]) -> None:
    recorded()
    report = reported(cli)
    assert report["status"] == "error"
    assert report["limits"] == {"tokens": 9000, "nusd": 10**9}
    assert report["spent"] == {"tokens": 190, "nusd": 15, "requests": 3}
    (above,) = report["agents"]
    assert above["spent"]["tokens"] == 190
    assert above["own"] == {"tokens": 100, "nusd": 7, "requests": 1}
    assert above["limits"] == {"tokens": 5000}
    (below,) = above["agents"]
    assert below["own"]["tokens"] == 90
    assert below["doubtful_tokens"] == 50


def test_models_are_reported_with_the_source_of_their_price(
    cli: Cli, recorded: Callable[..., None]
) -> None:
    recorded()
    assert reported(cli)["models"] == [
        {
            "model": "openai/gpt-5",
            "price": "list 2026-08-21",
            "calls": 3,
            "input_tokens": 120,
            "output_tokens": 20,
            "doubtful_tokens": 50,
            "nusd": 15,
        }
    ]


def test_what_a_program_declared_is_shown_beside_what_was_seen(
    cli: Cli, recorded: Callable[..., None]
) -> None:
    recorded()
    (program,) = reported(cli)["declared"]
    assert (program["declared"], program["seen"], program["doubtful"]) == (70, 100, 50)
    _, out, _ = cli("budget", "report", RUN)
    line = next(line for line in out.splitlines() if line.startswith("codex?[2J "))
    assert line.split()[-4:] == ["70", "100", "50", "30"]
    assert "\x1b" not in out


def test_what_is_held_is_shown_while_a_run_goes_on_and_charged_after_it(
    cli: Cli, recorded: Callable[..., None]
) -> None:
    recorded(held_of(BELOW), ended=False)
    report = reported(cli)
    assert report["status"] == "unfinished"
    assert report["held"] == {"tokens": 600, "nusd": 9}
    assert report["spent"]["tokens"] == 190


def test_what_never_came_back_is_charged_to_an_agent_that_has_ended(
    cli: Cli, recorded: Callable[..., None]
) -> None:
    recorded(held_of(BELOW))
    report = reported(cli)
    assert report["held"] == {"tokens": 0, "nusd": 0}
    assert report["spent"]["tokens"] == 790
    assert report["agents"][0]["agents"][0]["doubtful_tokens"] == 650


@pytest.mark.parametrize("wanted", ["ff", "x' OR 1=1 --", "LAST", "last "])
def test_a_run_that_is_not_on_record_is_refused(
    cli: Cli, recorded: Callable[..., None], wanted: str
) -> None:
    recorded()
    code, out, err = cli("budget", "report", wanted)
    assert (code, out) == (2, "")
    assert wanted in err


def test_without_a_record_a_report_names_the_package(
    cli: Cli, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SASHIZU_DISABLE", "audit")
    code, _, err = cli("budget", "report", "last")
    assert code == 2
    assert "pip install sashizu-audit" in err
