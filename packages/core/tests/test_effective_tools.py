"""Which of its listed tools an agent has."""

from pathlib import Path

import pytest
from sashizu_core.agents import (
    AgentDefinition,
    effective_tools,
    load_catalogue,
    read_agent_file,
)
from sashizu_core.builtin.plugin import register_agents
from sashizu_core.errors import UsageError
from sashizu_core.grants import Grants
from sashizu_core.plugins import Registry
from sashizu_core.runtime.plan import plan_agents
from sashizu_core.settings import Settings
from sashizu_core.specs import ModelSpec, ToolSpec
from sashizu_core.types import Task

DATA = Path(__file__).parent / "data" / "agents"


def _spec(name: str, *needs: str, aliases: tuple[str, ...] = ()) -> ToolSpec:
    def never() -> object:
        raise AssertionError("opened")

    return ToolSpec(name, "", never, needs, aliases)  # type: ignore[arg-type]


TOOLS = {
    spec.name: spec
    for spec in (
        _spec("list_files", "fs.read"),
        _spec("read_file", "fs.read"),
        _spec("grep", "fs.read", aliases=("search_text",)),
        _spec("codebase_search", "fs.read"),
        _spec("write_file", "fs.write"),
        _spec("apply_patch", "fs.read", "fs.write"),
        _spec("read_skill"),
        _spec("think"),
    )
}


def _agent(mcp: list[str], **tools: object) -> AgentDefinition:
    return AgentDefinition.model_validate(
        {"name": "a", "goal": "b", "tools": {"mcp": mcp, **tools}}
    )


def test_a_tool_needs_its_name_in_the_list_and_its_grant() -> None:
    agent = _agent(["read_file", "write_file", "apply_patch", "think"], fs={"read": True})
    present, absent = effective_tools(agent, TOOLS)
    assert list(present) == ["read_file", "think"]
    assert absent == {
        "write_file": "'tools.fs.write' grants nothing",
        "apply_patch": "'tools.fs.write' grants nothing",
    }


def test_what_is_not_listed_does_not_exist() -> None:
    present, absent = effective_tools(_agent([], fs={"read": True, "write": True}), TOOLS)
    assert present == absent == {}


def test_a_declared_artifact_can_be_written() -> None:
    agent = _agent(["write_file"]).model_copy(update={"artifacts": ("report.md",)})
    assert list(effective_tools(agent, TOOLS)[0]) == ["write_file"]
    assert effective_tools(agent, TOOLS, agent.grants())[0] == {}


def test_grants_from_elsewhere_may_take_the_definitions_place() -> None:
    agent = _agent(["read_file", "write_file"], fs={"read": True})
    present, _ = effective_tools(agent, TOOLS, Grants(fs_write=("out",)))
    assert list(present) == ["write_file"]


@pytest.mark.parametrize("listed", ["grep", "codex_grep", "search_text"])
def test_other_names_of_a_tool_are_that_tool(listed: str) -> None:
    present, _ = effective_tools(_agent([listed], fs={"read": True}), TOOLS)
    assert list(present) == ["grep"]


def test_a_run_grants_a_tool_by_its_own_name_however_it_is_listed(tmp_path: Path) -> None:
    agent = _agent(["search_text", "write_file"], fs={"read": True})
    (plan,) = plan_agents(
        [Task("a")],
        catalogue=load_catalogue([], workspace=tmp_path, extra=[agent]),
        registry=Registry(tools=TOOLS, models={"m": ModelSpec("m", "", _spec("m").open)}),  # type: ignore[arg-type]
        root=tmp_path,
        run_id="r",
        default_model="m",
        model=None,
    )
    assert plan.grants.tools == {"grep"}


def test_a_tool_of_a_package_that_is_not_there_says_which() -> None:
    agent = _agent(["shell", "fetch", "analyze", "codex_shell", "docs/find", "web_search"])
    present, absent = effective_tools(agent, TOOLS)
    assert present == {}
    assert absent == {
        "shell": "needs the package 'sashizu-sandbox'",
        "fetch": "needs the package 'sashizu-sandbox'",
        "analyze": "needs the package 'sashizu-offline'",
        "codex_shell": "needs the package 'sashizu-sandbox'",
        "docs/find": "tools of servers need the package 'sashizu-mcp-server'",
        "web_search": "no installed package offers it",
    }


def test_a_tool_of_a_server_is_there_once_it_is_registered() -> None:
    tools = {**TOOLS, "docs/find": _spec("docs/find")}
    present, absent = effective_tools(_agent(["docs/find"]), tools)
    assert list(present) == ["docs/find"]
    assert absent == {}


def test_a_tool_that_nobody_knows_is_an_error_that_names_the_nearest() -> None:
    with pytest.raises(UsageError, match=r"'a' lists an unknown tool 'grpe'; did you mean 'grep'"):
        effective_tools(_agent(["grpe"]), TOOLS)


def test_a_need_that_core_does_not_know_is_never_met() -> None:
    agent = _agent(["odd"], fs={"read": True, "write": True})
    present, absent = effective_tools(agent, {"odd": _spec("odd", "gpu")})
    assert present == {}
    assert absent == {"odd": "'tools.gpu' grants nothing"}


@pytest.mark.parametrize("file", sorted(DATA.glob("*.yaml")), ids=lambda file: file.stem)
def test_tools_of_older_files_are_there_or_said_to_be_absent(file: Path) -> None:
    definition = read_agent_file(file).definition
    present, absent = effective_tools(definition, TOOLS)
    listed = {name.removeprefix("codex_") for name in definition.tools.mcp}
    assert {*present, *absent} == listed
    assert "grep" not in listed or "grep" in present


HISTORY = {"git log", "git diff", "git show", "git blame", "git status"}
RUNS_TESTS = {"test-gen": {"python -m pytest", "pytest"}}


def test_shipped_agents_load_without_a_warning_and_grant_no_more_than_reading() -> None:
    sources = [source for source in register_agents(Settings()) if source.scope == "shipped"]
    catalogue = load_catalogue(sources, workspace=Path())
    assert [entry.name for entry in catalogue] == [
        "code-reviewer",
        "general",
        "researcher",
        "sec-audit",
        "test-gen",
    ]
    assert catalogue.problems == ()
    for entry in catalogue:
        definition = entry.definition
        assert entry.warnings == ()
        assert definition.grants().fs_write == ()
        assert definition.grants().net == ()
        assert set(definition.grants().exec) <= HISTORY | RUNS_TESTS.get(entry.name, set())
        assert definition.limits().tokens
        assert bool(definition.artifacts) == ("write_file" in definition.tools.mcp)
        _, absent = effective_tools(definition, TOOLS)
        assert absent.keys() <= {"analyze", "shell"}
