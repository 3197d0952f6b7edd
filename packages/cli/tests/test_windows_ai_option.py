"""`--use-windows-ai`: the model of Windows answers, or it is said why it does not."""

from __future__ import annotations

import json
from dataclasses import replace

import pytest
from sashizu_cli.probing import probed
from sashizu_cli.session import Session
from sashizu_cli.shared import spelled_out
from sashizu_core.plugins import Registry
from sashizu_core.specs import Readiness, ToolSpec
from sashizu_core.testing.fakes import ScriptedModel, scripted_model
from sashizu_core.types import Completion, Message, ModelInfo, Usage

READY = Readiness(True, "it answers", backend="windows")
NOT = Readiness(False, "there is no NPU", "use another machine", "windows")
SHOUTER = """\
name: shouter
goal: Shout.
tools: {mcp: [windows_action]}
"""


@pytest.fixture
def machine(world, cli, monkeypatch):
    """A machine whose Windows AI is as it is told; calls the command line there."""

    def made(model=NOT, action=NOT):
        session = world.session("The configured model.")
        info = ModelInfo("phi-silica", "windows", model.backend, local=True, min_output_tokens=16)
        answer = Completion(
            Message("assistant", "Windows."), Usage(1, 1), "stop", "phi-silica", backend="windows"
        )
        windows = replace(
            scripted_model(ScriptedModel([answer], info=info)), probe=lambda: told(model)
        )
        tool = ToolSpec("windows_action", "acts", lambda: None, probe=lambda: told(action))
        registry = replace(
            session.registry,
            models={**session.registry.models, "phi-silica": windows},
            tools={"windows_action": tool},
        )
        monkeypatch.setattr(Session, "registry", registry)
        return lambda *words: cli("-c", "run.model=fake/scripted", *words)

    async def told(readiness):
        return readiness

    return made


@pytest.mark.parametrize("flag", ["--use-windows-ai", "--windows-ai=strict", "--windows-ai=auto"])
@pytest.mark.parametrize("before", [True, False])
def test_a_model_that_is_ready_answers_and_is_named(machine, world, flag, before):
    words = [flag, "run", "hello"] if before else ["run", flag, "hello"]

    code, out, err = machine(READY)(*words, "-o", "report.json")

    assert (code, out) == (0, "Windows.\n")
    assert "phi-silica is ready, carried out by windows: it answers" in err
    assert "phi-silica was carried out by windows in 1 calls" in err
    (result,) = json.loads((world.folder / "report.json").read_text())["results"]
    assert result["backends"] == [
        {"kind": "model", "name": "phi-silica", "backend": "windows", "calls": 1}
    ]
    (answered,) = [one.fields for one in world.sink.events if one.kind == "model.answered"]
    assert answered["attrs"] == {"backend": "windows"}


@pytest.mark.parametrize("words", [["run", "hello"], ["delegate", "alpha"], ["supervisor", "x"]])
def test_strict_refuses_with_the_reason_before_anything_happens(machine, world, words):
    code, out, err = machine(NOT)(*words, "--use-windows-ai")

    assert (code, out) == (2, "")
    assert "phi-silica is not ready: there is no NPU; use another machine" in err
    assert world.sink.events == []


def test_auto_goes_on_with_the_configured_model_and_says_why(machine, world):
    code, out, err = machine(NOT)("delegate-parallel", "alpha", "--use-windows-ai=auto", "-o", "r")

    assert code == 0, err
    assert "The configured model." in out
    assert "so the configured model answers: there is no NPU" in err
    (warning,) = json.loads((world.folder / "r").read_text())["warnings"]
    assert "there is no NPU" in warning


def test_another_model_that_is_named_is_refused_or_answers(machine):
    words = ["run", "hello", "--model", "fake/scripted"]

    code, _, err = machine(READY)(*words, "--use-windows-ai=strict")
    assert code == 2
    assert "name two models" in err

    code, out, err = machine(READY)(*words, "--use-windows-ai=auto")
    assert (code, out) == (0, "The configured model.\n")
    assert "--model 'fake/scripted' was named" in err


