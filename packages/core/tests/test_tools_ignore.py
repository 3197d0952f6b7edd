from __future__ import annotations

import re
import shutil
import subprocess
import time
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from sashizu_core.workspace import PathGlob, Workspace
from sashizu_core.workspace.globs import BadGlob, component
from sashizu_core.workspace.ignore import IgnoreFile

FILES = ("a", "b.py", "a.txt", "d/a", "d/b.py", "d/e/a", "d/e/x.txt", "e/a.txt", "f g/#a", "f/!b")
PIECES = st.sampled_from(
    [
        "a",
        "b",
        "d",
        "e",
        "x",
        "*",
        "**",
        "?",
        "/",
        ".txt",
        ".py",
        "!",
        "#",
        "\\",
        "[ab]",
        "[!a]",
        " ",
    ]
)
LINES = st.lists(PIECES, max_size=6).map("".join)


def planted(root: Path) -> None:
    for name in FILES:
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_text("x")


def git(root: Path, *arguments: str) -> list[str]:
    command = ["git", "-c", "core.excludesFile=", "-C", str(root), *arguments]
    done = subprocess.run(command, capture_output=True, check=True, env={"HOME": str(root)})
    return sorted(name for name in done.stdout.decode().split("\0") if name)


@pytest.mark.skipif(shutil.which("git") is None, reason="git is the judge")
@settings(
    max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(st.lists(LINES, max_size=4), st.lists(LINES, max_size=2))
def test_what_is_ignored_is_what_git_ignores(
    tmp_path_factory: pytest.TempPathFactory, lines: list[str], nested: list[str]
) -> None:
    root = tmp_path_factory.mktemp("repo")
    planted(root)
    (root / ".gitignore").write_text("\n".join(lines))
    (root / "d" / ".gitignore").write_text("\n".join(nested))
    subprocess.run(["git", "init", "-q", str(root)], check=True)
    shown = git(root, "ls-files", "--others", "--exclude-standard", "-z")
    with Workspace.open(root) as workspace:
        assert sorted(workspace.walk().files) == shown


def test_a_hostile_pattern_costs_no_time() -> None:
    name = "a" * 250
    started = time.process_time()
    stars = "*a" * 20 + "b"
    assert component(stars).fullmatch(name) is None
    assert IgnoreFile(stars, 0).verdict([name], is_folder=False) is None
    deep = PathGlob.parse("**/a/" * 20 + "b")
    assert not deep.matches(["a"] * 100)
    assert time.process_time() - started < 1


@pytest.mark.parametrize(
    ("pattern", "matching", "other"),
    [
        ("*.py", "a.py", "a.pyc"),
        ("a?c", "abc", "ac"),
        ("[a-c]x", "bx", "dx"),
        ("[!a-c]x", "dx", "bx"),
        ("[^]a]", "b", "]"),
        ("[]a]", "]", "b"),
        ("[[:digit:]x]", "7", "a"),
        (r"\*", "*", "a"),
        (r"[\]]", "]", "a"),
        ("a.c", "a.c", "abc"),
        ("*a*b", "xxaxxb", "xxbxxa"),
        ("[a-]", "-", "b"),
        ("\n*", "\nx", "x"),
    ],
)
def test_a_component_matches_whole_names(pattern: str, matching: str, other: str) -> None:
    assert component(pattern).fullmatch(matching)
    assert not component(pattern).fullmatch(other)


@pytest.mark.parametrize("pattern", ["[a", "[", "[]", "[[:nope:]]", "a\\"])
def test_an_open_pattern_is_an_error(pattern: str) -> None:
    with pytest.raises(BadGlob):
        component(pattern)


@given(st.text("ab*", max_size=8), st.text("ab", max_size=8))
def test_stars_match_as_they_do_in_regular_expressions(pattern: str, name: str) -> None:
    expected = re.fullmatch(re.sub(r"\*+", "[ab]*", pattern), name)
    assert bool(component(pattern).fullmatch(name)) == bool(expected)


@pytest.mark.parametrize(
    ("pattern", "path", "matches"),
    [
        ("**/*.py", "a.py", True),
        ("**/*.py", "x/y/a.py", True),
        ("src/**/*.py", "src/a.py", True),
        ("src/**/*.py", "lib/a.py", False),
        ("src/**", "src/x/y", True),
        ("src/**", "src", False),
        ("**/x/**/y", "x/y", True),
        ("**/x/**/y", "a/x/b/c/y", True),
        ("*/b", "a/c/b", False),
        ("a/b", "a/b/c", False),
    ],
)
def test_paths_match_by_component(pattern: str, path: str, matches: bool) -> None:
    assert PathGlob.parse(pattern).matches(path.split("/")) is matches
