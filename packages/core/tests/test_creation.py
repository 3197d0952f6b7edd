"""Agents that a model makes: checked, sent back, bounded, recorded, and kept only on request."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import anyio
import jsonschema
import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from sashizu_core import CreatedAgent, create_agent, save_agent
from sashizu_core.agents import AgentDefinition, read_agent_file, read_agent_text
from sashizu_core.builtin import plugin as builtin
from sashizu_core.creation.draft import draft_schema
from sashizu_core.creation.maker import MAKER
from sashizu_core.creation.written import fingerprint, yaml_text
from sashizu_core.errors import ModelError, UsageError
from sashizu_core.grants import Grants
from sashizu_core.plugins import Registry
from sashizu_core.prompt import read_brief
from sashizu_core.runtime import delegate
from sashizu_core.settings import Settings, load_settings
from sashizu_core.specs import AgentSource, ModelSpec
from sashizu_core.testing.fakes import MemorySink, ScriptedModel, call, scripted_model
from sashizu_core.trust import TrustStore
from sashizu_core.types import Limits, ModelInfo, Task


@pytest.fixture(autouse=True)
def _home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SASHIZU_HOME", str(tmp_path / "home"))
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "config"))


EMPTY_BUDGET = dict.fromkeys(("tokens", "usd", "requests", "seconds", "agents"))


def draft(**more: Any) -> dict[str, Any]:
    return {
        "name": "sql-reviewer",
        "goal": "Review SQL",
        "instructions": "Look.\nThen say.",
        "tools": {
            "mcp": ["list_files", "read_file", "write_file"],
            "fs": {"read": ["."], "write": ["src"]},
            "net": {"allow": []},
            "shell": {"exec": []},
        },
        "success_criteria": ["Every finding: a file # and a line"],
        "artifacts": ["review.md"],
        "budget": {**EMPTY_BUDGET, "tokens": 90_000},
        "spawn": {"agents": [], "max": None, "depth": None},
        "verify": [],
        **more,
    }


def tools(*names: str, write: list[str] | None = None) -> dict[str, Any]:
    listed = {"mcp": list(names), "fs": {"read": ["."], "write": write or []}}
    return {**listed, "net": {"allow": []}, "shell": {"exec": []}}


class World:
    """A maker that answers from a script, over core's own tools."""

    def __init__(self, tmp_path: Path) -> None:
        self.place = tmp_path / "work"
        self.place.mkdir()
        (self.place / "a.sql").write_text("select 1;\n", "utf-8")
        self.sink = MemorySink()
        self.model = ScriptedModel([])
        agents = AgentSource(".sashizu", "the repository's", Path(".sashizu/agents"), "repository")
        self.models: dict[str, ModelSpec] = {}
        self.registry = Registry(
            models=self.models,
            tools={spec.name: spec for spec in builtin.register_tools(Settings())},
            agents={".sashizu": agents},
        )

    async def make(self, *answers: Any, prompt: str = "review SQL", **options: Any) -> CreatedAgent:
        script = [json.dumps(each) if isinstance(each, dict) else each for each in answers]
        info = ModelInfo("fake/maker", "fake", local=True, min_output_tokens=16)
        self.model = ScriptedModel(script, info=info)
        self.models["fake/maker"] = scripted_model(self.model)
        options.setdefault("settings", Settings())
        with anyio.fail_after(20):
            return await create_agent(
                prompt,
                workspace=self.place,
                model="fake/maker",
                registry=self.registry,
                sinks=[self.sink],
                audit=False,
                **options,
            )

    async def save(self, created: CreatedAgent) -> Path:
        return await save_agent(
            created,
            workspace=self.place,
            settings=Settings(),
            registry=self.registry,
            audit=False,
            sinks=[self.sink],
        )


@pytest.fixture
def world(tmp_path: Path) -> World:
    return World(tmp_path)


# --- making ---------------------------------------------------------------------------------------


async def test_an_agent_is_made_in_a_recorded_run_of_its_own(world: World) -> None:
    created = await world.make([call("list_files")], draft())
    assert created.ok
    assert created.definition is not None
    assert created.definition.name == "sql-reviewer"
    assert created.definition.budget.tokens == 90_000
    assert created.refused == ()
    assert (created.model, created.by_rules) == ("fake/maker", False)
    assert created.sha256 == fingerprint(created.text)
    assert [report.agent for report in created.run.results] == [MAKER]
    assert world.sink.kinds()[0] == "run.started"
    (event,) = world.sink.of("config.changed")
    assert (event["status"], event["sha256"]) == ("made", created.sha256)
    assert event["attrs"] == {"agent": "sql-reviewer", "refused": []}
    assert not (world.place / ".sashizu" / "agents").exists()


