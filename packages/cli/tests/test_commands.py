import json
import os

import pytest
from sashizu_cli.commands.completion import Shell
from sashizu_core.agents import load_catalogue, read_agent_file
from sashizu_core.control import RunInfo
from sashizu_core.errors import ModelError
from sashizu_core.plugins import BrokenPlugin, PluginInfo, Registry
from sashizu_core.specs import AgentSource, BudgetSpec, ModelSpec
from sashizu_core.testing.fakes import ScriptedModel, call, scripted_model

FINE = "name: fine\ngoal: Look.\n"


@pytest.fixture
def registry(monkeypatch):
    """What `open_registry` gives; tests replace its parts."""

    def use(**parts: object) -> None:
        monkeypatch.setattr("sashizu_core.plugins.open_registry", lambda _: Registry(**parts))

    return use


def repository_agents(folder) -> dict[str, AgentSource]:
    return {"r": AgentSource("r", "for tests", folder / ".sashizu" / "agents", "repository")}


# --- agent ----------------------------------------------------------------------------------------


def test_agents_are_listed_with_their_origin(cli, world, registry):
    registry(agents=world.session().registry.agents)

    code, out, err = cli("agent", "list")

    assert (code, err) == (0, "")
    assert out.splitlines()[:2] == [
        "NAME     FROM  GOAL",
        "alpha    user  Say what there is.",
    ]
    found = json.loads(cli("agent", "list", "--json")[1])
    assert [agent["name"] for agent in found] == ["alpha", "beta", "general"]


def test_a_broken_file_is_told_beside_the_agents_that_are_fine(cli, world, registry):
    (world.folder / "agents" / "odd.yaml").write_text("name: odd\ngaol: x\n")
    registry(agents=world.session().registry.agents)

    code, out, err = cli("agent", "list")

    assert code == 0
    assert "alpha" in out
    assert "odd.yaml:2:1: unknown key 'gaol'; did you mean 'goal'?" in err


def test_an_agent_is_shown_with_the_tools_it_has_and_those_it_lacks(cli, world, registry):
    (world.folder / "agents" / "alpha.yaml").write_text(
        "name: alpha\ngoal: Look.\ntools: {mcp: [web_search, shell], fs: {read: true}}\n"
    )
    registry(agents=world.session().registry.agents)

    code, out, _ = cli("agent", "show", "alpha")
    found = json.loads(cli("agent", "show", "alpha", "--json")[1])

    assert code == 0
    assert out.startswith(
        f"# user agent, from {world.folder / 'agents' / 'alpha.yaml'}\nname: alpha\n"
    )
    assert "# effective tools\nnone" in out
    assert "web_search  no installed package offers it" in out
    assert found["tools"] == {}
    assert set(found["absent"]) == {"web_search", "shell"}
    assert found["definition"]["goal"] == "Look."


def test_check_reads_the_files_it_is_given_and_says_what_is_wrong_with_each(cli, world, registry):
    registry()
    (world.folder / "fine.yaml").write_text(FINE)
    (world.folder / "odd.yaml").write_text("name: [unclosed\n")
    (world.folder / "tool.yaml").write_text(FINE + "tools: {mcp: [reed_file]}\n")

    code, out, err = cli("agent", "check", "fine.yaml", "odd.yaml", "tool.yaml", "absent.yaml")

    assert code == 2
    assert out == "ok  fine  fine.yaml\n"
    assert "odd.yaml:" in err
    assert "tool.yaml: agent 'fine' lists an unknown tool 'reed_file'" in err
    assert "absent.yaml: there is no such file" in err


def test_check_without_files_looks_at_all_agents(cli, world, registry):
    registry(agents=world.session().registry.agents)

    assert cli("agent", "check")[0] == 0
    (world.folder / "agents" / "odd.yaml").write_text("nothing")
    assert cli("agent", "check")[0] == 2


# --- init -----------------------------------------------------------------------------------------


