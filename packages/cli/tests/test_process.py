"""What only a real process shows: shells that complete, streams that are closed, signals."""

import os
import shutil
import signal
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path

import pytest

PROGRAM = Path(sys.executable).with_name("sashizu")
posix = pytest.mark.skipif(os.name != "posix", reason="this system has no such shell")

pytestmark = [
    posix,
    pytest.mark.skipif(not PROGRAM.exists(), reason="the program is not installed"),
]


@pytest.fixture
def environment(tmp_path):
    return {
        **{k: v for k, v in os.environ.items() if not k.startswith("SASHIZU_")},
        "SASHIZU_HOME": str(tmp_path / "home"),
        "XDG_CONFIG_HOME": str(tmp_path / "config"),
        "PATH": f"{PROGRAM.parent}{os.pathsep}{os.environ['PATH']}",
    }


def shell(script, environment):
    return subprocess.run(
        ["bash", "-c", script], env=environment, capture_output=True, text=True, timeout=60,
        check=False,
    )  # fmt: skip


@pytest.mark.skipif(shutil.which("bash") is None, reason="there is no bash")
def test_bash_completes_commands_and_agents(environment):
    script = """
    source <(sashizu completion bash)
    complete_words() {{ COMP_WORDS=("$@"); COMP_CWORD=$(($# - 1)); COMPREPLY=()
      _sashizu_completion sashizu; echo "${{COMPREPLY[*]}}"; }}
    complete_words {}
    """
    agents = shell(script.format("sashizu delegate co"), environment)
    assert agents.stdout.split() == ["code-reviewer"]
    commands = shell(script.format("sashizu del"), environment)
    assert set(commands.stdout.split()) == {"delegate", "delegate-parallel"}
    assert commands.stderr == ""


@pytest.mark.parametrize("words", ["--version", "--help", "runs --help"])
@pytest.mark.parametrize("stream", [">&-", ">/dev/full", ">&- 2>&-"])
def test_a_stream_that_takes_nothing_makes_no_traceback(environment, words, stream):
    if "/dev/full" in stream and not Path("/dev/full").exists():
        pytest.skip("this system has no /dev/full")
    ended = shell(f"sashizu {words} {stream}", environment)
    assert ended.returncode == 1
    assert "Traceback" not in ended.stderr


def test_a_prompt_from_a_closed_stdin_is_refused(environment):
    ended = shell("sashizu run - <&-", environment)
    assert ended.returncode == 2
    assert "stdin is closed" in ended.stderr


@pytest.mark.skipif(find_spec("sashizu_offline") is None, reason="needs a model")
def test_a_run_whose_remarks_nobody_reads_ends_with_its_report(environment, tmp_path):
    agent = tmp_path / "config/sashizu/agents/talker.yaml"
    agent.parent.mkdir(parents=True)
    agent.write_text("name: talker\ngoal: talk\n")
    script = f"cd {tmp_path} && sashizu delegate talker --no-audit -o r.json 2>&1 >/dev/null | :"
    shell(script, environment)
    assert (tmp_path / "r.json").stat().st_size > 0


def test_a_signal_that_nohup_ignores_stays_ignored():
    code = (
        "import signal; signal.signal(signal.SIGHUP, signal.SIG_IGN); "
        "from sashizu_cli.interrupts import _signals; print(signal.SIGHUP in _signals())"
    )
    ran = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert ran.stdout == "False\n"
    assert signal.SIGHUP