async def test_the_maker_is_told_the_wish_the_tools_and_the_names(world: World) -> None:
    await world.make(draft(), prompt="review SQL for locks")
    brief = read_brief(world.model.requests[0].messages)
    assert brief is not None
    assert brief.inputs["wish"] == "review SQL for locks"
    there = json.loads(brief.inputs["tools there are"])
    assert there["write_file"]["bounded by"] == ["fs.write"]
    assert MAKER not in brief.inputs["names taken"]
    assert world.model.requests[0].output_schema == draft_schema()


@pytest.mark.parametrize(
    ("wrong", "said"),
    [
        ({"goal": "no name"}, "'name' is a required property"),
        (draft(name="Sql Reviewer"), "'Sql Reviewer' is no name for a new agent"),
        (draft(name="sashizu-agent-maker"), "do not begin with 'sashizu-'"),
        (draft(name="taken"), "the name 'taken' is taken; choose another"),
        (draft(tools=tools("read_fil")), "unknown tool 'read_fil'; did you mean 'read_file'?"),
        (draft(tools=tools("read_file", "write_file")), "'write_file' would not exist: 'tools.fs"),
        (draft(tools=tools()), "has no tool at all"),
        (draft(tools=tools("read_file")), "'artifacts' need one of the tools"),
        (draft(verify=["pytest"]), "'verify' needs the tool 'shell'"),
        (draft(tools=tools("read_file", write=["../x"])), "leads outside the workspace"),
        (draft(artifacts=["/etc/passwd"]), "leads outside the workspace"),
        (draft(budget={**EMPTY_BUDGET, "tokens": 0}), "0 is less than the minimum of 1"),
    ],
)
async def test_a_draft_with_faults_is_sent_back_with_them(
    world: World, wrong: dict[str, Any], said: str
) -> None:
    folder = world.place / ".sashizu" / "agents"
    folder.mkdir(parents=True)
    (folder / "taken.yaml").write_text("name: taken\ngoal: be there\n", "utf-8")
    if "artifacts" not in wrong or wrong["artifacts"] == ["review.md"]:
        wrong = wrong if said.startswith("'artifacts'") else {**wrong, "artifacts": []}
    created = await world.make(wrong, draft())
    assert created.ok
    assert said in world.model.requests[1].messages[-1].content


async def test_after_two_repairs_no_agent_is_made(world: World) -> None:
    created = await world.make(*[draft(name="sashizu-x")] * 3)
    assert not created.ok
    assert (created.definition, created.text, created.sha256) == (None, "", "")
    assert "is no name for a new agent" in created.error
    assert world.sink.of("config.changed") == []
    assert world.sink.of("run.ended")[0]["status"] == "error"


async def test_a_model_that_fails_makes_no_agent(world: World) -> None:
    created = await world.make(ModelError("no key", fault="auth"))
    assert not created.ok
    assert "no key" in created.error


async def test_an_empty_prompt_is_refused(world: World) -> None:
    with pytest.raises(UsageError, match="the prompt is empty"):
        await world.make(draft(), prompt=" \n")


async def test_what_the_operator_does_not_allow_is_refused_and_recorded(
    world: World, tmp_path: Path
) -> None:
    config = tmp_path / "config"
    config.mkdir()
    table = '[policy.ceiling.tools.fs]\nwrite = ["docs"]\n'
    (config / "sashizu.toml").write_text(table, "utf-8")
    found = load_settings(world.place, env={}, config=config)
    created = await world.make(draft(), settings=found)
    assert created.definition is not None
    assert created.definition.tools.fs.write == ()
    assert [(each.what, each.wish) for each in created.refused] == [("tools.fs.write", "src")]
    (event,) = world.sink.of("config.changed")
    assert event["attrs"]["refused"][0]["wish"] == "src"  # type: ignore[index]


async def test_a_maker_gives_no_more_than_it_has(world: World) -> None:
    above = Grants(tools=None, fs_read=("docs",), source="the agent that asks")
    created = await world.make(draft(), ceilings=[above])
    assert created.definition is not None
    assert created.definition.tools.fs.read == ("docs",)
    assert created.definition.tools.fs.write == ()
    assert "not allowed by the agent that asks" in {each.why for each in created.refused}


async def test_a_created_agent_runs_like_any_other(world: World) -> None:
    created = await world.make(draft(budget=EMPTY_BUDGET, artifacts=[]))
    assert created.definition is not None
    written = [call("write_file", path="src/x.sql", content="select 2;\n")]
    info = ModelInfo("fake/maker", "fake", local=True, min_output_tokens=16)
    world.models["fake/maker"] = scripted_model(ScriptedModel([written, "done"], info=info))
    (world.place / "src").mkdir()
    report = await delegate(
        Task("sql-reviewer"),
        agents=[created.definition],
        workspace=world.place,
        settings=Settings(),
        registry=world.registry,
        model="fake/maker",
        audit=False,
        isolation="none",
    )
    assert report.ok, report.error
    assert (world.place / "src" / "x.sql").read_text() == "select 2;\n"


