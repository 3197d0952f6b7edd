import os

import pytest
import typer
from sashizu_cli import group, main, render
from sashizu_cli.main import root_command
from sashizu_core.errors import BudgetRefused, SashizuError

SHARED = {
    "-C",
    "--cd",
    "-c",
    "-v",
    "--verbose",
    "--kernel-accelerated",
    "--use-windows-ai",
    "--windows-ai",
}
RUNNING = {
    "--scope", "--budget", "--deadline", "--model", "-o", "--out", "--json", "--no-audit",
    "--isolation", "--approve",
}  # fmt: skip
ASKING = {"--yes", "--confirm-above"}
ELSEWHERE = {"--executor", "--labels"}
GOING_ON = {"--budget", "--deadline", "--approve", "-o", "--out", "--json"}
FLAGS = {
    "": SHARED | {"--version"},
    "run": SHARED | RUNNING | ASKING | {"PROMPT", "--continue", "--realtime", "--target-ms"},
    "delegate": SHARED
    | RUNNING
    | ASKING
    | ELSEWHERE
    | {"AGENT", "-g", "--goal", "--plan", "--rebalance"},
    "delegate-parallel": SHARED
    | RUNNING
    | ASKING
    | ELSEWHERE
    | {"A,B,...", "-g", "--goal", "--jobs", "--plan", "--rebalance"},
    "supervisor": SHARED
    | RUNNING
    | ASKING
    | {"--rebalance"}
    | {
        "GOAL",
        "--agents",
        "--strategy",
        "--merge",
        "--field",
        "--multi-model",
        "--plan",
        "--format",
        "--jobs",
    },
    "agent-create": SHARED
    | (RUNNING - {"--scope", "--isolation"})
    | {"PROMPT", "--save", "--run", "--yes"},
    "replay": SHARED | {"RUN", "--json", "--no-audit"},
    "resume": SHARED | GOING_ON | {"RUN"},
    "fork": SHARED | GOING_ON | {"RUN", "--at", "--agent", "--model"},
    "runs": set(),
    "runs list": SHARED | {"--json"},
    "runs status": SHARED | {"RUN"},
    "runs cancel": SHARED | {"RUN", "--agent"},
    "runs approve": SHARED | {"RUN", "ID", "--list", "--once", "--run", "--deny"},
    "agent": set(),
    "agent list": SHARED | {"--json"},
    "agent show": SHARED | {"NAME", "--json"},
    "agent check": SHARED | {"FILE"},
    "trust": SHARED | {"PATH", "--list", "--revoke", "--yes"},
    "policy": set(),
    "policy show": SHARED | {"--agent", "--json"},
    "policy explain": SHARED | {"--agent", "--tool", "--args", "--json"},
    "models": set(),
    "models list": SHARED | {"--json"},
    "models test": SHARED | {"NAME"},
    "plugins": set(),
    "plugins list": SHARED | {"--json"},
    "plugins new": SHARED | {"KIND", "NAME", "--into"},
    "config": set(),
    "config show": SHARED | {"--json"},
    "init": SHARED | {"--agent"},
    "doctor": SHARED | {"--json"},
    "completion": SHARED | {"SHELL"},
}


def all_commands():
    root = root_command()
    yield "", root
    with typer.Context(root) as context:
        for name in group.OWN:
            command = root.get_command(context, name)
            yield name, command
            for word, below in getattr(command, "commands", {}).items():
                yield f"{name} {word}", below


def test_commands_and_flags_are_those_that_are_promised():
    found = {
        name: {
            word
            for param in command.params
            for word in (param.opts if param.param_type_name == "option" else [param.metavar])
        }
        for name, command in all_commands()
    }

    assert found == FLAGS


def test_every_command_and_flag_says_what_it_does():
    for name, command in all_commands():
        assert command.help, name
        assert all(param.help for param in command.params), name


def test_every_help_can_be_printed(cli):
    for name in FLAGS:
        code, out, err = cli(*name.split(), "-h")
        assert (code, err) == (0, "")
        assert out.startswith(f"Usage: sashizu {name}".rstrip())


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["doctr"], "no command 'doctr'; did you mean 'doctor'?"),
        (
            ["delegate", "alpha", "--bugdet", "5"],
            "No such option: --bugdet (Possible options: --budget",
        ),
        (["delegate"], "Missing argument 'AGENT'"),
        (["--nosuch"], "No such option: --nosuch"),
        (["delegate", "alpha", "--budget"], "'--budget' requires an argument"),
        (["delegate-parallel", "a,b", "--jobs", "0"], "--jobs"),
        (["delegate-parallel", ""], "no agent is named"),
        (["delegate", "a", "--budget", "0"], "not above zero"),
        (["delegate", "a", "--budget", "-5"], "not above zero"),
        (["delegate", "a", "--budget", "5 apples"], "apples"),
        (["delegate", "a", "--deadline", "soon"], "soon"),
        (["delegate", "a", "--deadline", "0s"], "not above zero"),
        (["delegate", "nobody"], "unknown agent 'nobody'"),
        (["delegate", "code-reviwer"], "did you mean 'code-reviewer'?"),
        (["delegate", "general", "--model", "no/such"], "unknown model 'no/such'"),
        (["delegate", "general", "-o", "."], "is a folder"),
        (["-c", "run.jbos=3", "config", "show"], "did you mean 'jobs'?"),
        (["config", "show", "-c", "nonsense"], "-c"),
        (["-C", "no/such/folder", "doctor"], "-C 'no/such/folder': No such file or directory"),
        (["run", "--continue", "nope", "Go on."], "there is no conversation 'nope'"),
        (["runs", "status", "nope"], "there is no run 'nope'"),
        (["run", ""], "the prompt is empty"),
    ],
)
def test_what_cannot_be_meant_ends_with_2_and_says_why(cli, words, message):
    code, out, err = cli(*words)

    assert code == 2
    assert err.startswith("sashizu: error: ")
    assert message in err
    assert "Traceback" not in err
    assert out == ""


