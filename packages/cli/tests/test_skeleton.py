import os
import subprocess
import sys
import tomllib

import pytest
from sashizu_cli.skeleton import Kind, write_skeleton
from sashizu_core.errors import UsageError


@pytest.mark.parametrize("kind", Kind)
def test_a_skeleton_is_a_whole_package_with_every_blank_filled_in(kind, tmp_path):
    files = write_skeleton(kind, "two-words", tmp_path)

    root = tmp_path / "sashizu-two-words"
    project = tomllib.loads((root / "pyproject.toml").read_text())
    assert {file for file in root.rglob("*") if file.is_file()} == set(files)
    assert project["project"]["name"] == "sashizu-two-words"
    assert project["project"]["entry-points"]["sashizu"] == {
        "two-words": "sashizu_two_words.plugin"
    }
    assert root / "src" / "sashizu_two_words" / "plugin.py" in files
    assert [file for file in files if "$" in file.read_text()] == []


def test_a_command_is_announced_for_the_help(tmp_path):
    write_skeleton(Kind.COMMAND, "greet", tmp_path)

    project = tomllib.loads((tmp_path / "sashizu-greet" / "pyproject.toml").read_text())
    assert project["project"]["entry-points"]["sashizu.commands"] == {
        "greet": "sashizu_greet.cli:app"
    }


def test_the_prefix_may_be_given(tmp_path):
    write_skeleton(Kind.MODEL, "sashizu-echo", tmp_path)

    assert (tmp_path / "sashizu-echo" / "src" / "sashizu_echo" / "model.py").is_file()


@pytest.mark.parametrize("name", ["", "Big", "a_b", "-a", "a-", "1x", "../up", "a/b", "x" * 51])
def test_a_name_that_is_none_is_refused_and_nothing_is_written(name, tmp_path):
    with pytest.raises(UsageError, match="is no name for a plugin"):
        write_skeleton(Kind.MODEL, name, tmp_path)

    assert list(tmp_path.iterdir()) == []


def test_nothing_is_overwritten(tmp_path):
    (tmp_path / "sashizu-echo").mkdir()

    with pytest.raises(UsageError, match="is there already; nothing was written"):
        write_skeleton(Kind.MODEL, "echo", tmp_path)

    assert list((tmp_path / "sashizu-echo").iterdir()) == []


@pytest.mark.parametrize("kind", Kind)
def test_a_skeleton_passes_its_own_tests(kind, tmp_path):
    write_skeleton(kind, "first-try", tmp_path)
    root = tmp_path / "sashizu-first-try"

    ran = subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "-p", "no:randomly", "-p", "no:cacheprovider"],
        cwd=root,
        env={**os.environ, "PYTHONPATH": str(root / "src"), "PYTEST_ADDOPTS": ""},
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )

    assert ran.returncode == 0, ran.stdout[-3000:]
    assert "passed" in ran.stdout


@pytest.mark.parametrize("name", ["core", "cli", "budget", "sashizu-audit", "all"])
def test_a_plugin_cannot_take_the_name_of_a_package_of_ours(name, tmp_path):
    with pytest.raises(UsageError, match="a package of sashizu itself"):
        write_skeleton(Kind.TOOL, name, tmp_path)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("name", ["run", "merge", "help"])
def test_a_command_that_could_never_be_reached_is_refused(name, tmp_path):
    with pytest.raises(UsageError, match="a command of sashizu itself"):
        write_skeleton(Kind.COMMAND, name, tmp_path)


def test_a_skeleton_that_cannot_be_written_whole_leaves_nothing(tmp_path, monkeypatch):
    def full(*_: object, **__: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("pathlib.Path.write_text", full)
    with pytest.raises(UsageError, match="No space left on device"):
        write_skeleton(Kind.TOOL, "mine", tmp_path)
    assert list(tmp_path.iterdir()) == []
