"""All agents together: whose they are, what they are called, what did not load."""

import os
from pathlib import Path

import pytest
from sashizu_core.agents import AgentDefinition, Catalogue, load_catalogue
from sashizu_core.builtin.plugin import register_agents
from sashizu_core.errors import ConfigError, UsageError
from sashizu_core.settings import Settings
from sashizu_core.specs import AgentSource


class Folders:
    """A shipped folder, a user's and a repository, all empty."""

    def __init__(self, root: Path) -> None:
        self.shipped = root / "shipped"
        self.user = root / "user"
        self.project = root / "project"

    def write(self, folder: Path, name: str, *, stem: str = "", more: str = "") -> Path:
        folder.mkdir(parents=True, exist_ok=True)
        file = folder / f"{stem or name}.yaml"
        file.write_text(f"name: {name}\ngoal: from {folder.name}\n{more}")
        return file

    def repository(self, name: str, *, stem: str = "", more: str = "") -> Path:
        return self.write(self.project / ".sashizu/agents", name, stem=stem, more=more)

    def load(self, *extra: AgentDefinition) -> Catalogue:
        sources = [
            AgentSource("shipped", "", self.shipped, "shipped"),
            AgentSource("user", "", self.user, "user"),
            *[source for source in register_agents(Settings()) if source.scope == "repository"],
        ]
        return load_catalogue(sources, workspace=self.project, extra=extra)


@pytest.fixture
def folders(tmp_path: Path) -> Folders:
    (tmp_path / "project").mkdir()
    return Folders(tmp_path)


def _names(catalogue: Catalogue) -> list[tuple[str, str]]:
    return [(entry.name, entry.scope) for entry in catalogue]


def test_folders_that_do_not_exist_hold_no_agents(folders: Folders) -> None:
    catalogue = folders.load()
    assert len(catalogue) == 0
    assert catalogue.problems == ()
    with pytest.raises(UsageError, match=r"unknown agent 'x'; known: none"):
        catalogue.get("x")


def test_every_folder_and_format_is_read(folders: Folders) -> None:
    folders.write(folders.shipped, "a")
    folders.write(folders.user, "b")
    folders.repository("c")
    codex = folders.project / ".codex/agents"
    folders.write(codex, "d")
    (codex / "e.toml").write_text('name="e"\ndescription="x"\ndeveloper_instructions="y"')
    claude = folders.project / ".claude/agents"
    claude.mkdir(parents=True)
    (claude / "f.md").write_text("---\nname: f\ndescription: x\n---\n")
    (claude / "ignored.yaml").write_text("not an agent")
    (codex / "ignored.txt").write_text("not an agent")
    catalogue = folders.load()
    assert _names(catalogue) == [
        ("a", "shipped"),
        ("b", "user"),
        ("c", "repository"),
        ("d", "repository"),
        ("e", "repository"),
        ("f", "repository"),
    ]
    assert catalogue.problems == ()


def test_a_users_agent_replaces_a_shipped_one(folders: Folders) -> None:
    folders.write(folders.shipped, "a")
    folders.write(folders.user, "A")
    catalogue = folders.load()
    assert _names(catalogue) == [("A", "user")]
    assert catalogue.get("a").goal == "from user"


@pytest.mark.parametrize("name", ["a", "A", "Code Reviewer", "code_reviewer"])
def test_a_repositorys_agent_never_takes_a_name(folders: Folders, name: str) -> None:
    folders.write(folders.shipped, "a")
    folders.write(folders.user, "code-reviewer")
    folders.repository(name, stem="x")
    catalogue = folders.load()
    assert catalogue.entry(name).scope != "repository"
    own = catalogue.entry(f"repo:{name}")
    assert own.scope == "repository"
    assert own.name == own.definition.name == f"repo:{name}"
    assert own.definition.grants().source == f"agent repo:{name}"


def test_a_repositorys_agent_with_a_name_of_its_own_has_both_names(folders: Folders) -> None:
    folders.repository("mine")
    catalogue = folders.load()
    assert catalogue.entry("mine") is catalogue.entry("repo:mine")
    assert catalogue.entry("mine").name == "mine"


def test_a_repository_cannot_take_the_name_of_a_broken_agent(folders: Folders) -> None:
    folders.user.mkdir()
    (folders.user / "x.yaml").write_text("name: mine\ngaol: x\n")
    folders.repository("mine")
    catalogue = folders.load()
    assert catalogue.entry("repo:mine").scope == "repository"
    with pytest.raises(ConfigError, match="unknown key 'gaol'"):
        catalogue.get("mine")


