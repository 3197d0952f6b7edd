"""Definitions by rules: from the verbs of a wish and the languages of the repository."""

import json
from typing import Any

import pytest
from sashizu_core.agents import Catalogue
from sashizu_core.builtin.plugin import register_tools as core_tools
from sashizu_core.creation.draft import draft_problem, draft_schema
from sashizu_core.creation.maker import MAKER, making_task
from sashizu_core.prompt import Brief, first_messages
from sashizu_core.settings import Settings
from sashizu_core.specs import ToolSpec
from sashizu_core.types import Message, ModelRequest, ToolSchema
from sashizu_offline.creating import listed_files
from sashizu_offline.model import OfflineModel
from sashizu_offline.plugin import register_tools

SHELL = ToolSpec("shell", "run programs", register_tools()[0].open, ("shell.exec",))
TOOLS = {spec.name: spec for spec in [*core_tools(Settings()), *register_tools(), SHELL]}
LIST = ToolSchema("list_files", "Lists.", {"type": "object", "properties": {"limit": {}}})
PYTHON = "src/pay.py\nsrc/tax.py\ntests/test_pay.py\nREADME.md\n[a note]"
RUST = "crates/core/lib.rs\ncrates/core/main.rs\nCargo.toml"


async def made(wish: str, files: str = PYTHON, taken: str = "") -> dict[str, Any]:
    task = making_task(wish, Catalogue(), TOOLS)
    inputs = {**task.inputs, "names taken": taken}
    messages = first_messages(Brief(MAKER, "Make", task.goal, inputs=inputs))
    schema = draft_schema()
    model = OfflineModel("offline")
    look = await model.complete(ModelRequest(messages, (LIST,), output_schema=schema))
    (call,) = look.message.tool_calls
    assert call.name == "list_files"
    more = (*messages, look.message, Message("tool", files, tool_call_id=call.id))
    answer = await model.complete(ModelRequest(more, (LIST,), output_schema=schema))
    text = answer.message.content
    assert draft_problem(Catalogue(), TOOLS)(text) == ""
    found: dict[str, Any] = json.loads(text)
    return found


async def test_a_reviewer_reads_everything_and_writes_only_its_report() -> None:
    found = await made("Review SQL migrations for missing indexes")
    assert found["name"] == "review-sql-migrations"
    assert found["goal"] == "Review SQL migrations for missing indexes"
    assert found["tools"]["fs"] == {"read": ["."], "write": []}
    assert found["tools"]["shell"]["exec"] == []
    assert "analyze" in found["tools"]["mcp"]
    assert "apply_patch" not in found["tools"]["mcp"]
    assert found["artifacts"] == ["review-sql-migrations.md"]
    assert "Every finding names a file and a line" in found["success_criteria"]


async def test_who_changes_files_may_write_where_the_sources_are() -> None:
    found = await made("Fix type errors")
    assert found["tools"]["fs"]["write"] == ["src", "tests"]
    assert "apply_patch" in found["tools"]["mcp"]
    assert found["artifacts"] == []


async def test_a_path_in_the_wish_bounds_where_it_may_write() -> None:
    found = await made("Refactor src/tax.py")
    assert found["tools"]["fs"]["write"] == ["src/tax.py"]


async def test_a_path_that_is_not_there_is_not_granted() -> None:
    found = await made("Update /etc/passwd and ../other/x.py")
    assert found["tools"]["fs"]["write"] == ["src", "tests"]


@pytest.mark.parametrize(
    ("files", "program"), [(PYTHON, "python -m pytest"), (RUST, "cargo test"), ("a.txt", None)]
)
async def test_programs_are_those_of_the_languages(files: str, program: str | None) -> None:
    found = await made("Run the tests and fix what breaks", files)
    programs = found["tools"]["shell"]["exec"]
    assert programs[:1] == ([program] if program else [])
    assert ("shell" in found["tools"]["mcp"]) == bool(program)


@pytest.mark.parametrize(
    "wish", ["Review it, but never change a file", "Fix nothing: read-only audit of secrets"]
)
async def test_who_must_not_change_anything_may_not(wish: str) -> None:
    found = await made(wish)
    assert found["tools"]["fs"]["write"] == []
    assert "apply_patch" not in found["tools"]["mcp"]


async def test_the_network_is_never_granted() -> None:
    found = await made("Download https://example.org/x and run it, allow net *")
    assert found["tools"]["net"]["allow"] == []
    assert found["spawn"]["agents"] == []


async def test_a_taken_name_gets_a_number() -> None:
    found = await made("Review SQL migrations", taken="review-sql-migrations, other")
    assert found["name"] == "review-sql-migrations-2"


async def test_it_says_that_no_language_model_was_used() -> None:
    found = await made("Explain the code")
    assert "without a language model" in found["instructions"]
    assert "The repository is mostly Python" in found["instructions"]


@pytest.mark.parametrize("wish", ["日本語のコードを確認", "!!!", "sashizu", "a" * 500, "x\ny"])
async def test_any_wish_gives_a_definition_that_is_right(wish: str) -> None:
    found = await made(wish)
    assert found["name"]


def test_notes_of_a_listing_are_no_files() -> None:
    assert listed_files(["a.py\nsub/\n[cut: the first 1 of 2 entries]"]) == ["a.py"]


async def test_without_a_tool_to_look_it_answers_at_once() -> None:
    task = making_task("Review it", Catalogue(), TOOLS)
    messages = first_messages(Brief(MAKER, "Make", task.goal, inputs=task.inputs))
    request = ModelRequest(messages, output_schema=draft_schema())
    answer = await OfflineModel("offline").complete(request)
    assert answer.message.tool_calls == ()
    assert json.loads(answer.message.content)["name"] == "review"
