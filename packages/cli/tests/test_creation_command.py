"""`sashizu agent-create`: what is shown, asked, written and run."""

import json

import pytest
from sashizu_cli import keyboard
from sashizu_core.builtin import plugin as builtin
from sashizu_core.creation.maker import MAKER
from sashizu_core.prompt import read_brief
from sashizu_core.settings import Settings
from sashizu_core.specs import AgentSource
from sashizu_core.testing.fakes import ScriptedModel, scripted_model
from sashizu_core.trust import TrustStore
from sashizu_core.types import ModelInfo

PATH = ".sashizu/agents/looker.yaml"


def draft(**more):
    return {
        "name": "looker",
        "goal": "Look around",
        "instructions": "",
        "tools": {
            "mcp": ["read_file"],
            "fs": {"read": ["."], "write": ["docs"]},
            "net": {"allow": []},
            "shell": {"exec": []},
        },
        "success_criteria": [],
        "artifacts": [],
        "budget": dict.fromkeys(("tokens", "usd", "requests", "seconds", "agents")),
        "spawn": {"agents": [], "max": None, "depth": None},
        "verify": [],
        **more,
    }


@pytest.fixture
def create(world, cli, monkeypatch):
    """Runs the command with a maker that answers with one draft; the agent made says its name."""

    def call(wish, *words):
        session = world.session()
        info = ModelInfo("fake/scripted", "fake", local=True, min_output_tokens=16)

        def answer(request):
            agent = read_brief(request.messages).agent
            return json.dumps(wish) if agent == MAKER else f"I am {agent}."

        registry = session.registry
        tools = {spec.name: spec for spec in builtin.register_tools(Settings())}
        here = AgentSource(".sashizu", "", world.folder / ".sashizu/agents", "repository")
        object.__setattr__(
            registry, "models", {"fake/scripted": scripted_model(ScriptedModel(answer, info=info))}
        )
        object.__setattr__(registry, "tools", tools)
        registry.agents[".sashizu"] = here
        monkeypatch.setattr("sashizu_core.plugins.open_registry", lambda _: registry)
        return cli("agent-create", *words, "-c", "run.model=fake/scripted")

    return call


@pytest.fixture
def person(monkeypatch):
    """Somebody at the terminal who types this line."""

    def sit_down(line):
        monkeypatch.setattr(keyboard, "somebody_there", lambda: True)
        monkeypatch.setattr(keyboard, "forget_typed", lambda: None)
        monkeypatch.setattr(keyboard, "typed_line", lambda: line)

    return sit_down


def saved(world):
    return [event.fields["status"] for event in world.sink.events if event.kind == "config.changed"]


def test_the_definition_is_shown_as_a_new_file_and_nothing_is_written(create, world):
    code, out, err = create(draft(), "Look around")

    assert code == 0, err
    assert f"--- /dev/null\n+++ {PATH}\n" in out
    assert "+name: looker" in out
    assert "made by fake/scripted; sha256 " in out
    assert not (world.folder / PATH).exists()
    assert saved(world) == ["made"]


def test_without_a_person_nothing_is_saved_or_run_unless_that_is_said(create, world):
    for option in ("--save", "--run"):
        code, out, err = create(draft(), "Look around", option)
        assert (code, out) == (2, "")
        assert "nobody is here to look at it: say --yes" in err
    assert world.sink.events == []


@pytest.mark.parametrize("typed", ["", "n", "no", "yep"])
def test_a_person_is_asked_and_no_is_the_default(create, world, person, typed):
    person(typed)
    code, out, err = create(draft(), "Look around", "--save", "--run")

    assert code == 0
    assert "+name: looker" in out
    assert "Save and run this agent as shown? [y/N]" in err
    assert "looker is not kept" in err
    assert not (world.folder / PATH).exists()
    assert "I am looker." not in out


def test_what_a_person_agrees_to_is_saved_trusted_and_run(create, world, person):
    person("y")
    code, out, err = create(draft(), "Look around", "--save", "--run", "-o", "made.json")

    assert code == 0, err
    assert f"wrote {PATH}" in out
    assert "  I am looker." in out
    made = json.loads((world.folder / "made.json").read_text())
    assert TrustStore().files(world.folder) == {PATH: made["sha256"]}
    assert (world.folder / PATH).read_text() == made["text"]
    assert made["saved"] == PATH
    assert made["definition"]["name"] == "looker"
    assert made["run"]["results"][0]["answer"] == "I am looker."
    assert made["generation"]["results"][0]["agent"] == MAKER
    assert saved(world) == ["made", "saved"]


def test_it_can_be_run_without_being_kept(create, world):
    code, out, err = create(draft(), "Look around", "--run", "--yes")

    assert code == 0, err
    assert "  I am looker." in out
    assert not (world.folder / PATH).exists()


def test_what_the_operator_refuses_is_shown(create, world):
    config = world.folder.parent / "config" / "sashizu"
    config.mkdir(parents=True)
    (config / "sashizu.toml").write_text('[policy.ceiling.tools.fs]\nwrite = ["src"]\n')
    code, out, err = create(draft(), "Look around")

    assert code == 0, err
    assert "# asked for, and refused" in out
    assert "- tools.fs.write: docs (not allowed by the operator's policy, " in out
    assert "docs" not in out.split("# asked for")[0]


def test_a_draft_that_stays_wrong_is_an_error_and_its_reason_is_written(create, world):
    code, out, err = create(draft(name="alpha"), "Look around", "-o", "made.json")

    assert code == 1
    assert "no agent was made: the name 'alpha' is taken; choose another" in err
    assert "+++" not in out
    made = json.loads((world.folder / "made.json").read_text())
    assert (made["ok"], made["text"]) == (False, None)
    assert "is taken" in made["error"]


def test_a_definition_cannot_steer_the_terminal(create):
    _, out, _ = create(draft(goal="x\x1b[2J", instructions="a\n\x1b]0;t\x07\n"), "Look around")

    assert "\x1b" not in out
    assert "\x07" not in out


def test_a_budget_for_an_agent_that_is_not_there_yet_is_refused(create):
    code, _, err = create(draft(), "Look around", "--budget", "looker=500")

    assert code == 2
    assert "for an agent that there is" in err
