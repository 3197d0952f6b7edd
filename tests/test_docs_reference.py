"""The references of settings and agent definitions say what the code says."""

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from pydantic import BaseModel
from sashizu_core.agents import AgentDefinition, read_agent_text
from sashizu_core.builtin.plugin import register_agents
from sashizu_core.settings import Settings
from sashizu_core.settings_layers import PROJECT_KEYS
from sashizu_core.settings_tables import TYPED

ROOT = Path(__file__).resolve().parent.parent
DOCS = ROOT / "docs"
AGENTS = (DOCS / "reference/agent-definition.md").read_text("utf-8")
SETTINGS = (DOCS / "reference/settings.md").read_text("utf-8")
GUIDE = (DOCS / "how-to/define-an-agent.md").read_text("utf-8")


def rows(text: str, heading: str) -> list[list[str]]:
    """The cells of the first table below a heading, without its head."""
    below = text.split(f"\n## {heading}\n", 1)[1].split("\n## ", maxsplit=1)[0]
    lines = [line for line in below.splitlines() if line.startswith("|")]
    return [[cell.strip() for cell in line.strip("|").split(" | ")] for line in lines[2:]]


def blocks(text: str, language: str) -> list[str]:
    return re.findall(rf"^```{language}\n(.*?)^```$", text, re.DOTALL | re.MULTILINE)


def fields(model: type[BaseModel], at: str = "") -> Iterator[tuple[str, Any]]:
    for name, field in model.model_fields.items():
        if isinstance(field.annotation, type) and issubclass(field.annotation, BaseModel):
            yield from fields(field.annotation, f"{at}{name}.")
        else:
            yield at + name, field


def default(value: Any) -> str:
    """A default as the pages write it."""
    match value:
        case None:
            return "not set"
        case bool():
            return f"`{str(value).lower()}`"
        case ():
            return "none"
        case "":
            return "empty"
        case _:
            return f"`{value}`"


def test_every_field_of_a_definition_has_its_row():
    shown = {row[0].strip("`"): (row[2], row[3]) for row in rows(AGENTS, "Fields")}
    expected = {
        path: ("required" if field.is_required() else default(field.default), field.description)
        for path, field in fields(AgentDefinition)
    }
    assert shown == expected


def test_every_folder_of_agents_has_its_row():
    shown = {
        (
            row[0],
            re.findall(r"`([^`]+)`", row[1])[0] if "`" in row[1] else "",
            tuple(re.findall(r"`([^`]+)`", row[2])),
        )
        for row in rows(AGENTS, "Where agents come from")
    }
    for source in register_agents(Settings()):
        places = {
            "shipped": "",
            "user": f"{source.folder.name}/",
            "repository": source.folder.as_posix(),
        }
        assert (source.scope, places[source.scope], source.patterns) in shown


@pytest.mark.parametrize("table", TYPED)
def test_every_setting_has_its_row_with_its_default_and_what_a_project_may(table):
    shown = {row[0].strip("`"): (row[2], row[3]) for row in rows(SETTINGS, f"`[{table}]`")}
    expected = {}
    for name, field in TYPED[table].model_fields.items():
        quoted = f'`"{field.default}"`' if isinstance(field.default, str) else None
        empty = "`[]`" if field.default == () else None
        may = "narrow" if (table, name) in PROJECT_KEYS else "-"
        expected[name] = (quoted or empty or default(field.default), may)
    assert shown == expected


def test_every_environment_variable_of_ours_is_explained():
    used = set()
    for file in ROOT.glob("packages/*/src/**/*.py"):
        used |= set(
            re.findall(r"[\"']((?:SASHIZU_[A-Z_]+|TRACEPARENT))[\"']", file.read_text("utf-8"))
        )
    assert {row[0].strip("`") for row in rows(SETTINGS, "Environment")} == used


@pytest.mark.parametrize("text", blocks(GUIDE, "yaml"))
def test_the_agents_of_the_guide_load_without_a_warning(text):
    definition, warnings = read_agent_text(text, Path("agent.yaml"))
    assert definition.name
    assert warnings == ()


def test_the_program_of_the_guide_runs():
    (text,) = blocks(GUIDE, "python")
    names: dict[str, Any] = {}
    exec(compile(text, "define-an-agent.md", "exec"), names)
    assert names["reader"].grants().fs_read == (".",)


def test_keys_of_other_programs_are_those_that_are_read():
    from sashizu_core.agents import claude_markdown, codex_toml

    codex, claude = (
        set(re.findall(r"`(\w+)`", "".join(re.findall(r"^\| (.*?) \|", part, re.MULTILINE))))
        for part in AGENTS.split("## Files of other programs")[1].split("**Claude Code**")
    )
    assert codex == codex_toml._KNOWN | codex_toml._LOST.keys()
    assert claude == claude_markdown._KNOWN | claude_markdown._LOST.keys()
