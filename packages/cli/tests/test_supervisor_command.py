"""`sashizu supervisor`: what is printed, written and returned."""

import json

import pytest
from sashizu_core.errors import ModelError
from sashizu_core.prompt import read_brief
from sashizu_core.specs import ModelSpec
from sashizu_core.supervisor import PLANNER
from sashizu_core.testing.fakes import ScriptedModel, scripted_model
from sashizu_core.types import ModelInfo

PLAN = {
    "steps": [
        {"id": "look", "agent": "alpha", "goal": "Look.", "after": []},
        {"id": "tell", "agent": "beta", "goal": "Tell.", "after": ["look"]},
    ]
}


@pytest.fixture
def supervised(world, cli, monkeypatch):
    """Runs the command; agents answer as a mapping says, which may be an error."""

    def call(says, *words, models=()):
        session = world.session()
        found: dict[str, ModelSpec] = {}
        for name in ("fake/scripted", *models):
            info = ModelInfo(name, "fake", local=True, min_output_tokens=16)

            def answer(request, name=name):
                brief = read_brief(request.messages)
                said = says.get(f"{brief.agent}@{name}", says.get(brief.agent, "Nothing."))
                return json.dumps(said) if isinstance(said, dict) else said

            found[name] = scripted_model(ScriptedModel(answer, info=info))
        registry = session.registry
        object.__setattr__(registry, "models", found)
        monkeypatch.setattr("sashizu_core.plugins.open_registry", lambda _: registry)
        return cli("supervisor", *words, "-c", "run.model=fake/scripted")

    return call


def test_the_plan_the_reports_and_the_steps_are_printed(supervised, world):
    says = {PLANNER: PLAN, "alpha": "I looked.", "beta": "I tell."}
    code, out, err = supervised(says, "Reach it", "--agents", "alpha,beta")

    assert code == 0, err
    assert out.index("# plan, made by fake/scripted") < out.index("# alpha: answered")
    assert "- tell: beta, after look: Tell." in out
    assert "  I looked." in out
    assert "- look (alpha): done\n- tell (beta): done" in out
    assert "# answer by concatenate\n2 of 2 answers" in out
    assert f"# {PLANNER}" not in out
    assert "3 of 3 agents succeeded" in out
    assert err.count("started") == 3


def test_a_failure_is_told_and_decides_the_exit_code(supervised):
    says = {PLANNER: PLAN, "alpha": ModelError("no key", fault="auth")}
    code, out, err = supervised(says, "Reach it", "--agents", "alpha,beta")

    assert code == 1
    assert "alpha: auth: no key" in err
    assert "- tell (beta): skipped: not started, because look did not succeed" in out


def test_without_a_plan_the_reason_is_told(supervised):
    code, out, err = supervised({PLANNER: "no plan"}, "Reach it", "--plan")

    assert code == 1
    assert "no plan was made: the answer is not JSON" in err
    assert "# plan" not in out


def test_the_file_and_json_hold_the_same(supervised, world):
    says = {"alpha": "yes", "beta": "Yes.", "general": "no"}
    words = ("Is it?", "--agents", "alpha,beta,general", "--strategy", "parallel")
    code, out, _ = supervised(
        says, *words, "--merge", "voting", "--format", "json", "-o", "found.json"
    )

    found = json.loads(out)
    assert code == 0
    assert json.loads((world.folder / "found.json").read_text()) == found
    assert (found["ok"], found["answer"]) == (True, "yes")
    assert found["merged"]["votes"] == [
        {"answer": "yes", "voters": ["alpha (s1)", "beta (s2)"]},
        {"answer": "no", "voters": ["general (s3)"]},
    ]
    ids = [result["agent_id"] for result in found["run"]["results"]]
    assert sorted(each for step in found["steps"] for each in step["agent_ids"]) == sorted(ids)
    assert found["run"]["total_count"] == 3
    assert found["plan"]["made_by"] == "rule"


def test_several_models_answer_one_step(supervised):
    says = {
        PLANNER: {"steps": [{"id": "a", "agent": "alpha", "goal": "Look.", "after": []}]},
        "alpha": "yes",
        "alpha@fake/other": "no",
    }
    code, out, err = supervised(
        says, "Is it?", "--agents", "alpha", "--merge", "voting",
        "--multi-model", "fake/scripted,fake/other,fake/third", models=("fake/other", "fake/third"),
    )  # fmt: skip

    assert code == 0, err
    assert "- a (alpha): done, voting of 3 models: 2 of 3 votes, a majority" in out
    assert "# answer by voting, alpha (a)" in out


def test_a_model_cannot_write_lines_that_look_like_ours(supervised):
    plan = {"steps": [{"id": "a", "agent": "alpha", "goal": "x\n# answer\x1b[2J", "after": []}]}
    _, out, _ = supervised({PLANNER: plan}, "Reach it", "--plan")

    assert "\n# answer" not in out
    assert r"x # answer\x1b[2J" in out


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["--strategy", "fast"], "--strategy 'fast'; known: sequential, parallel, hybrid"),
        (["--merge", "votin"], "did you mean 'voting'?"),
        (["--format", "yaml"], "known: text, json"),
        (["--agents", "alpha,,beta"], "empty name between its commas"),
        (["--multi-model", "a,"], "--multi-model 'a,' has an empty name"),
        (["--multi-model", "fake/none"], "unknown model 'fake/none'"),
        (["--field", "x"], "a field is compared by voting"),
        (["--agents", "alpa"], "did you mean 'alpha'?"),
        (["--json", "--format", "json"], "both print on stdout"),
        (["--agents", "alpha", "--deadline", "soon"], "soon"),
    ],
)
def test_what_cannot_be_meant_is_refused_before_anything_runs(supervised, world, words, said):
    code, out, err = supervised({}, "Reach it", *words)

    assert (code, out) == (2, "")
    assert said in err
    assert world.sink.events == []
