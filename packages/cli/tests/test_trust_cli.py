"""`sashizu trust`, and runs with agents that a repository brings."""

from __future__ import annotations

import pytest
from sashizu_cli import keyboard
from sashizu_cli.execution import RunRequest, execute
from sashizu_core.errors import TrustNeeded
from sashizu_core.specs import AgentSource
from sashizu_core.trust import TrustStore
from sashizu_core.types import Task

AGENT = "name: plain\ngoal: Answer.\ntools: {mcp: [shell], fs: {read: [src]}}\n"
PATH = ".sashizu/agents/plain.yaml"


@pytest.fixture
def brought(world):
    """An agent that the repository brings."""
    file = world.folder / PATH
    file.parent.mkdir(parents=True)
    file.write_text(AGENT)
    return file


@pytest.fixture
def person(monkeypatch):
    """Somebody at the terminal who types these lines; what is left are those not read."""

    def sit_down(*lines: str) -> list[str]:
        left = list(lines)
        monkeypatch.setattr(keyboard, "somebody_there", lambda: True)
        monkeypatch.setattr(keyboard, "forget_typed", lambda: None)
        monkeypatch.setattr(keyboard, "typed_line", lambda: left.pop(0))
        return left

    return sit_down


def run(world, name="plain"):
    session = world.session("Fine.")
    source = AgentSource(".sashizu", "", (world.folder / PATH).parent, "repository")
    session.registry.agents["repository"] = source
    return execute(RunRequest([Task(name)]), session)


def test_it_shows_each_file_with_its_hash_and_what_it_wants(brought, cli):
    code, out, err = cli("trust")

    assert code == 2
    assert f"{PATH}  (new)" in out
    assert "sha256  " in out
    assert "tools: shell" in out
    assert "fs.read: src" in out
    assert "nobody is here to be asked: say --yes" in err


def test_yes_trusts_what_is_shown_until_it_changes(brought, cli):
    assert cli("trust", "--yes")[0] == 0
    code, out, err = cli("trust")
    assert (code, "(trusted)" in out, "all of it is trusted" in err) == (0, True, True)

    brought.write_text(AGENT + "model: openai/dear\n")

    code, out, _ = cli("trust")
    assert (code, "(changed)" in out, "model: openai/dear" in out) == (2, True, True)


def test_a_person_is_asked_and_no_is_the_default(brought, cli, person):
    person("")
    code, _, err = cli("trust")
    assert (code, "nothing was trusted" in err) == (2, True)
    person("y")
    assert cli("trust")[0] == 0
    assert "(trusted)" in cli("trust")[1]


def test_settings_are_shown_and_need_no_trust(world, cli):
    (world.folder / "sashizu.toml").write_text("[run]\njobs = 2\n")
    code, out, err = cli("trust")
    assert code == 0
    assert "sashizu.toml  (narrows only)" in out
    assert "run.jobs: 2" in out
    assert "nothing that needs trust" in err


def test_a_broken_agent_is_shown_and_not_trusted(brought, cli):
    brought.write_text("name: [")
    _, out, err = cli("trust", "--yes")
    assert f"{PATH}  (broken)" in out
    assert "nothing that needs trust" in err


def test_what_is_trusted_is_listed_and_revoked(brought, cli, world):
    assert "nothing of any repository" in cli("trust", "--list")[2]
    cli("trust", "--yes")
    assert PATH in cli("trust", "--list")[1]
    assert cli("trust", "--revoke")[0] == 0
    assert cli("trust", "--revoke")[0] == 2


def test_another_folder_can_be_named(brought, cli, world, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert cli("trust", "--yes", str(world.folder))[0] == 0
    assert list(TrustStore().files(world.folder)) == [PATH]


def test_names_of_files_cannot_steer_the_terminal(brought, cli):
    brought.rename(brought.with_name("a\x1b[2Jb.yaml"))
    _, out, _ = cli("trust", "--yes")
    assert "\x1b" not in out
    assert r"a\x1b[2Jb.yaml" in out


def test_an_agent_that_init_wrote_is_trusted_as_it_was_written(cli):
    cli("init")
    assert "(trusted)" in cli("trust")[1]


def test_without_a_person_a_run_is_refused_with_the_command_to_say(brought, world):
    with pytest.raises(TrustNeeded, match=r"plain\.yaml.*: sashizu trust$"):
        run(world)
    assert world.sink.events == []


def test_a_run_asks_once_and_goes_on(brought, world, person, capfd):
    left = person("y", "never read")
    assert run(world) == 0
    assert left == ["never read"]
    assert "fs.read: src" in capfd.readouterr().err
    assert run(world) == 0
    assert left == ["never read"]


def test_a_run_that_is_told_no_is_refused(brought, world, person):
    person("n")
    with pytest.raises(TrustNeeded):
        run(world)
    assert TrustStore().files(world.folder) == {}


def test_a_file_that_changes_while_it_is_asked_about_is_not_used(
    brought, world, person, monkeypatch
):
    person()

    def answer():
        brought.write_text(AGENT + "model: openai/dear\n")
        return "y"

    monkeypatch.setattr(keyboard, "typed_line", answer)
    with pytest.raises(TrustNeeded, match="changed since it was trusted"):
        run(world)


def test_agents_that_the_repository_does_not_bring_are_not_asked_about(brought, world):
    assert run(world, "alpha") == 0


def test_it_shows_what_a_repository_would_teach_and_run(world, cli):
    (world.folder / "AGENTS.md").write_text("Be kind.\nAnd quick.\n")
    skill = world.folder / ".claude/skills/pdf"
    skill.mkdir(parents=True)
    (skill / "SKILL.md").write_text("---\nname: pdf\ndescription: About pdf.\n---\nDo it.\n")
    (skill / "run.sh").write_text("true\n")
    bad = world.folder / ".claude/skills/bad"
    bad.mkdir()
    (bad / "SKILL.md").write_text("nothing\n")
    hook = '{"type": "command", "command": "check me"}'
    (world.folder / ".claude/settings.json").write_text(
        f'{{"hooks": {{"Stop": [{{"hooks": [{hook}]}}], "PreCompact": []}}}}'
    )

    code, out, _ = cli("trust", "--yes")

    assert code == 0
    assert "AGENTS.md  (new)" in out
    assert "Be kind." in out
    assert ".claude/skills/pdf  (new)" in out
    assert "run.sh" in out
    assert ".claude/skills/bad/SKILL.md  (broken)" in out
    assert "hook Stop: check me" in out
    assert "PreCompact" in out
    assert set(TrustStore().files(world.folder)) == {
        "AGENTS.md",
        ".claude/skills/pdf",
        ".claude/settings.json",
    }
    assert "(new)" not in cli("trust")[1]
