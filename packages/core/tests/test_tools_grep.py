from __future__ import annotations

import json
import os
import re
import shutil
import stat
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import anyio
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from sashizu_core.builtin.finders import Query, finder_for, python_finder
from sashizu_core.builtin.grep import FinderFor, Grep
from sashizu_core.builtin.line_matcher import matching_lines
from sashizu_core.builtin.programs import find_program
from sashizu_core.errors import ArgumentsError, ToolError
from sashizu_core.grants import Grants, PathRequest, Rule, Subject
from sashizu_core.permissions import authorize, readable
from sashizu_core.protocols import ToolContext
from sashizu_core.workspace import Workspace

RIPGREP = pytest.param(
    finder_for,
    id="ripgrep",
    marks=pytest.mark.skipif(shutil.which("rg") is None, reason="ripgrep is not installed"),
)
PYTHON = pytest.param(python_finder, id="python")


@pytest.fixture(params=[RIPGREP, PYTHON])
def finder(request: pytest.FixtureRequest) -> FinderFor:
    return request.param


@pytest.fixture
def workspace(tmp_path: Path) -> Iterator[Workspace]:
    root = tmp_path / "root"
    root.mkdir()
    with Workspace.open(root) as workspace:
        yield workspace


@pytest.fixture
def plant(workspace: Workspace) -> Callable[..., None]:
    def plant(**texts: str | bytes) -> None:
        for name, text in texts.items():
            path = workspace.root / name.replace("__", "/")
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(text if isinstance(text, bytes) else text.encode())

    return plant


def context_of(workspace: Workspace, *grants: Grants) -> ToolContext:
    chain = grants or (Grants(fs_read=(".",)),)
    subject = Subject("id", "agent", chain)
    return ToolContext("id", "agent", "run", workspace, readable=readable(subject))


async def grep(
    context: ToolContext, finder: FinderFor, timeout_s: float = 30.0, **arguments: object
) -> str:
    tool = Grep(finder, timeout_s)
    return (await tool.run(tool.parse(json.dumps(arguments)), context)).content


async def test_matches_are_path_line_and_text(
    workspace: Workspace, finder: FinderFor, plant: Callable[..., None]
) -> None:
    plant(b__x="one\ntwo\nthree", a="two two\r\nfour\r\n", c="nothing")
    found = await grep(context_of(workspace), finder, pattern="t.o$|^three")
    assert found.splitlines() == ["a:1:two two", "b/x:2:two", "b/x:3:three"]


async def test_case_literals_globs_and_paths_narrow_the_search(
    workspace: Workspace, finder: FinderFor, plant: Callable[..., None]
) -> None:
    plant(src__a="Foo.bar(", src__b="foo", doc__a="fooXbar(", top="Foo")
    context = context_of(workspace)
    assert await grep(context, finder, pattern="Foo") == "src/a:1:Foo.bar(\ntop:1:Foo"
    assert "src/b:1:foo" in await grep(context, finder, pattern="Foo", ignore_case=True)
    assert await grep(context, finder, pattern="oo.bar(", literal=True) == "src/a:1:Foo.bar("
    assert await grep(context, finder, pattern="oo", path="doc") == "doc/a:1:fooXbar("
    assert await grep(context, finder, pattern="oo", path="src/b") == "src/b:1:foo"
    assert (
        await grep(context, finder, pattern="oo", glob="src/*") == "src/a:1:Foo.bar(\nsrc/b:1:foo"
    )
    assert await grep(context, finder, pattern="oo", glob="t*") == "top:1:Foo"
    assert await grep(context, finder, pattern="absent") == "[no line matches]"


async def test_ignored_binary_linked_and_git_files_are_left_out(
    workspace: Workspace, finder: FinderFor, plant: Callable[..., None], tmp_path: Path
) -> None:
    plant(kept="word", ignored="word", binary=b"word\0", utf16="word".encode("utf-16"))
    plant(**{".gitignore": "ignored\n", ".git__config": "word", ".hidden": "word"})
    (tmp_path / "outside").write_text("word")
    (workspace.root / "link").symlink_to(tmp_path / "outside")
    found = await grep(context_of(workspace), finder, pattern="word")
    assert found.splitlines() == [".hidden:1:word", "kept:1:word", "utf16:1:word"]


