"""What agents are taught: by the user, and by repositories that somebody has trusted."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import anyio
import pytest
from hypothesis import given
from hypothesis import strategies as st
from sashizu_core.agents import AgentDefinition
from sashizu_core.builtin import plugin as builtin
from sashizu_core.builtin.read_skill import ReadSkill
from sashizu_core.errors import ConfigError, ToolError
from sashizu_core.plugins import Registry
from sashizu_core.prompt import Brief, first_messages, read_brief
from sashizu_core.protocols import ToolContext
from sashizu_core.runtime import delegate_parallel
from sashizu_core.settings import Settings
from sashizu_core.skills import Guidance, Skill
from sashizu_core.skills.guidance import all_guidance, fitted, guidance_paths
from sashizu_core.skills.reading import read_skill_folder
from sashizu_core.skills.shelf import brought_lessons, load_shelf
from sashizu_core.testing.fakes import MemorySink, ScriptedModel, call, scripted_model
from sashizu_core.trust import TrustStore
from sashizu_core.types import RunReport, Task
from sashizu_core.workspace import Workspace

SKILL = "---\nname: {name}\ndescription: {description}\n---\n{body}\n"


@pytest.fixture
def config(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("SASHIZU_HOME", str(tmp_path / "home"))
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "config"))
    folder = tmp_path / "config" / "sashizu"
    monkeypatch.setattr("sashizu_core.skills.shelf.config_home", lambda: folder)
    folder.mkdir(parents=True)
    return folder


@pytest.fixture
def place(tmp_path: Path, config: Path) -> Path:
    folder = tmp_path / "work"
    folder.mkdir()
    return folder


def write(file: Path, text: str) -> Path:
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(text, "utf-8")
    return file


def skill(folder: Path, name: str = "", body: str = "Do it well.", **files: str) -> Path:
    own = folder / (name or "pdf")
    write(own / "SKILL.md", SKILL.format(name=own.name, description=f"About {name}.", body=body))
    for file, text in files.items():
        write(own / file.replace("__", "/"), text)
    return own


def trust_all(place: Path) -> None:
    TrustStore().trust(
        place, {each.path: each.sha256 for each in brought_lessons(place) if each.sha256}
    )


Runner = Callable[..., Any]


@pytest.fixture
def run(place: Path) -> Runner:
    async def runner(
        script: Any, *, scope: tuple[str, ...] = (), tools: Any = None, **more: Any
    ) -> tuple[RunReport, ScriptedModel, MemorySink]:
        model, sink = ScriptedModel(script), MemorySink()
        agent = AgentDefinition.model_validate(
            {
                "name": "learner",
                "goal": "learn",
                "model": model.info.name,
                "tools": tools or {"mcp": ["read_file", "read_skill"], "fs": {"read": True}},
                **more,
            }
        )
        registry = Registry(
            models={model.info.name: scripted_model(model)},
            tools={spec.name: spec for spec in builtin.register_tools(Settings())},
        )
        with anyio.fail_after(20):
            report = await delegate_parallel(
                [Task("learner", "learn", scope=scope)],
                workspace=place,
                agents=[agent],
                settings=Settings(),
                registry=registry,
                sinks=[sink],
                audit=False,
            )
        return report, model, sink

    return runner


def told(model: ScriptedModel) -> str:
    return model.requests[0].messages[0].content


async def test_a_users_skill_is_offered_by_name_and_read_when_it_is_needed(
    run: Runner, config: Path
) -> None:
    skill(config / "skills", "pdf", "Use the long body.", forms__fill_txt="field = value")
    script = [
        [call("read_skill", name="pdf")],
        [call("read_skill", name="pdf", file="forms/fill_txt")],
        "done",
    ]
    report, model, sink = await run(script)
    assert report.success_count == 1
    assert "- pdf: About pdf." in told(model)
    assert "Use the long body." not in told(model)
    body, file = [m.content for m in model.requests[-1].messages if m.role == "tool"]
    assert "Use the long body." in body
    assert "forms/fill_txt" in body
    assert file == "field = value"
    attrs = sink.of("agent.started")[0]["attrs"]
    assert list(attrs["skills"]) == ["pdf"]  # type: ignore[index]


async def test_what_a_repository_teaches_is_not_told_before_somebody_trusted_it(
    run: Runner, place: Path
) -> None:
    skill(place / ".claude/skills", "pdf")
    write(place / "AGENTS.md", "Always say hello.")
    report, model, _ = await run(["done"])
    assert "hello" not in told(model)
    assert "pdf" not in told(model)
    assert "read_skill" not in [tool.name for tool in model.requests[0].tools]
    (warning,) = report.warnings
    assert "'.claude/skills/pdf'" in warning
    assert "'AGENTS.md'" in warning
    assert "sashizu trust" in warning


async def test_what_a_repository_teaches_is_told_once_it_is_trusted(
    run: Runner, place: Path
) -> None:
    skill(place / ".codex/skills", "pdf")
    write(place / "AGENTS.md", "Always say hello.")
    write(place / "src/pay/AGENTS.md", "Say goodbye too.")
    write(place / "docs/AGENTS.md", "Write plainly.")
    write(place / "src/pay/a.py", "x = 1\n")
    trust_all(place)
    report, model, sink = await run(["done"], scope=("src/pay/a.py",))
    assert report.warnings == ()
    text = told(model)
    assert text.index("Always say hello.") < text.index("Say goodbye too.")
    assert "Write plainly." not in text
    assert "- pdf, of this repository: About pdf." in text
    attrs = sink.of("agent.started")[0]["attrs"]
    assert list(attrs["guidance"]) == ["AGENTS.md", "src/pay/AGENTS.md"]  # type: ignore[index]


async def test_guidance_that_an_agent_may_not_read_is_not_told_to_it(
    run: Runner, place: Path
) -> None:
    write(place / "AGENTS.md", "Always say hello.")
    write(place / "src/AGENTS.md", "Say goodbye too.")
    trust_all(place)
    tools = {"mcp": ["read_file"], "fs": {"read": ["src"]}}
    _, model, _ = await run(["done"], scope=("src",), tools=tools)
    assert "hello" not in told(model)
    assert "Say goodbye too." in told(model)


@pytest.mark.parametrize("change", ["SKILL.md", "run.sh", "new.txt"])
def test_a_skill_of_which_any_file_changed_needs_trust_again(place: Path, change: str) -> None:
    folder = skill(place / ".sashizu/skills", "pdf", **{"run.sh": "echo"})
    trust_all(place)
    assert [each.name for each in load_shelf(place).skills] == ["pdf"]
    with (folder / change).open("a") as file:
        file.write("more")
    shelf = load_shelf(place)
    assert shelf.skills == ()
    assert "pdf" in shelf.notes[0]


def test_a_repositorys_skill_does_not_take_the_name_of_a_users(place: Path, config: Path) -> None:
    skill(config / "skills", "pdf", "mine")
    skill(place / ".sashizu/skills", "pdf", "theirs")
    skill(place / ".claude/skills", "pdf", "others")
    trust_all(place)
    found = {each.name: each.body for each in load_shelf(place).skills}
    assert found == {"pdf": "mine", "repo:pdf": "theirs"}


def test_a_folder_of_skills_that_leads_out_of_the_repository_is_not_read(
    place: Path, tmp_path: Path
) -> None:
    skill(tmp_path / "elsewhere", "pdf")
    (place / ".claude").mkdir()
    (place / ".claude/skills").symlink_to(tmp_path / "elsewhere")
    shelf = load_shelf(place)
    assert shelf.skills == ()
    assert "leads outside" in shelf.notes[0]


def test_links_in_a_skill_are_no_files_of_it(place: Path, tmp_path: Path) -> None:
    write(tmp_path / "secret", "hidden")
    folder = skill(place / ".sashizu/skills", "pdf")
    (folder / "link").symlink_to(tmp_path / "secret")
    assert read_skill_folder(folder, "repository").files == ()


@pytest.mark.parametrize(
    ("text", "what"),
    [
        ("no front", "front matter"),
        ("---\nname: a\n---\nbody", "'description'"),
        ("---\nname: 'a b'\ndescription: d\n---\n", "'name'"),
        ("---\nname: a\ndescription: [d]\n---\n", "'description'"),
        ("---\nname: *a\n---\n", "alias"),
    ],
)
def test_what_is_no_skill_is_told_and_hides_no_other(place: Path, text: str, what: str) -> None:
    folder = write(place / ".sashizu/skills/bad/SKILL.md", text).parent
    with pytest.raises(ConfigError, match=what):
        read_skill_folder(folder, "repository")
    skill(place / ".sashizu/skills", "good")
    trust_all(place)
    shelf = load_shelf(place)
    assert [each.name for each in shelf.skills] == ["good"]
    assert "bad" in shelf.notes[0]


async def test_a_file_of_a_skill_that_changed_during_the_run_is_not_read(place: Path) -> None:
    folder = skill(place / ".sashizu/skills", "pdf", **{"run.sh": "echo"})
    found = read_skill_folder(folder, "repository")
    write(folder / "run.sh", "evil")
    with Workspace.open(place) as workspace:
        context = ToolContext("id", "agent", "run", workspace, skills=(found,))
        tool = ReadSkill()
        with pytest.raises(ToolError, match="has changed"):
            await tool.run(tool.parse('{"name": "pdf", "file": "run.sh"}'), context)
        with pytest.raises(ToolError, match=r"no file '\.\./x'"):
            await tool.run(tool.parse('{"name": "pdf", "file": "../x"}'), context)
        with pytest.raises(ToolError, match="known: pdf"):
            await tool.run(tool.parse('{"name": "pfd"}'), context)


def test_what_nobody_can_see_is_not_told(place: Path) -> None:
    hidden = "".join(chr(0xE0000 + ord(c)) for c in "evil")
    write(place / "AGENTS.md", f"Be \u202ekind.{hidden}\u200b")
    trust_all(place)
    (found,) = load_shelf(place).guidance(())
    assert found.text == "Be kind."


def test_guidance_lies_in_the_folders_above_a_scope(place: Path) -> None:
    write(place / "a/b/c.py", "")
    paths = guidance_paths(["a/b/c.py", "/etc", "../x", "a"], place)
    assert paths == ("AGENTS.md", "a/AGENTS.md", "a/b/AGENTS.md")


def test_all_guidance_of_a_repository_is_listed_but_that_of_packages(place: Path) -> None:
    for path in ("AGENTS.md", "src/AGENTS.md", "node_modules/x/AGENTS.md"):
        write(place / path, "text")
    assert list(all_guidance(place)) == ["AGENTS.md", "src/AGENTS.md"]


@given(
    texts=st.lists(st.text(st.characters(exclude_categories=["Cs"]), max_size=200), max_size=5),
    left=st.none() | st.integers(0, 4000),
)
def test_guidance_never_takes_more_than_its_share(texts: list[str], left: int | None) -> None:
    given_ = [Guidance(f"{n}/AGENTS.md", text, "repository", "") for n, text in enumerate(texts)]
    kept = fitted(given_, left)
    whole = sum(len(each.text.encode()) for each in kept if not each.text.endswith("AGENTS.md]"))
    if left is not None:
        assert whole <= left // 8
    assert [each.path for each in kept] == [each.path for each in given_[len(given_) - len(kept) :]]


@given(st.text(st.characters(exclude_categories=["Cs"])))
def test_no_guidance_can_end_itself(text: str) -> None:
    brief = Brief("a", "r", "g", guidance=(Guidance("AGENTS.md", text, "repository", ""),))
    system, user = first_messages(brief)
    (begin,) = [line for line in system.content.split("\n") if line.startswith("[begin AGENTS.md")]
    assert begin.replace("begin", "end", 1) not in text
    assert read_brief((system, user)) is not None


def test_descriptions_are_one_line(place: Path) -> None:
    text = "---\nname: a\ndescription: |\n  one\n  - fake: two\n---\nbody"
    folder = write(place / ".sashizu/skills/a/SKILL.md", text).parent
    found = read_skill_folder(folder, "repository")
    assert isinstance(found, Skill)
    assert found.description == "one - fake: two"
