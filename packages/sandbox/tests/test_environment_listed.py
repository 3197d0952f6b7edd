"""Programs get the variables that are listed for them, and none of those that happen to be set."""

from __future__ import annotations

from pathlib import Path

import pytest
from sashizu_core.workspace import Workspace
from sashizu_sandbox.shell.programs import Programs
from sashizu_sandbox.shell.surroundings import environment_of
from sashizu_sandbox.worktrees import git

PLANTED = {
    "OPENAI_API_KEY": "planted-key",
    "AWS_SECRET_ACCESS_KEY": "planted-key",
    "DATABASE_URL": "postgres://u:planted-key@h/d",
    "LD_PRELOAD": "planted-key.so",
    "PYTHONSTARTUP": "planted-key.py",
    "SSH_AUTH_SOCK": "planted-key",
    "GIT_ASKPASS": "planted-key",
    "BASH_ENV": "planted-key",
    "HARMLESS_NAME": "planted-key",
    "HOME": "/planted-key",
    "CARGO_HOME": "/planted-key",
}


@pytest.fixture(autouse=True)
def _planted(monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in PLANTED.items():
        monkeypatch.setenv(name, value)


@pytest.mark.parametrize("any_code", [True, False])
def test_a_program_of_an_agent_gets_listed_variables_alone(tmp_path: Path, any_code: bool) -> None:
    with Workspace.open(tmp_path) as workspace:
        found = environment_of(
            {"LANG": "C.UTF-8"}, {"RUFF_NO_CACHE": "1"}, workspace, Programs(workspace),
            any_code=any_code,
        )  # fmt: skip
    assert "planted-key" not in repr(found)
    assert set(found) == {
        *("LANG", "RUFF_NO_CACHE", "PATH", "TERM", "PAGER", "NO_COLOR", "CLICOLOR"),
        *("GIT_CEILING_DIRECTORIES", "GIT_PAGER", "GIT_TERMINAL_PROMPT", "HOME", "CARGO_HOME"),
    }


def test_git_gets_listed_variables_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", "/home/somebody")  # it reads the person's own configuration
    assert "planted-key" not in repr(git._environment())