def test_init_writes_settings_and_an_agent_that_load(cli, world):
    code, out, err = cli("init")

    assert (code, err) == (0, "")
    assert out == "wrote sashizu.toml\nwrote .sashizu/agents/docs-checker.yaml\n"
    assert cli("config", "show")[0] == 0
    entry = read_agent_file(world.folder / ".sashizu" / "agents" / "docs-checker.yaml")
    assert (entry.name, entry.warnings) == ("docs-checker", ())
    found = load_catalogue(repository_agents(world.folder).values(), workspace=world.folder)
    assert [agent.name for agent in found] == ["docs-checker"]


def test_init_overwrites_nothing(cli, world):
    (world.folder / "sashizu.toml").write_text("[run]\njobs = 2\n")

    code, out, err = cli("init", "--agent", "mine")

    assert code == 0
    assert (world.folder / "sashizu.toml").read_text() == "[run]\njobs = 2\n"
    assert out == "wrote .sashizu/agents/mine.yaml\n"
    assert "sashizu.toml is there already, and stays as it is" in err


@pytest.mark.parametrize("name", ["../../evil", "a/b", "", "a,b"])
def test_init_refuses_a_name_that_no_agent_can_have(cli, world, name):
    code, _, err = cli("init", "--agent", name)

    assert code == 2
    assert "is no name for an agent" in err
    assert not (world.folder / "sashizu.toml").exists()


@pytest.mark.skipif(os.name == "nt", reason="links need rights there")
def test_init_writes_nothing_through_a_link_out_of_the_folder(cli, world, tmp_path):
    (tmp_path / "outside").mkdir()
    (world.folder / ".sashizu").symlink_to(tmp_path / "outside")

    code, _, err = cli("init")

    assert code == 2
    assert "is a link out of" in err
    assert list((tmp_path / "outside").iterdir()) == []


# --- config ---------------------------------------------------------------------------------------


def test_config_shows_each_value_and_its_origin(cli, world):
    (world.folder / "sashizu.toml").write_text('[run]\njobs = 2\nbudget = ["60000"]\n')

    _, out, _ = cli("config", "show", "-c", "run.deadline=15m")
    found = {row["key"]: row for row in json.loads(cli("config", "show", "--json")[1])}

    rows = {line.split()[0]: line for line in out.splitlines()}
    assert rows["KEY"].split() == ["KEY", "VALUE", "ORIGIN"]
    assert rows["run.jobs"].endswith("sashizu.toml:2:1")
    assert rows["run.deadline"].split()[1:] == ['"15m"', "-c", "run.deadline"]
    assert rows["run.model"].split()[1:] == ['"offline"', "default"]
    assert found["run.budget"]["value"] == ["60000"]


def test_config_never_shows_what_may_be_a_secret(cli):
    for words in (["config", "show"], ["config", "show", "--json"]):
        out = cli(*words, "-c", "models.x.api_key=sk-very-secret")[1]
        assert "models.x.api_key" in out
        assert "sk-very-secret" not in out


def test_what_a_project_cannot_widen_is_a_warning(cli, world):
    (world.folder / "sashizu.toml").write_text("[run]\njobs = 99\n")

    code, _, err = cli("config", "show")

    assert code == 0
    assert "warning" in err
    assert "run.jobs = 99 has no effect" in err


# --- models ---------------------------------------------------------------------------------------


def test_models_are_listed_without_opening_one(cli, registry):
    def never(_name: str):
        raise AssertionError

    registry(models={"b/*": ModelSpec("b/*", "all of b", never), "a": ModelSpec("a", "one", never)})

    assert cli("models", "list")[1] == "NAME  WHAT IT IS\na     one\nb/*   all of b\n"
    assert json.loads(cli("models", "list", "--json")[1])[0] == {"name": "a", "summary": "one"}


