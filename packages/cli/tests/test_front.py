import os
import subprocess
import sys
import threading
from pathlib import Path
from types import ModuleType

import pytest
import sashizu_cli
from sashizu_cli import announced, front, help_text
from sashizu_cli._help import TEXTS
from sashizu_cli.front import begun

HEAVY = {"openai", "mcp", "duckdb", "pydantic", "typer", "rich", "asyncio", "anyio", "pluggy"}
REAL_APP = "import sys; from sashizu_cli.main import main; sys.exit(main(sys.argv[1:]))"
FRONT = "import sys; from sashizu_cli.front import main; sys.exit(main())"


def python(code: str, *words: str, **env: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-c", code, *words],
        check=False,
        capture_output=True,
        text=True,
        timeout=60,
        env={**os.environ, "COLUMNS": "200", **env},
    )


def installed(folder: Path, dist: str, entry_points: str, metadata: str = "") -> Path:
    info = folder / f"{dist.replace('-', '_')}-1.0.dist-info"
    info.mkdir(parents=True)
    (info / "entry_points.txt").write_text(entry_points)
    (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {dist}\n{metadata}\n")
    return info


def test_the_generated_help_is_what_the_real_app_prints():
    assert help_text.MODULE.read_text("utf-8") == help_text.module_text()


def test_help_fits_80_columns_of_ascii():
    for words, text in TEXTS.items():
        assert text.isascii(), words
        assert max(map(len, text.splitlines())) < 80, words


@pytest.mark.parametrize(
    "words", [["--help"], ["-h"], ["delegate", "--help"], ["runs", "list", "-h"]]
)
def test_front_door_and_real_app_answer_alike_whatever_the_width(words):
    fast = python(FRONT, *words)
    slow = python(REAL_APP, *words, COLUMNS="37")

    assert fast.stdout == slow.stdout
    assert (fast.returncode, slow.returncode) == (0, 0)
    assert fast.stderr == slow.stderr == ""


def test_a_call_that_hangs_in_a_thread_holds_nobody_up():
    hanging = (
        "import threading, time; from sashizu_cli.front import ended; print('told', end='');"
        "threading.Thread(target=time.sleep, args=(50,)).start(); raise SystemExit(ended(7, 0.05))"
    )
    found = python(hanging)
    assert (found.returncode, found.stdout, found.stderr) == (7, "told", "")


def test_threads_that_end_by_themselves_are_waited_for():
    done = threading.Event()
    threading.Thread(target=done.wait, args=(10,)).start()
    threading.Timer(0.01, done.set).start()
    assert front.ended(3, 10) == 3
    assert done.is_set()


def test_version_is_that_of_the_package():
    from importlib.metadata import version

    assert front.answer(["--version"]) == f"sashizu {version('sashizu-cli')}\n"
    assert python(REAL_APP, "--version").stdout == f"sashizu {sashizu_cli.__version__}\n"


@pytest.mark.parametrize("words", [["--version"], ["--help"], ["run", "--help"]])
def test_the_front_door_imports_nothing_but_itself(words):
    code = (
        "import sys; before = set(sys.modules)\n"
        "from sashizu_cli.front import main\n"
        "main(); print(*sorted(set(sys.modules) - before), file=sys.stderr)"
    )

    loaded = set(python(code, *words).stderr.split())

    assert loaded <= {
        "sashizu_cli", "sashizu_cli.front", "sashizu_cli._help", "sashizu_cli.announced"
    }  # fmt: skip
    assert not loaded & HEAVY


@pytest.mark.parametrize(
    "words",
    [
        [],
        ["run"],
        ["run", "--help", "--model", "x"],
        ["nosuch", "--help"],
        ["-v", "--help"],
        ["--version", "run"],
    ],
)
def test_what_is_no_plain_question_goes_to_the_real_app(words):
    assert front.answer(words) is None


def test_installing_or_removing_a_plugin_changes_both_answers_alike(tmp_path):
    def answers() -> tuple[str, str]:
        env = {"PYTHONPATH": str(tmp_path)}
        return python(FRONT, "--help", **env).stdout, python(REAL_APP, "--help", **env).stdout

    before = answers()
    info = installed(
        tmp_path,
        "sashizu-weather",
        "[sashizu]\nweather = sashizu_weather.plugin\n"
        "[sashizu.commands]\nweather = sashizu_weather.cli:app\n",
        "Summary: Ask agents about the weather\n",
    )
    with_plugin = answers()
    for file in info.iterdir():
        file.unlink()
    info.rmdir()

    assert before[0] == before[1] == answers()[0]
    assert with_plugin[0] == with_plugin[1]
    assert "  weather" in with_plugin[0]
    assert "Ask agents about the weather" in with_plugin[0]
    assert "weather" not in before[0]


def test_a_disabled_plugin_announces_nothing(tmp_path):
    installed(
        tmp_path,
        "sashizu-weather",
        "[sashizu]\nweather = w.plugin\n[sashizu.commands]\nweather = w.cli:app\n",
    )
    env = {"PYTHONPATH": str(tmp_path), "SASHIZU_DISABLE": "gpu, weather"}

    fast, slow = python(FRONT, "--help", **env), python(REAL_APP, "--help", **env)

    assert fast.stdout == slow.stdout
    assert "weather" not in fast.stdout


def test_a_command_without_its_module_breaks_nothing_but_itself(tmp_path):
    installed(tmp_path, "sashizu-gone", "[sashizu.commands]\ngone = sashizu_gone.cli:app\n")

    called = python(FRONT, "gone", PYTHONPATH=str(tmp_path))

    assert called.returncode == 2
    assert "the command 'gone' (sashizu_gone.cli:app) cannot be loaded" in called.stderr
    assert "Traceback" not in called.stderr
    assert "  gone" in python(FRONT, "--help", PYTHONPATH=str(tmp_path)).stdout


def test_two_packages_that_offer_a_command_are_both_named(tmp_path):
    for dist in ("sashizu-one", "sashizu-two"):
        installed(tmp_path, dist, "[sashizu.commands]\nsame = a.cli:app\n")

    called = python(FRONT, "same", PYTHONPATH=str(tmp_path))

    assert called.returncode == 2
    assert "2 packages offer the command 'same': sashizu-one, sashizu-two" in called.stderr


def test_a_reader_that_leaves_early_is_no_error():
    code = "import os, sys\nr, w = os.pipe(); os.dup2(w, 1); os.close(w); os.close(r)\n" + FRONT

    done = python(code, "--help")

    assert done.returncode == 1
    assert done.stderr == ""


def test_no_words_at_all_show_the_help_as_a_usage_error():
    done = python(FRONT)

    assert done.returncode == 2
    assert done.stdout == ""
    assert done.stderr == front.answer(["--help"])


@pytest.mark.parametrize("code", [0, 7, None])
def test_a_front_answers_with_its_exit_code_or_leaves_the_words(monkeypatch, code):
    heard = []
    front = ModuleType("made_front")
    front.main = lambda words: heard.append(words) or code
    monkeypatch.setitem(sys.modules, "made_front", front)
    monkeypatch.setattr(announced, "front_of", lambda name: "made_front:main")

    assert begun(["serve", "--fast"]) == code
    assert heard == [["--fast"]]


@pytest.mark.parametrize(
    "words", [[], ["--version"], ["-C", "x", "serve"], ["serve", "--help"], ["run", "x"]]
)
def test_no_front_is_looked_for_where_none_can_be_meant(monkeypatch, words):
    monkeypatch.setattr(announced, "front_of", pytest.fail)

    assert begun(words) is None
