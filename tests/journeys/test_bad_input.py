"""What cannot be done: each ends before anything runs, with a message a person can act on."""

import json
import os
import resource
import sys

import pytest

LINES = [
    (["delegate", "nobody"], ["unknown agent 'nobody'", "known: code-reviewer,"]),
    (["delegate", "code-reviwer"], ["did you mean 'code-reviewer'?"]),
    (["delegate-parallel", ""], ["no agent is named", "sashizu agent list"]),
    (["delegate-parallel", "plain,,other"], ["has an empty name between its commas"]),
    (["delegate-parallel", "plain,nobody"], ["unknown agent 'nobody'"]),
    (["delegate", "plain", "--scope", "src/gone"], ["the scope 'src/gone' does not exist"]),
    (["delegate", "plain", "--budget", "0"], ["'0' is not above zero", "60000"]),
    (["delegate", "plain", "--budget", "-5"], ["'-5' is not above zero"]),
    (["delegate", "plain", "--budget", "5 apples"], ["apples"]),
    (["delegate", "plain", "--budget", "other=5"], ["for an agent that is not asked"]),
    (["delegate", "plain", "--deadline", "soon"], ["'soon'", "90s"]),
    (["delegate", "plain", "-o", "src"], ["-o 'src' is a folder"]),
    (["delegate", "plain", "-o", "README.md/r.json"], ["cannot be written", "nothing was run"]),
    (["delegate", "plain", "--model", "no/such"], ["unknown model 'no/such'", "known: "]),
    (["delegate", "plain", "--model", "offlin"], ["did you mean 'offline'?"]),
    (["delegate", "plain", "--bugdet", "5"], ["No such option: --bugdet", "--budget"]),
    (["-C", "gone", "delegate", "plain"], ["-C 'gone': No such file or directory"]),
    (["-c", "run.jbos=1", "delegate", "plain"], ["jbos", "did you mean 'jobs'?"]),
    (["run", "--continue", "nope", "And?"], ["there is no conversation 'nope'"]),
]  # fmt: skip


@pytest.mark.parametrize(("words", "said"), LINES, ids=lambda value: " ".join(value)[:40])
def test_it_is_refused_with_2_and_says_what_to_do(place, words, said):
    done = place.sashizu(*words)

    assert done.returncode == 2, done.stderr
    assert done.stdout == ""
    for text in said:
        assert text in done.stderr
    assert "Traceback" not in done.stderr
    assert not (place.home / "state" / "runs").exists()


def test_an_agent_with_broken_yaml_names_file_line_and_column(place):
    (place.project / ".sashizu/agents/plain.yaml").write_text("name: plain\ngoal: [unclosed\n")

    done = place.sashizu("delegate", "plain")

    assert done.returncode == 2
    assert ".sashizu/agents/plain.yaml:" in done.stderr


def test_an_agent_with_an_unknown_key_names_the_nearest_right_one(place):
    (place.project / ".sashizu/agents/plain.yaml").write_text("name: plain\ngaol: Look.\n")

    done = place.sashizu("delegate", "plain")

    assert done.returncode == 2
    assert "plain.yaml:2:1: unknown key 'gaol'; did you mean 'goal'?" in done.stderr


@pytest.mark.parametrize(
    ("words", "disabled", "package"),
    [
        (["--budget", "60000"], "budget", "sashizu-budget"),
        ([], "audit", "sashizu-audit"),
    ],
)
def test_a_missing_package_is_named_and_never_passed_over(place, words, disabled, package):
    done = place.sashizu("delegate", "plain", *words, SASHIZU_DISABLE=disabled)

    assert done.returncode == 2, done.stderr
    assert f"pip install {package}" in done.stderr


def test_without_the_record_a_run_goes_on_only_if_that_is_said(place):
    done = place.sashizu(
        "delegate", "plain", "--no-audit", "--model", "offline", SASHIZU_DISABLE="audit"
    )

    assert done.returncode == 0, done.stderr


def test_a_broken_plugin_takes_nothing_else_down(place, tmp_path):
    info = tmp_path / "site" / "sashizu_odd-1.0.dist-info"
    info.mkdir(parents=True)
    (info / "entry_points.txt").write_text("[sashizu]\nodd = sashizu_odd.plugin\n")
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: sashizu-odd\nVersion: 1.0\n")
    (tmp_path / "site" / "sashizu_odd").mkdir()
    (tmp_path / "site" / "sashizu_odd" / "plugin.py").write_text("raise RuntimeError('no card')\n")
    site = {"PYTHONPATH": str(tmp_path / "site")}

    listed = json.loads(place.sashizu("plugins", "list", "--json", **site).stdout)
    checked = place.sashizu("doctor", **site)
    strict = place.sashizu("agent", "list", SASHIZU_STRICT_PLUGINS="1", **site)

    assert {row["name"]: row["state"] for row in listed}["odd"] == "broken"
    assert checked.returncode == 1
    assert "RuntimeError: no card" in checked.stdout
    assert strict.returncode == 2
    assert "'odd'" in strict.stderr


@pytest.mark.skipif(sys.platform == "win32", reason="files cannot be limited there")
def test_a_record_that_cannot_be_written_stops_the_run_before_any_effect(place, service):
    def no_more_than_a_little() -> None:
        resource.setrlimit(resource.RLIMIT_FSIZE, (600, 600))

    import subprocess

    done = subprocess.run(
        [*_command(), "delegate", "plain", "--model", "openai/test", "-o", "r.json"],
        cwd=place.project,
        # a module that were compiled now would be cut off as well, for everybody who comes after
        env={**place.env, **service.env, "PYTHONDONTWRITEBYTECODE": "1"},
        capture_output=True,
        text=True,
        timeout=90,
        check=False,
        preexec_fn=no_more_than_a_little,
    )

    assert done.returncode == 1, done.stderr
    assert "sashizu: error: " in done.stderr
    assert "record" in done.stderr
    assert "Traceback" not in done.stderr
    assert service.calls == []
    assert not (place.project / "r.json").exists()


def _command() -> list[str]:
    return [sys.executable, "-c", "from sashizu_cli.front import main; raise SystemExit(main())"]


@pytest.mark.skipif(os.name == "nt", reason="git is looked for by PATH")
def test_a_folder_without_git_works(place):
    assert not (place.project / ".git").exists()

    done = place.sashizu("delegate", "code-reviewer", "--scope", ".", PATH="/nowhere")

    assert done.returncode == 0, done.stderr
