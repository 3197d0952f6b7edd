"""The command `winai`."""

from __future__ import annotations

import json

import pytest
from sashizu_core.errors import UsageError
from sashizu_winai.cli import app
from sashizu_winai.errors import Unsupported
from typer.testing import CliRunner


@pytest.fixture
def winai(tmp_path, monkeypatch):
    config = tmp_path / "config/sashizu"
    config.mkdir(parents=True)
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "config"))
    monkeypatch.chdir(tmp_path)

    def run(*words, fake=True, code=0, more=""):
        (config / "sashizu.toml").write_text(f"[winai]\nfake = {str(fake).lower()}\n{more}")
        result = CliRunner().invoke(app, words)
        if result.exception is not None and not isinstance(result.exception, SystemExit):
            raise result.exception
        assert result.exit_code == code, result.output
        return result.output

    return run


def test_the_status_says_for_each_capability_what_and_why(winai):
    told = winai("status", fake=False)

    assert told.startswith("backend: unavailable\n")
    assert "unsupported  App Actions are part of Windows 11" in told
    found = json.loads(winai("status", "--json", fake=False))
    assert [one["capability"] for one in found["capabilities"]] == [
        "actions",
        "actions_provider",
        "language_model",
        "onnx",
        "directml",
        "kernel_driver",
        "windows_ml",
        "mcp_filter",
        "mcp_registry",
    ]
    assert all(one["reason"] for one in found["capabilities"])


def test_actions_are_listed_with_what_they_take(winai):
    assert "fake.upper\n" in winai("actions")
    assert "takes text:text" in winai("actions")
    found = {one["id"]: one for one in json.loads(winai("actions", "--json"))}
    assert found["fake.absent"]["available"] is False


def test_without_windows_there_is_no_catalogue(winai):
    with pytest.raises(Unsupported, match="Windows 11"):
        winai("actions", fake=False)


def test_an_action_is_invoked_and_its_backend_named(winai):
    told = winai("invoke", "fake.upper", "--input", "text=text:a\x1b[31m:b")
    assert told == "success (backend fake)\ntext: A\N{REPLACEMENT CHARACTER}[31M:B\n"

    found = json.loads(winai("invoke", "fake.echo", "--input", "text=text:x", "--json"))
    assert found["outputs"]["text"]["value"] == "x"


def test_the_manifest_of_hosted_agents_is_printed(winai, tmp_path):
    hosting = f'[winai.hosting]\nagents = ["code-reviewer"]\nworkspace = "{tmp_path}"\n'

    document = json.loads(winai("host", "--manifest", more=hosting))
    assert [one["id"] for one in document["actions"]] == ["sashizu.code-reviewer"]


def test_hosting_without_windows_or_without_agents_says_why(winai, tmp_path):
    workspace = f'[winai.hosting]\nbudget = ["9000"]\nworkspace = "{tmp_path}"\n'
    with pytest.raises(UsageError, match="no agent is hosted"):
        winai("host", more=workspace)
    with pytest.raises(Unsupported, match="from a package"):
        winai("host", "-Embedding", fake=False, more=f'{workspace}agents = ["code-reviewer"]\n')


def test_what_does_not_succeed_ends_with_1(winai):
    assert winai("invoke", "fake.absent", "--input", "text=text:x", code=1).startswith("unavail")


@pytest.mark.parametrize("text", ["x", "x=y", "=text:a", "x=movie:a", "x=file:nothing.txt"])
def test_an_input_that_cannot_be_meant_is_wrong_use(winai, text):
    with pytest.raises(UsageError, match="--input"):
        winai("invoke", "fake.echo", "--input", text)