# --- the schema and the file ----------------------------------------------------------------------


def test_the_schema_is_that_of_definitions_with_every_key_required() -> None:
    schema = draft_schema()
    jsonschema.Draft202012Validator.check_schema(schema)
    text = json.dumps(schema)
    assert "$ref" not in text
    assert "$defs" not in text

    def objects(part: Any) -> list[dict[str, Any]]:
        found = [part] if isinstance(part, dict) and "properties" in part else []
        values = part.values() if isinstance(part, dict) else part if isinstance(part, list) else ()
        return found + [each for value in values for each in objects(value)]

    assert len(objects(schema)) >= 7
    for each in objects(schema):
        assert each["required"] == list(each["properties"])
        assert each["additionalProperties"] is False
    described = AgentDefinition.model_json_schema()["properties"]["goal"]["description"]
    assert schema["properties"]["goal"]["description"] == described
    jsonschema.validate(draft(), schema)
    with pytest.raises(jsonschema.ValidationError):
        jsonschema.validate({**draft(), "model": "x"}, schema)


@given(st.text(min_size=1, max_size=60), st.text(max_size=60))
@example("two\nlines", "  lead\n\ntrail  \n")
@example("a: b # c", "- x\n# no comment\n")
@example("0", "\x85")
@example("no", "\x00\x1b[31m\u0085\u2028\ufeff")
def test_a_file_reads_back_as_the_definition(line: str, text: str) -> None:
    definition = AgentDefinition.model_validate(
        draft(goal=line, instructions=text, success_criteria=[line])
    )
    written = yaml_text(definition)
    assert read_agent_text(written, Path("x.yaml")) == (definition, ())


# --- saving ---------------------------------------------------------------------------------------


async def test_a_saved_agent_is_recorded_written_and_trusted_as_it_is(world: World) -> None:
    created = await world.make(draft())
    path = await world.save(created)
    assert path == Path(".sashizu/agents/sql-reviewer.yaml")
    entry = read_agent_file(world.place / path, "repository")
    assert entry.definition == created.definition
    assert entry.sha256 == created.sha256
    assert TrustStore().untrusted(world.place, [entry]) == ()
    event = world.sink.of("config.changed")[-1]
    assert (event["status"], event["path"]) == ("saved", path.as_posix())
    assert event["sha256"] == created.sha256
    assert event["run_id"] == created.run.run_id


async def test_a_name_that_was_taken_meanwhile_is_refused(world: World) -> None:
    created = await world.make(draft())
    folder = world.place / ".sashizu" / "agents"
    folder.mkdir(parents=True)
    other = folder / "other.yaml"
    other.write_text("name: SQL_Reviewer\ngoal: be first\n", "utf-8")
    with pytest.raises(UsageError, match=r"is taken by the agent in .*other\.yaml"):
        await world.save(created)
    other.unlink()
    (folder / "sql-reviewer.yaml").write_text("name: quite-another\ngoal: stay\n", "utf-8")
    with pytest.raises(UsageError, match="is there already, and stays as it is"):
        await world.save(created)
    assert "quite-another" in (folder / "sql-reviewer.yaml").read_text()


async def test_a_link_out_of_the_workspace_is_not_written_through(
    world: World, tmp_path: Path
) -> None:
    created = await world.make(draft())
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    (world.place / ".sashizu").mkdir()
    (world.place / ".sashizu" / "agents").symlink_to(elsewhere)
    with pytest.raises(UsageError, match="link to somewhere else"):
        await world.save(created)
    assert list(elsewhere.iterdir()) == []


async def test_what_was_not_made_is_not_saved(world: World) -> None:
    created = await world.make(*["{}"] * 3)
    with pytest.raises(UsageError, match="no agent was made, so that none is saved"):
        await world.save(created)


async def test_a_budget_is_clipped_to_that_of_the_run(world: World) -> None:
    from sashizu_core.creation.creating import _bounded
    from sashizu_core.runtime.asked import asked_by

    asked = asked_by(
        (),
        workspace=world.place,
        settings=Settings(),
        registry=world.registry,
        budget=Limits(tokens=10_000),
    )
    definition, refused, _ = _bounded(AgentDefinition.model_validate(draft()), asked, ())
    assert definition.budget.tokens == 10_000
    assert [(each.what, each.wish, each.got) for each in refused] == [
        ("budget.tokens", "90000", "10000")
    ]