def test_a_model_that_answers_is_told_with_time_and_tokens(cli, registry):
    registry(models={"fake/scripted": scripted_model(ScriptedModel(["ready\x1b[2J"]))})

    code, out, _ = cli("models", "test", "fake/scripted")

    assert code == 0
    assert out.startswith("fake/scripted answered in 0.")
    assert "'ready\\\\x1b[2J'" in out
    assert "31 tokens in, 9 out" in out


def test_whether_a_model_streams_and_calls_tools_is_told_apart(cli, registry):
    called = call("double", number=2)
    models = {
        "does": lambda r: [called] if r.tools else "ready",
        "talks": lambda r: "4" if r.tools else "ready",
        "fails": lambda r: ModelError("no tools", fault="invalid_request") if r.tools else "ready",
    }
    registry(models={f"fake/{n}": scripted_model(ScriptedModel(s)) for n, s in models.items()})

    def told(name):
        code, out, _ = cli("models", "test", f"fake/{name}")
        assert code == 0
        return out.splitlines()[-2:]

    assert told("does") == ["streams: no, all at once", "calls tools: yes"]
    assert told("talks")[1] == "calls tools: no, it answered with text"
    assert told("fails")[1] == "calls tools: no (invalid_request: no tools)"


def test_a_model_that_does_not_answer_is_an_error_with_its_fault(cli, registry):
    error = ModelError("the key in OPENAI_API_KEY is not accepted", fault="auth")
    registry(models={"fake/scripted": scripted_model(ScriptedModel([error]))})

    code, _, err = cli("models", "test", "fake/scripted")

    assert code == 1
    assert "fake/scripted did not answer (auth): the key in OPENAI_API_KEY is not accepted" in err


def test_an_unknown_model_names_what_is_known(cli, registry):
    registry(models={"fake/scripted": scripted_model(ScriptedModel([]))})

    code, _, err = cli("models", "test", "fake/scriptd")

    assert code == 2
    assert "unknown model 'fake/scriptd'" in err
    assert "did you mean 'fake/scripted'?" in err


# --- plugins --------------------------------------------------------------------------------------


def test_plugins_are_listed_with_what_they_offer_or_why_they_do_not(cli, registry):
    registry(
        plugins=(PluginInfo("gpu", "sashizu_gpu.plugin", ("register_tools", "provide_budget")),),
        broken=(BrokenPlugin("odd", "odd.plugin", "ImportError: no\nway"),),
    )

    out = cli("plugins", "list", "-c", 'plugins.disable=["mcp"]')[1]

    assert out.splitlines() == [
        "NAME  STATE     PACKAGE             OFFERS",
        "gpu   ok        sashizu_gpu.plugin  tools, budget",
        "odd   broken    odd.plugin          ImportError: no way",
        "mcp   disabled",
    ]


# --- doctor ---------------------------------------------------------------------------------------


def test_the_doctor_names_what_is_there_and_what_a_missing_package_would_give(
    cli, registry, monkeypatch
):
    from importlib import metadata

    known = metadata.version

    def version(name: str) -> str:
        if name == "sashizu-openai":
            raise metadata.PackageNotFoundError(name)
        return "9.9" if name.startswith("sashizu-") else known(name)

    monkeypatch.setattr(metadata, "version", version)
    monkeypatch.setenv("OPENAI_API_KEY", "sk-very-secret")
    registry(budget=BudgetSpec("b", "b", lambda: None))

    code, out, _ = cli("doctor", "-c", "models.mine.key_env=MY_KEY")
    findings = {row["about"]: row for row in json.loads(cli("doctor", "--json")[1])}

    assert code == 0
    assert findings["sashizu-audit"]["text"] == "9.9"
    assert findings["sashizu-openai"] == {
        "about": "sashizu-openai",
        "state": "absent",
        "text": "pip install sashizu-openai gives models of OpenAI and of every compatible service",
    }
    assert {"python", "platform", "state folder", "sqlite fts5", "rg", "git", "openat2"} <= set(
        findings
    )
    assert "key for openai" in out
    assert "OPENAI_API_KEY is set" in out
    assert "MY_KEY is not set" in out
    assert "sk-very-secret" not in out