async def test_names_that_look_like_options_are_names(
    workspace: Workspace, finder: FinderFor, plant: Callable[..., None]
) -> None:
    names = ["--files", "-", "-e", "a b", "a:1:b", "-f x", "é"]
    plant(**dict.fromkeys(names, "word"))
    found = await grep(context_of(workspace), finder, pattern="word")
    assert found.splitlines() == [f"{name}:1:word" for name in sorted(names)]
    assert await grep(context_of(workspace), finder, pattern="--files") == "[no line matches]"


async def test_what_is_cut_is_said(
    workspace: Workspace, finder: FinderFor, plant: Callable[..., None]
) -> None:
    plant(a="word\n" * 30, b="x" * 5000 + "word")
    found = (await grep(context_of(workspace), finder, pattern="word", limit=20)).splitlines()
    assert found[:20] == [f"a:{number}:word" for number in range(1, 21)]
    assert found[20].startswith("[cut: the first 20 matching lines")
    assert len(found) == 21
    whole = await grep(context_of(workspace), finder, pattern="word", limit=31)
    assert whole.endswith("… [+4004 characters]")
    assert "cut" not in whole


async def test_what_is_not_granted_is_neither_searched_nor_named(
    workspace: Workspace, finder: FinderFor, plant: Callable[..., None]
) -> None:
    plant(src__a="word", src__secret__b="word", doc__c="word", top="word")
    denied = Rule("deny", "read", "src/secret")
    grants = Grants(fs_read=("src", "doc"), rules=(denied,))
    context = context_of(workspace, Grants(fs_read=(".",)), grants)
    assert (await grep(context, finder, pattern="word")).splitlines() == [
        "doc/c:1:word",
        "src/a:1:word",
    ]
    assert (await grep(context, finder, pattern="word", path=".")).count("word") == 2
    assert await grep(context, finder, pattern="word", path="src") == "src/a:1:word"


def test_a_search_asks_for_what_is_granted_or_for_the_path(workspace: Workspace) -> None:
    grants = Grants(fs_read=("src", "doc"))
    context = context_of(workspace, grants)
    tool = Grep()

    def asked(**arguments: str) -> list[str]:
        arguments_ = tool.parse(json.dumps({"pattern": "x", **arguments}))
        requests = tool.requests(arguments_, context)
        assert all(isinstance(one, PathRequest) and one.access == "read" for one in requests)
        return [one.path for one in requests if isinstance(one, PathRequest)]

    assert asked() == asked(path=".") == ["doc", "src"]
    assert asked(path="src/deep") == ["src/deep"]
    assert asked(path="other") == ["other"]
    refused = authorize([PathRequest("other", "read")], Subject("id", "agent", (grants,)))
    assert not refused.allowed


async def test_a_pattern_that_would_search_for_ever_is_stopped(
    workspace: Workspace, plant: Callable[..., None]
) -> None:
    plant(a="a" * 5000)
    with pytest.raises(ToolError, match=r"took longer than 0\.5 s"):
        await grep(context_of(workspace), python_finder, 0.5, pattern="(a|a)*(a|a)*b")


async def test_a_cancelled_search_leaves_no_process(
    workspace: Workspace, plant: Callable[..., None]
) -> None:
    plant(a="a" * 5000)
    before = _children()
    with anyio.move_on_after(0.3) as scope:
        await grep(context_of(workspace), python_finder, pattern="(a|a)*(a|a)*b")
    assert scope.cancelled_caught
    assert _children() <= before


def _children() -> set[str]:
    task = Path(f"/proc/self/task/{os.getpid()}/children")
    return set(task.read_text().split()) if task.exists() else set()


@pytest.mark.parametrize("pattern", ["(", "[a", "a**", "*", "a\nb", "", "x" * 1001, "(?P<a"])
def test_what_is_no_expression_is_an_arguments_error(pattern: str) -> None:
    with pytest.raises(ArgumentsError, match="pattern"):
        Grep().parse(json.dumps({"pattern": pattern}))
    with pytest.raises(ArgumentsError, match="glob"):
        Grep().parse(json.dumps({"pattern": "x", "glob": "[a"}))