def test_strict_refuses_agents_whose_actions_are_not_ready(machine, world):
    (world.folder / "agents" / "shouter.yaml").write_text(SHOUTER)

    code, _, err = machine(READY, NOT)("delegate", "shouter", "--use-windows-ai")

    assert code == 2
    assert "shouter need windows_action: there is no NPU" in err
    assert world.sink.events == []


def agent(world, name, **more):
    text = json.dumps({"name": name, "goal": "Work.", **more})
    (world.folder / "agents" / f"{name}.yaml").write_text(text)


ENGINE = {"engine": "command", "command": ["true"]}


@pytest.mark.parametrize(
    ("words", "why"),
    [
        (["delegate", "driver"], "driver is carried out by the engine 'command'"),
        (["delegate", "starter"], "driver is carried out by the engine 'command'"),
        (["delegate", "any-starter"], "driver is carried out by the engine 'command'"),
        (["delegate", "doubter"], "doubter goes on with 'fake/scripted' where phi-silica fails"),
        (["supervisor", "x"], "use other agents"),
        (["supervisor", "x", "--agents", "starter"], "driver is carried out"),
        (
            ["supervisor", "x", "--agents", "calm", "--multi-model", "phi-silica,fake/scripted"],
            "too",
        ),
    ],
)
def test_strict_refuses_whom_another_model_could_answer(machine, world, words, why):
    agent(world, "driver", **ENGINE)
    agent(world, "starter", spawn={"agents": ["Driver", "nobody"]})
    agent(world, "any-starter", spawn={"agents": ["*"]})
    agent(world, "doubter", model="phi-silica", fallback="fake/scripted")
    agent(world, "calm", fallback="fake/scripted")

    code, _, err = machine(READY)(*words, "--use-windows-ai")

    assert code == 2
    assert why in err
    assert world.sink.events == []


def test_strict_takes_agents_whose_other_models_it_stands_in_for(machine, world):
    agent(world, "driver", **ENGINE)
    agent(world, "calm", model="fake/scripted", fallback="fake/scripted")

    code, out, err = machine(READY)("delegate", "calm", "--use-windows-ai")

    assert code == 0, err
    assert "Windows." in out


def test_without_the_package_strict_names_it_and_auto_goes_on(world, cli, monkeypatch):
    monkeypatch.setattr(Session, "registry", world.session("The configured model.").registry)
    words = ["-c", "run.model=fake/scripted", "run", "hello"]

    code, _, err = cli(*words, "--use-windows-ai")
    assert code == 2
    assert "pip install sashizu-winai" in err
    code, out, _ = cli(*words, "--use-windows-ai=auto")
    assert (code, out) == (0, "The configured model.\n")


def test_a_plugin_that_is_disabled_is_told_as_that(world, cli, monkeypatch):
    monkeypatch.setattr(Session, "registry", world.session("The configured model.").registry)
    monkeypatch.setenv("SASHIZU_DISABLE", "winai")

    code, _, err = cli("-c", "run.model=fake/scripted", "run", "hello", "--use-windows-ai")
    assert code == 2
    assert "take 'winai' out of the plugins that are disabled" in err


def test_the_doctor_tells_what_models_and_tools_say_of_themselves(machine):
    _, out, _ = machine(READY, NOT)("doctor", "--json")

    found = {one["about"]: (one["state"], one["text"]) for one in json.loads(out)}
    assert found["model phi-silica"] == ("ok", "it answers")
    assert found["tool windows_action"] == ("absent", "there is no NPU; use another machine")


def test_the_doctor_survives_a_probe_that_fails():
    async def fails():
        raise OSError("no\nmore")

    tool = ToolSpec("broken", "breaks", lambda: None, probe=fails)
    (found,) = probed(Registry(tools={"broken": tool}))
    assert found == ("tool broken", "problem", "looking failed: no more")


def test_a_mode_that_does_not_exist_is_refused(machine):
    code, _, err = machine(READY)("run", "hello", "--use-windows-ai=strickt")
    assert code == 2
    assert "did you mean 'strict'" in err


def test_only_a_bare_option_is_spelled_out_and_never_behind_the_last_one():
    assert spelled_out(["run", "--windows-ai", "x", "--use-windows-ai=auto", "--", "--windows-ai"])[
        1:
    ] == ["--windows-ai=strict", "x", "--use-windows-ai=auto", "--", "--windows-ai"]
