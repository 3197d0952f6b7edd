"""What a server is shown of the machine: what its program is made of, and no secret beside it."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from sashizu_core.sandboxing import Confinement
from sashizu_mcp_server.client.configured import ServerConfig
from sashizu_mcp_server.client.settings import ServerEntry
from sashizu_mcp_server.client.starting import held


def program(path: Path, text: str = "") -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)
    path.chmod(0o755)
    return path


def python(prefix: Path) -> Path:
    """Something installed as Python is."""
    library = prefix / "lib/python3.11/os.py"
    library.parent.mkdir(parents=True)
    library.touch()
    return program(prefix / "bin/python3.11")


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    home = tmp_path.resolve() / "home"
    for name in (".config", "work"):
        (home / name).mkdir(parents=True)
    monkeypatch.setenv("HOME", str(home))
    for name in ("SASHIZU_HOME", "XDG_STATE_HOME", "XDG_CONFIG_HOME"):
        monkeypatch.delenv(name, raising=False)
    return home


def given(home: Path, program: Path, *read: Path) -> Confinement:
    config = ServerConfig("docs", ServerEntry(command=str(program)), "", "", own=True, read=read)
    work = home / "work"
    return held(config, Confinement(cwd=work), program, work, {})


def shown(home: Path, program: Path) -> set[str]:
    return {os.path.relpath(path, home) for path in given(home, program).readable}


def test_the_folder_of_a_program_is_shown_without_its_secrets(home: Path) -> None:
    server = program(home / "tools/server")
    program(home / "tools/.env")
    found = given(home, server)
    assert found.readable == (home / "tools",)
    assert found.hidden == (home / "tools/.env",)


@pytest.mark.parametrize("folder", [".", ".config", ".local/state"])
def test_a_program_among_settings_and_state_shows_nothing_of_them(home: Path, folder: str) -> None:
    assert shown(home, program(home / folder / "server")) == set()


def test_a_script_brings_its_interpreter_and_what_interprets_that(home: Path) -> None:
    first = program(home / "first/run", f"#!{python(home / 'python')}\n")
    second = program(home / "second/run", f"#!{first}\n")
    assert shown(home, second) == {"second", "first", "python"}


def test_what_lies_in_the_workspace_brings_nothing_but_a_python(home: Path) -> None:
    private = program(home / "private/tool")
    script = program(home / "work/script", f"#!{private}\n")
    link = home / "work/link"
    link.symlink_to(private)
    assert shown(home, script) == shown(home, link) == set()
    snake = program(home / "work/snake", f"#!{python(home / 'python')}\n")
    assert shown(home, snake) == {"python"}


def test_a_secret_that_the_operator_names_is_shown(home: Path) -> None:
    server = program(home / "tools/server")
    secrets = [program(home / "tools" / name) for name in (".env", "keys/id_rsa", "other/id_rsa")]
    found = given(home, server, secrets[0], secrets[1].parent)
    assert set(found.readable) == {home / "tools", secrets[0], secrets[1].parent}
    assert found.hidden == (secrets[2],)