def test_the_doctor_names_broken_things_and_fails(cli, world, registry, monkeypatch):
    (world.folder / "agents" / "odd.yaml").write_text("nothing")
    (world.folder / "file").write_text("")
    monkeypatch.setenv("SASHIZU_HOME", str(world.folder / "file" / "home"))
    registry(
        agents=world.session().registry.agents,
        broken=(BrokenPlugin("gpu", "sashizu_gpu.plugin", "ImportError: no libcuda"),),
    )

    code, out, _ = cli("doctor")

    assert code == 1
    assert "plugin gpu" in out
    assert "not loaded: ImportError: no libcuda" in out
    assert "agent odd" in out
    assert "set SASHIZU_HOME to another folder" in out
    assert "no plugin provides a ledger" in out


def test_the_doctor_survives_settings_that_cannot_be_read(cli, world):
    (world.folder / "sashizu.toml").write_text("[run\n")

    code, out, _ = cli("doctor")

    assert code == 1
    assert "settings" in out
    assert "sashizu.toml:1" in out
    assert "terminal" in out


# --- runs -----------------------------------------------------------------------------------------


def test_runs_are_listed_newest_first(cli, monkeypatch):
    runs = [
        RunInfo("r2", ["a", "b"], "/w", 1, 1e9),
        RunInfo("r1", ["c"], "/w", 1, 9e8, status="ok"),
    ]
    monkeypatch.setattr("sashizu_core.control.list_runs", lambda: runs)

    _, out, _ = cli("runs", "list")

    head, second, first = (line.split() for line in out.splitlines())
    assert head == ["RUN", "STARTED", "STATUS", "AGENTS", "WORKSPACE"]
    assert (second[0], second[-3:]) == ("r2", ["running", "a,b", "/w"])
    assert (first[0], first[-3:]) == ("r1", ["ok", "c", "/w"])
    assert [run["run_id"] for run in json.loads(cli("runs", "list", "--json")[1])] == ["r2", "r1"]


def test_without_runs_there_is_nothing_on_stdout(cli):
    assert cli("runs", "list") == (0, "", "sashizu: no run has left a trace yet\n")


def test_a_run_that_has_ended_cannot_be_cancelled(cli, monkeypatch):
    monkeypatch.setattr(
        "sashizu_core.control.client.list_runs",
        lambda _home=None: [RunInfo("r1", ["c"], "/w", 1, 9e8, status="ok")],
    )

    code, _, err = cli("runs", "cancel", "r1")

    assert code == 1
    assert "the run 'r1' is not at work" in err
    assert json.loads(cli("runs", "status", "last")[1])["status"] == "ok"


# --- completion -----------------------------------------------------------------------------------


@pytest.mark.parametrize("shell", Shell)
def test_every_shell_has_a_script(cli, shell):
    code, out, _ = cli("completion", shell.value)

    assert code == 0
    assert "_SASHIZU_COMPLETE" in out
    assert "sashizu" in out


@pytest.mark.parametrize(
    ("words", "offered"),
    [
        ("sashizu deleg", {"delegate", "delegate-parallel"}),
        ("sashizu delegate al", {"alpha"}),
        ("sashizu delegate-parallel alpha,b", {"alpha,beta"}),
        ("sashizu run x --mod", {"--model"}),
        ("sashizu run x --model fake", {"fake/scripted"}),
        ("sashizu agent sh", {"show"}),
    ],
)
def test_words_are_completed(cli, world, registry, monkeypatch, capfd, words, offered):
    session = world.session()
    registry(agents=session.registry.agents, models=session.registry.models)
    monkeypatch.setenv("_SASHIZU_COMPLETE", "complete_bash")
    monkeypatch.setenv("COMP_WORDS", words)
    monkeypatch.setenv("COMP_CWORD", str(len(words.split()) - 1))

    with pytest.raises(SystemExit) as ended:
        cli()

    assert ended.value.code == 0
    assert set(capfd.readouterr().out.split()) == offered