def test_a_broken_file_is_reported_and_the_others_load(folders: Folders) -> None:
    folders.repository("good")
    bad = folders.repository("bad", more="tools: {fs: {wirte: true}}\n")
    catalogue = folders.load()
    assert _names(catalogue) == [("good", "repository")]
    (problem,) = catalogue.problems
    assert problem.file == bad
    assert problem.name == "bad"
    assert str(problem.error).startswith(f"{bad}:3:14: unknown key 'tools.fs.wirte'")
    with pytest.raises(ConfigError, match="unknown key"):
        catalogue.get("bad")
    with pytest.raises(
        UsageError, match=r"unknown agent 'god'; did you mean 'good'\?.*1 files did"
    ):
        catalogue.get("god")


def test_a_users_broken_file_is_not_passed_over_in_silence(folders: Folders) -> None:
    folders.write(folders.shipped, "a")
    folders.write(folders.user, "a", more="gaol: x\n")
    with pytest.raises(ConfigError, match="unknown key 'gaol'"):
        folders.load().get("a")


def test_a_repositorys_broken_file_hides_nobody(folders: Folders) -> None:
    folders.write(folders.shipped, "a")
    folders.repository("a", more="gaol: x\n")
    catalogue = folders.load()
    assert catalogue.entry("a").scope == "shipped"
    with pytest.raises(ConfigError, match="unknown key 'gaol'"):
        catalogue.get("repo:a")


def test_two_agents_of_one_name_in_one_scope_are_left_out_and_told(folders: Folders) -> None:
    one = folders.repository("Same Name", stem="one")
    two = folders.write(folders.project / ".codex/agents", "same-name", stem="two")
    folders.repository("other")
    catalogue = folders.load()
    assert _names(catalogue) == [("other", "repository")]
    assert len(catalogue.problems) == 2
    with pytest.raises(ConfigError) as caught:
        catalogue.get("same-name")
    assert f"{one}, {two}" in str(caught.value)


def test_a_name_that_is_asked_for_is_never_a_path(folders: Folders, tmp_path: Path) -> None:
    (tmp_path / "secret.yaml").write_text("name: secret\ngoal: x\n")
    folders.repository("a")
    catalogue = folders.load()
    for name in ("../../../secret", str(tmp_path / "secret"), "secret.yaml", ""):
        with pytest.raises(UsageError, match="unknown agent"):
            catalogue.get(name)


def test_a_folder_or_file_that_leads_out_of_the_repository_is_not_read(
    folders: Folders, tmp_path: Path
) -> None:
    folders.write(tmp_path / "outside", "out")
    (folders.project / ".codex").mkdir()
    (folders.project / ".codex/agents").symlink_to(tmp_path / "outside")
    folders.repository("a")
    (folders.project / ".sashizu/agents/link.yaml").symlink_to(tmp_path / "outside/out.yaml")
    catalogue = folders.load()
    assert _names(catalogue) == [("a", "repository")]
    messages = sorted(str(problem.error) for problem in catalogue.problems)
    assert "leads outside the workspace" in messages[0]
    assert "link.yaml: cannot be read" in messages[1]


def test_a_file_that_never_ends_and_a_folder_do_not_stop_the_others(folders: Folders) -> None:
    folders.repository("a")
    os.mkfifo(folders.project / ".sashizu/agents/pipe.yaml")
    (folders.project / ".sashizu/agents/folder.yaml").mkdir()
    catalogue = folders.load()
    assert _names(catalogue) == [("a", "repository")]
    assert all("is no regular file" in str(p.error) for p in catalogue.problems)
    assert len(catalogue.problems) == 2


def test_a_folder_with_far_too_many_files_is_not_read(folders: Folders) -> None:
    folders.repository("a")
    for number in range(1001):
        (folders.project / f".sashizu/agents/{number}.yaml").touch()
    catalogue = folders.load()
    assert len(catalogue) == 0
    (problem,) = catalogue.problems
    assert "holds more than 1000 agents" in str(problem.error)


def test_definitions_made_in_code_come_first(folders: Folders) -> None:
    folders.write(folders.shipped, "a")
    folders.write(folders.user, "a")
    folders.repository("a")
    catalogue = folders.load(AgentDefinition(name="a", goal="in code"))
    assert catalogue.get("a").goal == "in code"
    assert _names(catalogue) == [("a", "given"), ("repo:a", "repository")]


def test_names_match_without_regard_to_case_and_blanks(folders: Folders) -> None:
    folders.repository("Python Reviewer", stem="python-reviewer")
    catalogue = folders.load()
    for name in ("Python Reviewer", "python-reviewer", "PYTHON_REVIEWER"):
        assert catalogue.get(name).name == "Python Reviewer"