ATOMS = st.sampled_from(
    ["a", "b", "Z", " ", "1", "-", ".", "\\.", "\\w", "\\d", "\\s", "\\b", "[ab]", "[^a]", "[0-9]"]
)
REPEATED = st.tuples(ATOMS, st.sampled_from(["", "", "*", "+", "?", "*?", "{2}", "{1,3}"])).map(
    "".join
)
PATTERNS = st.recursive(
    st.lists(REPEATED, min_size=1, max_size=3).map("".join),
    lambda inner: st.tuples(inner, inner).map(lambda pair: f"({pair[0]}|{pair[1]})"),
    max_leaves=3,
)


def _compiles(pattern: str) -> bool:
    try:
        re.compile(pattern)
    except re.error:
        return False
    return True


@pytest.mark.skipif(shutil.which("rg") is None, reason="ripgrep is not installed")
@settings(
    max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(PATTERNS.filter(_compiles), st.text("abZ 1-.\n\t", max_size=40), st.booleans())
async def test_ripgrep_and_python_find_the_same(
    workspace: Workspace, pattern: str, text: str, ignore_case: bool
) -> None:
    (workspace.root / "file").write_text(text)
    query = Query(pattern, ignore_case, 100)
    context = context_of(workspace)
    assert query.portable
    found = []
    for opened in (finder_for(query, context), python_finder(query, context)):
        async with opened as finder:
            found.append(
                {name: list(lines) for name, lines in (await finder.find(["file"])).items()}
            )
    assert found[0] == found[1]


@pytest.mark.parametrize(
    "pattern",
    [
        *("(?i)a", "(?<=a)b", "(a)\\1", "a*+", "a++", "[[:alpha:]]", "[a&&b]", "a{,3}", "\\Z"),
        *("(?P<n>a)", "a{", "\\x41", "[\\b]", "\\p{L}", "(?#c)", "\\<", "a??" * 300 + "\\<"),
    ],
)
def test_expressions_that_ripgrep_reads_otherwise_are_left_to_python(pattern: str) -> None:
    assert not Query(pattern, ignore_case=False, most=1).portable


async def test_an_expression_that_ripgrep_finds_too_large_is_left_to_python(
    workspace: Workspace, plant: Callable[..., None]
) -> None:
    plant(a="x" * 10)
    pattern = r"(\w{900}){900}|x"
    assert await grep(context_of(workspace), finder_for, pattern=pattern) == "a:1:xxxxxxxxxx"


@given(st.text("ab\r\n", max_size=30))
def test_the_matcher_counts_lines_as_the_reader_does(text: str) -> None:
    from sashizu_core.builtin.text import split_lines

    lines = split_lines(text)
    found = matching_lines(re.compile("^a|b$"), text, 100)
    assert found == [n for n, line in enumerate(lines, 1) if re.search("^a|b$", line)]


def test_a_program_of_the_workspace_is_passed_over(workspace: Workspace, tmp_path: Path) -> None:
    inside, outside, linked = workspace.root / "bin", tmp_path / "bin", tmp_path / "links"
    for folder in (inside, outside, linked):
        folder.mkdir()
    for folder in (inside, outside):
        (folder / "rg").write_text("#!/bin/sh\n")
        (folder / "rg").chmod(stat.S_IRWXU)
    (linked / "rg").symlink_to(inside / "rg")
    path = os.pathsep.join(["", ".", "bin", str(inside), str(linked), str(outside)])
    assert find_program("rg", workspace, path) == (outside / "rg").resolve()
    assert find_program("rg", workspace, str(inside)) is None
    (outside / "rg").chmod(stat.S_IRUSR)
    assert find_program("rg", workspace, str(tmp_path / "nothing")) is None


def test_the_matcher_imports_nothing_of_ours() -> None:
    script = Path(sys.modules[matching_lines.__module__].__file__ or "")
    done = subprocess.run(
        [sys.executable, "-I", "-S", str(script)],
        input=b'{"pattern": "b", "flags": 0, "most": 9}\n' + (3).to_bytes(8, "big") + b"a\nb",
        capture_output=True,
        check=True,
        env={},
    )
    assert done.stdout == b"[2]\n"


async def test_a_context_that_nobody_vouched_for_reads_nothing(
    workspace: Workspace, finder: FinderFor, plant: Callable[..., None]
) -> None:
    plant(a="word")
    context = replace(
        context_of(workspace), readable=ToolContext("i", "n", "r", workspace).readable
    )
    with pytest.raises(ToolError, match="no grant"):
        await grep(context, finder, pattern="word")
