"""What the command line does as a budget runs low, on a model service."""

import json

import pytest
from sashizu_cli.document import ReportDocument

LOOKER = """\
name: {name}
goal: Look around in this folder as long as it takes.
model: openai/big
{fallback}
tools:
  mcp: [list_files]
  fs:
    read: true
budget:
  {budget}
"""


@pytest.fixture
def looker(place, service):
    """Writes an agent that asks for a tool again and again, 1,505 tokens a call."""
    service.billed = 1_500
    config = place.home / ".config/sashizu/sashizu.toml"
    config.parent.mkdir(parents=True)
    config.write_text('[models.openai]\nefforts = ["low", "high"]\n')

    def write(name="looker", *, fallback="", **budget):
        lines = "\n  ".join(f"{key}: {value}" for key, value in budget.items())
        text = LOOKER.format(name=name, fallback=fallback, budget=lines or "requests: 100")
        (place.project / f".sashizu/agents/{name}.yaml").write_text(text)
        place.trust()

    return write


def events(place, kind):
    found = place.sashizu(
        "audit", "sql",
        f"select agent_name, model, budget_unit, budget_limit, attrs from events "
        f"where kind = '{kind}' order by ts_ns, seq",
        "--format", "json",
    )  # fmt: skip
    assert found.returncode == 0, found.stderr
    rows = json.loads(found.stdout)
    for row in rows:
        row["attrs"] = json.loads(row["attrs"]) if isinstance(row["attrs"], str) else row["attrs"]
    return rows


def notes(call):
    return [m["content"] for m in call["messages"] if str(m["content"]).startswith("[budget]")]


def test_an_agent_is_told_then_goes_on_with_its_fallback_and_ends_within_its_limit(
    place, service, looker
):
    looker(fallback="fallback: openai/small", tokens=16_000, warn_at=0.35, fallback_at=0.5)
    service.calls_of = lambda body: 20 if body["model"] == "big" else 6

    done = place.sashizu("delegate", "looker", "-o", "r.json", **service.env)

    assert done.returncode == 0, done.stderr
    models = [call["model"] for call in service.calls]
    assert models == ["big"] * 6 + ["small"]
    assert [len(notes(call)) for call in service.calls] == [0] * 4 + [1] * 3
    (note,) = notes(service.calls[-1])
    assert "38% of the tokens of 'looker' are used up. Left: 9,980 tokens." in note
    assert [call.get("reasoning_effort") for call in service.calls] == [None] * 6 + ["low"]
    document = ReportDocument.model_validate_json((place.project / "r.json").read_text())
    (result,) = document.results
    assert result.answer == "All is well."
    assert result.budget.spent.tokens == 7 * 1_505 <= result.budget.limits.tokens
    how = [(row["attrs"]["how"], row["model"]) for row in events(place, "budget.degraded")]
    assert how == [("warned", None), ("fallback", "openai/small")]
    assert "looker: close to its limit, wrapping up" in done.stderr
    assert "looker: close to its limit, going on with openai/small" in done.stderr


def test_an_agent_whose_model_is_gone_goes_on_with_its_fallback(place, service, looker):
    looker(fallback="fallback: openai/small")
    service.unknown = "big"

    done = place.sashizu("delegate", "looker", **service.env)

    assert done.returncode == 0, done.stderr
    assert "All is well." in done.stdout
    assert "its model failed (not_found), going on with openai/small" in done.stderr
    (row,) = events(place, "budget.degraded")
    assert (row["attrs"]["why"], row["attrs"]["fault"]) == ("provider", "not_found")


def test_an_agent_that_runs_dry_reports_what_it_has_and_why(place, service, looker):
    looker(tokens=8_000)
    service.calls_of = lambda _: 100

    done = place.sashizu("delegate", "looker", "-o", "r.json", **service.env)

    assert done.returncode == 3
    document = ReportDocument.model_validate_json((place.project / "r.json").read_text())
    (result,) = document.results
    assert (result.outcome, result.status) == ("budget", "error")
    assert result.answer.startswith("Looking, ")
    assert result.answer in done.stdout
    assert "budget of 'looker' refused" in result.error
    assert result.budget.spent.tokens <= 8_000


@pytest.mark.parametrize("window", [False, True], ids=["alone", "under a window"])
def test_a_share_that_is_left_lets_a_sibling_finish(place, service, looker, window):
    if window:
        assert place.sashizu("budget", "set", "--day", "1000000").returncode == 0
    looker("little", warn_at=1)
    looker("much", warn_at=1)
    service.calls_of = lambda body: 8 if "You are much" in str(body["messages"]) else 0
    words = ("delegate-parallel", "little,much", "--budget", "30k")
    words += ("--budget", "little=12k", "--budget", "much=12k", "-o", "r.json")

    alone = place.sashizu(*words, **service.env)
    assert alone.returncode == 3, alone.stderr
    done = place.sashizu(*words, "--rebalance", **service.env)

    assert done.returncode == 0, done.stderr
    document = ReportDocument.model_validate_json((place.project / "r.json").read_text())
    much = document.results[1]
    assert much.budget.spent.tokens == 9 * 1_505 <= much.budget.limits.tokens
    assert document.results[0].budget.spent.tokens + much.budget.spent.tokens <= 30_000
    rows = events(place, "budget.rebalanced")
    assert {(row["agent_name"], row["attrs"]["from"]) for row in rows} == {("much", "little")}
    assert rows[-1]["budget_limit"] == much.budget.limits.tokens
    assert "that little left" in done.stderr


def test_the_offline_model_goes_on_with_its_task_after_it_was_told(place):
    done = place.sashizu(
        "delegate", "code-reviewer", "--scope", "src", "--budget", "3requests",
        "-c", "run.warn_at=0.3", "--no-audit", "--json",
    )  # fmt: skip

    assert done.returncode == 0, done.stderr
    kinds = [json.loads(line)["kind"] for line in done.stdout.splitlines()]
    assert kinds.count("budget.degraded") == 1
    assert "# code-reviewer: answered" in done.stderr