def test_a_prompt_instead_of_a_command_means_run(cli):
    code, _, err = cli("Why is the sky blue?", "--model", "no/such")

    assert code == 2
    assert "unknown model 'no/such'" in err


def test_a_command_of_a_package_that_is_absent_is_no_prompt(cli, monkeypatch):
    monkeypatch.setattr(group, "announced", lambda **_: [])

    code, _, err = cli("audit", "runs")

    assert code == 2
    assert "the command 'audit' needs the package 'sashizu-audit'" in err


@pytest.mark.parametrize("word", ["version", "status", "ls", "update", "Hello"])
def test_a_single_word_that_looks_like_a_command_starts_no_run(cli, word):
    code, _, err = cli(word)
    assert code == 2
    assert f"To use the word as a prompt: sashizu run {word}" in err


@pytest.mark.parametrize("prompt", ["why?", "two words", "\N{CJK UNIFIED IDEOGRAPH-4F55}"])
def test_what_looks_like_no_command_is_a_prompt(cli, prompt):
    assert "unknown model" in cli(prompt, "--model", "no/such")[2]


def test_help_is_a_command_too(cli):
    assert cli("help")[1] == cli("--help")[1]
    assert cli("help", "runs", "list")[1] == cli("runs", "list", "--help")[1]


@pytest.mark.parametrize("flag", ["--scope", "--model", "--continue"])
def test_an_empty_word_never_means_the_default(cli, flag):
    code, _, err = cli("run", "why?", flag, "")
    assert (code, f"{flag} is empty" in err) == (2, True)


def test_a_folder_that_is_gone_is_named(cli, tmp_path, monkeypatch):
    gone = tmp_path / "gone"
    gone.mkdir()
    monkeypatch.chdir(gone)
    gone.rmdir()
    code, _, err = cli("doctor")
    assert (code, "the current folder is gone" in err) == (2, True)


def test_shared_options_count_before_and_after_the_command(cli, world):
    (world.folder / "elsewhere").mkdir()
    before = cli("-C", "elsewhere", "-c", "run.jobs=3", "config", "show", "--json")[1]
    after = cli("config", "show", "--json", "-C", str(world.folder), "-c", "run.jobs=3")[1]

    assert '"origin": "-c run.jobs"' in before
    assert before == after


def test_a_traceback_is_shown_only_when_asked_for(cli, monkeypatch):
    def broken() -> None:
        raise ZeroDivisionError("a bug")

    monkeypatch.setattr("sashizu_core.control.list_runs", broken)

    quiet, verbose = cli("runs", "list"), cli("runs", "list", "-v")

    assert quiet[0] == verbose[0] == 1
    assert quiet[2] == (
        "sashizu: error: unexpected ZeroDivisionError: a bug\n  -v shows where it comes from\n"
    )
    assert "Traceback (most recent call last)" in verbose[2]


@pytest.mark.parametrize(
    ("error", "code", "text"),
    [
        (SashizuError("it failed\nin two ways"), 1, "sashizu: error: it failed\n  in two ways\n"),
        (BudgetRefused("run", "tokens", 9, 3), 3, "budget of 'run' refused 9 tokens: 3 left"),
        (ExceptionGroup("x", [ExceptionGroup("y", [SashizuError("deep")])]), 1, "error: deep"),
        (KeyboardInterrupt(), 130, ""),
        (SashizuError("\x1b[2Jboo"), 1, "\\x1b[2Jboo"),
    ],
)
def test_every_error_becomes_words_and_a_code(cli, monkeypatch, error, code, text):
    def failing() -> None:
        raise error

    monkeypatch.setattr("sashizu_core.control.list_runs", failing)

    found = cli("runs", "list")

    assert found[0] == code
    assert text in found[2]


def test_a_warning_of_the_log_is_one_line(cli, monkeypatch):
    import logging

    def warned() -> list[object]:
        fault = ValueError("inner")
        logging.getLogger("sashizu_core.x").warning("odd\x07", exc_info=fault)
        return []

    monkeypatch.setattr(logging.root, "handlers", [])
    monkeypatch.setattr("sashizu_core.control.list_runs", warned)

    assert cli("runs", "list")[2].startswith("sashizu: warning: odd\\x07: inner\n")


def test_stdout_takes_any_text_whatever_its_encoding(monkeypatch):
    import io

    stream = io.TextIOWrapper(io.BytesIO(), encoding="ascii", errors="strict")
    monkeypatch.setattr("sys.stdout", stream)

    render.prepare()
    render.line("naïve ✓")

    assert stream.buffer.getvalue() == b"na\\xefve \\u2713" + os.linesep.encode()


def test_no_words_show_the_help_on_stderr(cli):
    code, out, err = cli()

    assert (code, out) == (main.USAGE, "")
    assert err.startswith("Usage: sashizu [OPTIONS] COMMAND")
