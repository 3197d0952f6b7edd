"""What of the machine a program brings with it: never more than it is made of."""

from __future__ import annotations

import os
import socket
from collections.abc import Iterator
from pathlib import Path

import pytest
from sashizu_core.errors import ToolError
from sashizu_core.home import config_home
from sashizu_core.program_homes.folders import homes_of
from sashizu_core.program_homes.secrets import hidden_in
from sashizu_core.workspace import Workspace
from sashizu_sandbox.shell.line import parse_argv
from sashizu_sandbox.shell.programs import Program, Programs
from sashizu_sandbox.shell.understanding import understand


def program(path: Path, mode: int = 0o755) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("#!/bin/sh\n")
    path.chmod(mode)
    return path


def python(prefix: Path) -> Path:
    """Something installed as Python is."""
    library = prefix / "lib/python3.11/os.py"
    library.parent.mkdir(parents=True)
    library.touch()
    return program(prefix / "bin/python3.11")


def node(prefix: Path) -> Path:
    header = prefix / "include/node/node.h"
    header.parent.mkdir(parents=True)
    header.touch()
    return program(prefix / "bin/node")


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    home = tmp_path.resolve() / "home"
    for name in (".local/state", ".config", ".cache"):
        (home / name).mkdir(parents=True)
    monkeypatch.setenv("HOME", str(home))
    for name in ("SASHIZU_HOME", "XDG_STATE_HOME", "XDG_CONFIG_HOME"):
        monkeypatch.delenv(name, raising=False)
    return home


@pytest.fixture
def workspace(home: Path) -> Iterator[Workspace]:
    (home / "work/.venv/bin").mkdir(parents=True)
    with Workspace.open(home / "work") as workspace:
        yield workspace


def found(workspace: Workspace, folder: Path, name: str) -> Program | None:
    programs = Programs(workspace, str(folder))
    return programs.own(name) or programs.trusted(name)


def brings(workspace: Workspace, program: Program) -> tuple[Path, ...]:
    return homes_of(program.path, program.real, workspace.root)


def homes(workspace: Workspace, path: Path) -> set[str]:
    """The homes of a trusted program, as seen from the folder above the workspace."""
    program = found(workspace, path.parent, path.name)
    assert program is not None
    return {os.path.relpath(each, workspace.root.parent) for each in brings(workspace, program)}


def test_a_link_of_the_workspace_chooses_no_program_of_the_machine(
    workspace: Workspace, home: Path
) -> None:
    secret = program(home / "private/bin/tool")
    link = workspace.root / ".venv/bin/tool"
    link.symlink_to(secret)
    programs = Programs(workspace, str(home / "bin"))
    assert programs.own("tool") is None
    assert programs.at(link) is None
    for words in (("tool",), (".venv/bin/tool",)):
        with pytest.raises(ToolError, match=r"is a link to .*private/bin/tool, which lies outside"):
            understand(parse_argv(words), ".", workspace, programs)


def test_nor_by_a_link_of_a_folder(workspace: Workspace, home: Path) -> None:
    program(home / "private/bin/tool")
    (workspace.root / ".venv/bin").rmdir()
    (workspace.root / ".venv/bin").symlink_to(home / "private/bin")
    assert found(workspace, home / "bin", "tool") is None


def test_a_link_to_a_trusted_program_counts_by_whatever_name(
    workspace: Workspace, home: Path
) -> None:
    (workspace.root / ".venv/bin/called").symlink_to(program(home / "bin/tool"))
    called = found(workspace, home / "bin", "called")
    assert called is not None
    assert called.own
    assert called.real == home / "bin/tool"


def test_a_virtual_environment_has_the_python_that_it_was_made_of(
    workspace: Workspace, home: Path
) -> None:
    real = python(home / "versions/3.11")
    (workspace.root / ".venv/pyvenv.cfg").touch()
    (workspace.root / ".venv/bin/python").symlink_to(real)
    program(workspace.root / ".venv/bin/pytest")
    for name in ("python", "pytest"):
        brought = found(workspace, home / "bin", name)
        assert brought is not None
        assert brings(workspace, brought) == (home / "versions/3.11",)


