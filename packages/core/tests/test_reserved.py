"""Where sashizu keeps its state and settings is nobody's to read or write, whatever is granted."""

from __future__ import annotations

from pathlib import Path

import pytest
from sashizu_core.errors import UsageError
from sashizu_core.grants import Grants, PathRequest, Subject
from sashizu_core.permissions import authorize
from sashizu_core.runtime.asked import workspace_folder
from sashizu_core.runtime.reserved import reserved_rules


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("SASHIZU_HOME", str(tmp_path / ".local/state/sashizu"))
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / ".config"))
    monkeypatch.setenv("HOME", str(tmp_path))
    (tmp_path / "work").mkdir()
    return tmp_path


def allowed(path: str, rules: Grants) -> bool:
    subject = Subject("id", "a", (rules,))
    return any(
        authorize([PathRequest(path, access)], subject).allowed for access in ("read", "write")
    )


def test_a_workspace_that_holds_them_does_not_open_them(home: Path) -> None:
    everything = Grants(fs_read=(".",), fs_write=(".",), rules=reserved_rules(home))
    assert not allowed(".local/state/sashizu/trust/x.json", everything)
    assert not allowed(".config/sashizu/sashizu.toml", everything)
    assert allowed("work/a.txt", everything)
    named = Grants(fs_write=(".config/sashizu",), rules=reserved_rules(home))
    assert not allowed(".config/sashizu/agents/x.yaml", named)


def test_a_further_root_does_not_open_them(home: Path) -> None:
    reached = str(home / ".config")
    rules = reserved_rules(home / "work", [reached])
    assert not allowed(f"{reached}/sashizu/sashizu.toml", Grants(fs_read=("/",), rules=rules))


def test_elsewhere_there_is_nothing_to_deny(home: Path) -> None:
    assert reserved_rules(home / "work") == ()


@pytest.mark.parametrize("name", [".local/state/sashizu", ".config/sashizu/agents"])
def test_nobody_works_in_them(home: Path, name: str) -> None:
    (home / name).mkdir(parents=True)
    with pytest.raises(UsageError, match="no agent works there"):
        workspace_folder(home / name)


def test_worktrees_are_there_to_be_worked_in(home: Path) -> None:
    folder = home / ".local/state/sashizu/worktrees/run/a"
    folder.mkdir(parents=True)
    assert workspace_folder(folder) == folder
