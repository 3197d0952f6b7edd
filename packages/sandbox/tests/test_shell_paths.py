"""What programs touch: every path that their arguments name is asked for, or they do not run."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sashizu_core.errors import ArgumentsError, ToolError
from sashizu_core.grants import ExecRequest, PathRequest, PermissionRequest
from sashizu_core.program_homes.looking import is_file, is_folder
from sashizu_core.protocols import ToolContext
from sashizu_core.workspace import Workspace
from sashizu_sandbox.shell.line import parse_argv, parse_line
from sashizu_sandbox.shell.programs import Programs
from sashizu_sandbox.shell.tables import TABLES, Table
from sashizu_sandbox.shell.tool import Shell
from sashizu_sandbox.shell.understanding import requests_of, understand

OUTSIDE = ("/etc/passwd", "../other", "a/../../other", "/", "..", "/proc/self/environ", "//etc")
FILES = ("read", "write", "revision", "archive")


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Workspace, Programs]]:
    root, folder = tmp_path_factory.mktemp("workspace"), tmp_path_factory.mktemp("bin")
    for name in TABLES:
        if name != ".":
            (folder / name).write_text("#!/bin/sh\n")
            (folder / name).chmod(0o755)
    (root / "src").mkdir()
    with Workspace.open(root) as workspace:
        yield workspace, Programs(workspace, str(folder))


def asked(
    place: tuple[Workspace, Programs], *argv: str, cwd: str = "."
) -> tuple[PermissionRequest, ...]:
    return requests_of(understand(parse_argv(argv), cwd, *place), cwd, "held")


def paths(requests: tuple[PermissionRequest, ...]) -> set[tuple[str, str]]:
    return {(r.path, r.access) for r in requests if isinstance(r, PathRequest)}


def understood(requests: tuple[PermissionRequest, ...]) -> bool:
    return not any(request.doubt for request in requests if isinstance(request, ExecRequest))


def _tables() -> Iterator[tuple[tuple[str, ...], Table]]:
    """Every program and subcommand whose arguments are understood."""
    for name, table in TABLES.items():
        if table.never or table.any_code:
            continue
        subcommands: list[tuple[tuple[str, ...], Table]] = [
            ((name, sub), found)
            for sub, found in table.subcommands.items()
            if not found.never and not found.subcommands
        ]
        yield from subcommands or [((name,), table)]


KNOWN = list(_tables())
WITH_FILES = [
    (words, table)
    for words, table in KNOWN
    if table.rest in FILES and table.style == "getopt" and not table.subcommands
]
WITH_FILE_OPTIONS = [
    (words, option, kinds[0])
    for words, table in KNOWN
    for option, kinds in table.values.items()
    if len(kinds) == 1 and kinds[0] in FILES
]


def refused(place: tuple[Workspace, Programs], *argv: str) -> bool:
    """Whether a command does not run, as it is not understood or leads outside."""
    try:
        return not understood(asked(place, *argv))
    except ToolError:
        return True


@settings(max_examples=400, deadline=None)
@given(st.sampled_from(WITH_FILES), st.sampled_from(OUTSIDE), st.data())
def test_no_argument_leads_outside_wherever_it_stands(
    place: tuple[Workspace, Programs],
    known: tuple[tuple[str, ...], Table],
    outside: str,
    data: st.DataObject,
) -> None:
    words, table = known
    flags = data.draw(st.lists(st.sampled_from(sorted(table.flags) or ["--"]), max_size=3))
    first = ["p"] * len(table.operands)
    rest = data.draw(st.permutations([*data.draw(st.lists(st.just("a"), max_size=2)), outside]))
    assert refused(place, *words, *flags, *first, *rest)
    assert refused(place, *words, *first, *rest, *flags)
    assert refused(place, *words, *flags, "--", *first, *rest)


@settings(max_examples=400, deadline=None)
@given(st.sampled_from(WITH_FILE_OPTIONS), st.sampled_from(OUTSIDE))
def test_no_value_of_an_option_leads_outside(
    place: tuple[Workspace, Programs],
    known: tuple[tuple[str, ...], str, str],
    outside: str,
) -> None:
    words, option, _ = known
    assert refused(place, *words, option, outside, "a", "b")
    joint = "=" if option.startswith("--") else ""
    assert refused(place, *words, f"{option}{joint}{outside}", "a", "b")


@settings(max_examples=300, deadline=None)
@given(st.sampled_from(KNOWN), st.lists(st.text(max_size=6) | st.sampled_from(OUTSIDE), max_size=5))
def test_any_arguments_are_understood_or_refused(
    place: tuple[Workspace, Programs],
    known: tuple[tuple[str, ...], Table],
    arguments: list[str],
) -> None:
    try:
        found = asked(place, *known[0], *arguments)
    except ToolError:
        return
    assert all(not path.startswith(("/", "..")) for path, _ in paths(found))


@settings(max_examples=300, deadline=None)
@given(st.text(max_size=80) | st.dictionaries(st.text(max_size=8), st.text(max_size=20)))
def test_a_decision_raises_nothing_but_a_refusal(
    place: tuple[Workspace, Programs], text: str | dict[str, str]
) -> None:
    shell, context = Shell(), ToolContext("agent", "tester", "run", place[0])
    as_command = text if isinstance(text, str) else json.dumps(text)
    for arguments in (json.dumps({"command": as_command}), json.dumps(text), as_command):
        try:
            shell.requests(shell.parse(arguments), context)
        except (ToolError, ArgumentsError):
            continue


@pytest.mark.parametrize(
    ("line", "touched"),
    [
        ("cat src/../a", {("a", "read")}),
        ("cp -r src b", {("src", "read"), ("b", "write")}),
        ("cp a b -t src", {("a", "read"), ("b", "write"), ("src", "write")}),
        ("mv a b", {("a", "write"), ("b", "write")}),
        ("tee -", {("-", "write")}),
        ("sort -ob a", {("a", "read"), ("b", "write")}),
        ("uniq a b", {("a", "read"), ("b", "write")}),
        ("sed -i s/a/b/ a", {("a", "read"), ("a", "write")}),
        ("sed s/a/b/ a", {("a", "read")}),
        ("grep -r x", {(".", "read")}),
        ("grep x", set()),
        ("rg x", {(".", "read")}),
        ("ls", {(".", "read")}),
        ("cat a | rg x", {("a", "read")}),
        ("cat a | rg --files", {("a", "read"), (".", "read")}),
        ("find src -newer a", {("src", "read"), ("a", "read")}),
        ("tar xzf a.tgz", {("a.tgz", "read"), (".", "write")}),
        ("tar -tzf a.tgz", {("a.tgz", "read")}),
        ("tar -xzf a.tgz -C src", {("a.tgz", "read"), ("src", "write")}),
        ("unzip a.zip", {("a.zip", "read"), (".", "write")}),
        ("unzip -l a.zip", {("a.zip", "read")}),
        ("git stash", {(".", "read"), (".", "write"), (".git", "write")}),
        ("git show HEAD:src/a", {(".", "read"), ("HEAD:src/a", "read"), ("src/a", "read")}),
        ("git add -A", {(".", "read"), (".git", "write")}),
        ("ruff check src", {("src", "read")}),
        ("ruff check --fix src", {("src", "read"), ("src", "write")}),
        ("ruff format", {(".", "write")}),
        ("ruff format --check", {(".", "read")}),
    ],
)
def test_what_is_touched(
    place: tuple[Workspace, Programs], line: str, touched: set[tuple[str, str]]
) -> None:
    found = requests_of(understand(parse_line(line), ".", *place), ".", "held")
    assert understood(found)
    assert paths(found) == touched


def test_paths_are_relative_to_where_a_command_runs(place: tuple[Workspace, Programs]) -> None:
    assert paths(asked(place, "cat", "a", cwd="src")) == {("src/a", "read"), ("src", "read")}
    assert paths(asked(place, "cat", "../a", cwd="src")) == {("a", "read"), ("src", "read")}
    moved = requests_of(understand(parse_line("cd src && cat a"), ".", *place), ".", "held")
    assert paths(moved) == {("src/a", "read"), ("src", "read")}
    with pytest.raises(ToolError, match="outside the workspace"):
        asked(place, "cat", "../../a", cwd="src")


def test_a_file_that_a_revision_names_counts_from_both_folders(
    place: tuple[Workspace, Programs],
) -> None:
    found = paths(asked(place, "git", "show", "HEAD:.env", cwd="src"))
    assert {(".env", "read"), ("src/.env", "read")} <= found


# --- programs -------------------------------------------------------------------------------------


def script(path: Path, mode: int = 0o755) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("#!/bin/sh\n")
    path.chmod(mode)
    return path


@pytest.fixture
def own(tmp_path: Path) -> Iterator[tuple[Workspace, Path]]:
    (tmp_path / "work").mkdir()
    (tmp_path / "bin").mkdir(mode=0o755)
    with Workspace.open(tmp_path / "work") as workspace:
        yield workspace, tmp_path / "bin"


def test_a_program_is_taken_from_trusted_folders_first(own: tuple[Workspace, Path]) -> None:
    workspace, folder = own
    theirs = script(folder / "ls")
    script(workspace.root / ".venv/bin/ls")
    (found,) = asked((workspace, Programs(workspace, str(folder))), "ls")[:1]
    assert isinstance(found, ExecRequest)
    assert found.program == str(theirs)
    assert not found.any_code


def test_what_is_any_code_anyway_is_taken_from_the_workspace_first(
    own: tuple[Workspace, Path],
) -> None:
    workspace, folder = own
    script(folder / "pytest")
    ours = script(workspace.root / ".venv/bin/pytest")
    found = asked((workspace, Programs(workspace, str(folder))), "pytest", "-q")
    assert found[0] == ExecRequest(("pytest", "-q"), str(ours), any_code=True, enforced_by="held")
    assert PathRequest(".venv/bin/pytest", "read") in found


def test_a_program_that_a_workspace_brings_is_any_code_whatever_its_name(
    own: tuple[Workspace, Path],
) -> None:
    workspace, folder = own
    script(workspace.root / "ls")
    place = (workspace, Programs(workspace, str(folder)))
    (found, *_) = asked(place, "./ls")
    assert isinstance(found, ExecRequest)
    assert found.argv == ("./ls",)
    assert found.any_code


def test_folders_that_others_can_change_are_not_trusted(own: tuple[Workspace, Path]) -> None:
    workspace, folder = own
    script(folder / "mytool")
    folder.chmod(0o777)
    place = (workspace, Programs(workspace, str(folder)))
    with pytest.raises(ToolError, match="there is no program 'mytool'"):
        asked(place, "mytool")


def test_files_that_others_can_change_are_not_trusted(own: tuple[Workspace, Path]) -> None:
    workspace, folder = own
    script(folder / "mytool", 0o777)
    with pytest.raises(ToolError, match="there is no program 'mytool'"):
        asked((workspace, Programs(workspace, str(folder))), "mytool")


def test_a_link_from_a_trusted_folder_into_the_workspace_is_not_trusted(
    own: tuple[Workspace, Path],
) -> None:
    workspace, folder = own
    (folder / "mytool").symlink_to(script(workspace.root / "evil"))
    with pytest.raises(ToolError, match="there is no program 'mytool'"):
        asked((workspace, Programs(workspace, str(folder))), "mytool")


def test_folders_of_the_workspace_and_relative_ones_are_no_trusted_folders(
    own: tuple[Workspace, Path],
) -> None:
    workspace, folder = own
    script(workspace.root / "bin/mytool")
    search = f"{workspace.root}/bin:bin::.:{folder}"
    assert folder in Programs(workspace, search).folders
    assert workspace.root / "bin" not in Programs(workspace, search).folders
    with pytest.raises(ToolError, match="there is no program 'mytool'"):
        asked((workspace, Programs(workspace, search)), "mytool")


def test_behind_the_shims_of_version_managers_are_the_programs_that_they_start(
    own: tuple[Workspace, Path], tmp_path: Path
) -> None:
    workspace, _ = own
    home = tmp_path / "home"
    for name in ("shims/python3", "versions/3.13.0/bin/python3", "versions/3.9.1/bin/python3"):
        script(home / ".pyenv" / name)
    (home / ".pyenv/version").write_text("3.13.0\n")
    toolchain = home / ".rustup/toolchains/stable-x"
    for path in (home / ".cargo/bin/rustup", home / ".cargo/bin/cargo", toolchain / "bin/cargo"):
        script(path)
    (home / ".rustup/settings.toml").write_text('default_toolchain = "stable-x"\n')
    found = Programs(workspace, f"{home}/.pyenv/shims:{home}/.cargo/bin")
    assert home / ".pyenv/shims" not in found.folders
    python, cargo = found.trusted("python3"), found.trusted("cargo")
    assert python is not None
    assert python.path == home / ".pyenv/versions/3.13.0/bin/python3"
    assert cargo is not None
    assert cargo.path == toolchain / "bin/cargo"


@pytest.mark.parametrize("word", ["sudo", "xargs", "env", "curl", "vim", "eval", "docker", "apt"])
def test_programs_that_never_run_say_what_to_do_instead(
    place: tuple[Workspace, Programs], word: str
) -> None:
    with pytest.raises(ToolError, match=f"'{word}' is not run: "):
        asked(place, word, "a")
    with pytest.raises(ToolError, match=r"is not run|is no program"):
        asked(place, f"/usr/bin/{word}", "a")


def test_a_path_that_cannot_be_looked_at_is_not_there(tmp_path: Path) -> None:
    (tmp_path / "a").touch()
    odd = tmp_path / "a\0b"  # raises where it is asked for, as a folder of somebody else's does
    assert (is_file(tmp_path / "a"), is_file(odd), is_folder(odd)) == (True, False, False)
    assert (is_folder(tmp_path), is_folder(tmp_path / "a")) == (True, False)