@pytest.mark.parametrize("changed", ["bin/python3.11", "bin", "lib/python3.11/os.py", "."])
def test_no_python_that_others_can_change_is_one(
    workspace: Workspace, home: Path, changed: str
) -> None:
    real = python(home / "versions/3.11")
    (workspace.root / ".venv/pyvenv.cfg").touch()
    (workspace.root / ".venv/bin/python").symlink_to(real)
    brought = program(workspace.root / ".venv/bin/pytest")
    (home / "versions/3.11" / changed).chmod(0o777)
    assert found(workspace, home / "bin", "python") is None
    assert homes_of(brought, brought, workspace.root) == ()


def test_the_link_of_a_python_shows_nothing_but_a_python(workspace: Workspace, home: Path) -> None:
    (workspace.root / ".venv/pyvenv.cfg").touch()
    (workspace.root / ".venv/bin/python").symlink_to(program(home / "private/bin/python3"))
    program(workspace.root / ".venv/bin/pytest")
    brought = found(workspace, home / "bin", "pytest")
    assert brought is not None
    assert brings(workspace, brought) == ()


def test_an_interpreter_with_a_folder_of_its_own_brings_that(
    workspace: Workspace, home: Path
) -> None:
    assert homes(workspace, node(home / ".nvm/versions/node/v22")) == {".nvm/versions/node/v22"}


def test_one_that_shares_its_folder_brings_only_what_it_is_made_of(
    workspace: Workspace, home: Path
) -> None:
    assert homes(workspace, node(home / ".local")) == {".local/bin", ".local/include"}
    python(home / "brew")
    (home / "brew/etc").mkdir()
    assert homes(workspace, home / "brew/bin/python3.11") == {"brew/bin", "brew/lib"}


@pytest.mark.parametrize("folder", [".", ".local", ".config", ".cache", ".local/state"])
def test_a_program_that_lies_among_settings_and_state_does_not_show_them(
    workspace: Workspace, home: Path, folder: str
) -> None:
    assert homes(workspace, program(home / folder / "tool")) == set()


def test_nothing_of_our_own_state_and_settings_is_shown(
    workspace: Workspace, home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SASHIZU_HOME", str(home / "tools/state"))
    assert homes(workspace, program(home / "tools/state/bin/tool")) == set()
    assert homes(workspace, program(config_home() / "bin/tool")) == set()
    assert homes(workspace, program(home / "tools/tool")) == set()
    assert homes(workspace, program(home / "tools/bin/tool")) == {"tools/bin"}


def test_a_link_to_a_wide_folder_is_as_wide(workspace: Workspace, home: Path) -> None:
    (home / "narrow").symlink_to(home / ".local")
    program(home / ".local/tool")
    assert homes(workspace, home / "narrow/tool") == set()


def test_keys_and_sockets_of_a_home_are_hidden_but_not_the_certificates_of_packages(
    home: Path,
) -> None:
    shown = ("bin/tool", "lib/python3.11/site-packages/certifi/cacert.pem", "ssl/cert.pem")
    hidden = (
        "share/.netrc",
        ".aws/credentials",
        "bin/id_rsa",
        "lib/node_modules/x/.npmrc",
        "a.pem",
    )
    for name in (*shown, *hidden):
        program(home / "prefix" / name)
    place = home / "prefix/run"
    place.mkdir()
    os.mkfifo(place / "pipe")
    here = os.open(place, os.O_RDONLY)
    try:
        with socket.socket(socket.AF_UNIX) as listener:
            listener.bind(f"/proc/self/fd/{here}/socket")  # a short name, wherever tests run
            found = set(hidden_in(home / "prefix"))
    finally:
        os.close(here)
    names = {str(path.relative_to(home / "prefix")) for path in found}
    assert names == {*hidden, "run/pipe", "run/socket"}


def test_what_comes_later_is_hidden_too(home: Path) -> None:
    program(home / "prefix/bin/tool")
    assert list(hidden_in(home / "prefix")) == []
    program(home / "prefix/bin/.env")
    assert list(hidden_in(home / "prefix")) == [home / "prefix/bin/.env"]
