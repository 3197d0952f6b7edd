"""Agents that invoke App Actions in whole runs: judged, and on record before it happens."""

from __future__ import annotations

import pytest
from sashizu_core.agents import AgentDefinition
from sashizu_core.plugins import Registry
from sashizu_core.runtime import delegate_parallel
from sashizu_core.settings import Settings
from sashizu_core.testing.fakes import MemorySink, ScriptedModel, call, memory_sink, scripted_model
from sashizu_core.types import BackendUse, Task
from sashizu_winai.offers import model_specs, tool_specs

ACTION = {"action": "fake.upper", "inputs": {"text": {"kind": "text", "value": "hi"}}}

RULE = {"verdict": "deny", "touches": "tool", "pattern": "windows_action"}


@pytest.fixture
def run(tmp_path, monkeypatch):
    monkeypatch.setenv("SASHIZU_HOME", str(tmp_path / "home"))
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "config"))

    async def once(*, actions=("fake.upper",), tools=("windows_action",), model=None, **tables):
        settings = Settings({"winai": {"fake": True, "actions": list(actions)}, **tables})
        scripted = ScriptedModel([[call("windows_action", **ACTION)], "done"])
        models = [scripted_model(scripted), *model_specs(settings)]
        sink = MemorySink()
        registry = Registry(
            models={spec.name: spec for spec in models},
            tools={spec.name: spec for spec in tool_specs(settings)},
            sinks={"memory": memory_sink(sink)},
        )
        agent = AgentDefinition.model_validate(
            {"name": "shouter", "goal": "Shout.", "tools": {"mcp": list(tools)}}
        )
        report = await delegate_parallel(
            [Task("shouter")],
            workspace=tmp_path,
            agents=[agent],
            model=model or "fake/scripted",
            settings=settings,
            registry=registry,
        )
        return report.results[0], sink.events, scripted

    return once


def ended(events):
    return [dict(one.fields) for one in events if one.kind == "tool.ended"]


async def test_an_action_that_is_named_is_invoked_and_recorded_as_an_effect(run):
    report, events, model = await run()

    assert report.answer == "done"
    (tool,) = ended(events)
    assert (tool["tool"], tool["status"]) == ("windows_action", "ok")
    assert tool["attrs"] == {"backend": "fake"}
    assert report.backends == (BackendUse("tool", "windows_action", "fake", 1),)
    told = [one for one in model.requests[-1].messages if one.role == "tool"]
    assert '"value": "HI"' in told[0].content
    kinds = [one.kind for one in events if one.kind.startswith("tool.")]
    assert kinds.index("tool.requested") < kinds.index("tool.decided") < kinds.index("tool.ended")


@pytest.mark.parametrize(
    "asked",
    [
        {"actions": ()},
        {"tools": ()},
        {"policy": {"rule": [RULE]}},
    ],
    ids=["not named", "not listed", "denied by a rule"],
)
async def test_without_every_leave_nothing_is_invoked(run, asked):
    _, _, model = await run(**asked)

    told = [one for one in model.requests[-1].messages if one.role == "tool"]
    assert told[0].is_error
    assert "HI" not in told[0].content


async def test_the_model_of_windows_answers_a_run_and_its_calls_are_in_doubt(run):
    report, events, _ = await run(tools=(), model="phi-silica")

    assert "The fake backend of Windows AI" in report.answer
    assert report.usage.tokens == 0
    assert report.doubtful_tokens > 0
    (answered,) = [one.fields for one in events if one.kind == "model.answered"]
    assert (answered["model"], answered["attrs"]) == ("phi-silica", {"backend": "fake"})
    assert report.backends == (BackendUse("model", "phi-silica", "fake", 1),)
