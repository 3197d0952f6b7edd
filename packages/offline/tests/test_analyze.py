"""The tool `analyze`: what it reads, what it does not, and how its answer is cut."""

import json
import os
import stat
from contextlib import suppress
from pathlib import Path

import anyio
import pytest
from hypothesis import given
from hypothesis import strategies as st
from sashizu_core.errors import ArgumentsError, ToolError
from sashizu_core.grants import Grants, PathRequest, Subject
from sashizu_core.permissions import readable
from sashizu_core.protocols import ToolContext
from sashizu_core.workspace import Workspace
from sashizu_offline import linter
from sashizu_offline.analyze import AnalyzeTool
from sashizu_offline.findings import Finding
from sashizu_offline.remedies import REMEDIES
from sashizu_offline.results import Result, as_lines, read_lines

BUG = "def f():\n    return missing_name\n"


def context(root: Path, *granted: str, scope: tuple[str, ...] = ()) -> ToolContext:
    subject = Subject("a", "agent", (Grants(fs_read=granted or (".",)),))
    workspace = Workspace.open(root)
    return ToolContext("a", "agent", "r", workspace, scope, readable=readable(subject))


async def analysed(where: ToolContext, **arguments: object) -> Result:
    tool = AnalyzeTool()
    with where.workspace:
        answer = await tool.run(tool.parse(json.dumps(arguments)), where)
    result = read_lines(answer.content)
    assert result is not None
    assert not result.cut
    return result


def places(result: Result) -> list[tuple[str, int, str]]:
    return [(f.path, f.line, f.rule) for f in result.findings]


async def test_configuration_of_the_repository_changes_nothing(tmp_path: Path) -> None:
    (tmp_path / "bug.py").write_text(BUG)
    (tmp_path / "ruff.toml").write_text('extend-exclude = ["*"]\n[lint]\nselect = []\n')
    (tmp_path / "pyproject.toml").write_text('[tool.ruff]\nexclude = ["*.py"]\n')
    assert places(await analysed(context(tmp_path))) == [("bug.py", 2, "F821")]


async def test_a_ruff_in_the_workspace_or_on_the_path_is_never_run(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "bug.py").write_text(BUG)
    fake = tmp_path / "ruff"
    fake.write_text("#!/bin/sh\ntouch ran\necho '[]'\n")
    fake.chmod(fake.stat().st_mode | stat.S_IXUSR)
    monkeypatch.setenv("PATH", f"{tmp_path}{os.pathsep}{os.environ['PATH']}")
    monkeypatch.chdir(tmp_path)
    assert ("bug.py", 2, "F821") in places(await analysed(context(tmp_path)))
    assert not (tmp_path / "ran").exists()


async def test_links_that_lead_out_are_not_read(tmp_path: Path) -> None:
    outside = tmp_path / "outside.py"
    outside.write_text(BUG)
    root = tmp_path / "root"
    root.mkdir()
    (root / "link.py").symlink_to(outside)
    (root / "folder").symlink_to(tmp_path)
    result = await analysed(context(root))
    assert places(result) == []
    assert result.analysed == {}


async def test_what_is_not_granted_is_not_read(tmp_path: Path) -> None:
    for folder in ("open", "closed"):
        (tmp_path / folder).mkdir()
        (tmp_path / folder / "bug.py").write_text(BUG)
    where = context(tmp_path, "open")
    tool = AnalyzeTool()
    assert tool.requests(tool.parse("{}"), where) == [PathRequest("open", "read")]
    assert tool.requests(tool.parse('{"paths": ["closed"]}'), where) == [
        PathRequest("closed", "read")
    ]
    assert places(await analysed(where, paths=["open"])) == [("open/bug.py", 2, "F821")]


async def test_the_scope_is_the_default(tmp_path: Path) -> None:
    for folder in ("a", "b"):
        (tmp_path / folder).mkdir()
        (tmp_path / folder / "bug.py").write_text(BUG)
    assert places(await analysed(context(tmp_path, scope=("b",)))) == [("b/bug.py", 2, "F821")]


async def test_a_scope_outside_the_workspace_is_analysed(tmp_path: Path) -> None:
    root, other = tmp_path / "root", tmp_path / "other"
    root.mkdir()
    other.mkdir()
    (other / "bug.py").write_text(BUG)
    subject = Subject("a", "agent", (Grants(fs_read=(".", str(other))),))
    with Workspace.open(root, [other]) as workspace:
        where = ToolContext("a", "agent", "r", workspace, (str(other),), None, readable(subject))
        answer = await AnalyzeTool().run(AnalyzeTool().parse("{}"), where)
    result = read_lines(answer.content)
    assert result is not None
    assert places(result) == [(f"/{other.as_posix().lstrip('/')}/bug.py", 2, "F821")]


async def test_vendored_ignored_and_binary_files_are_left_out_and_said(tmp_path: Path) -> None:
    for path in ("node_modules/x.py", "ignored.py", "src/bug.py"):
        (tmp_path / path).parent.mkdir(exist_ok=True)
        (tmp_path / path).write_text(BUG)
    (tmp_path / ".gitignore").write_text("ignored.py\n")
    (tmp_path / "data.py").write_bytes(b"\0\1\2")
    (tmp_path / "run").write_text(f"#!/usr/bin/env python3\n{BUG}")
    (tmp_path / "big.txt").write_text("x" * (1024 * 1024 + 1))
    (tmp_path / "old.py").write_text("print 'hello'\n")
    result = await analysed(context(tmp_path))
    assert places(result) == [("run", 3, "F821"), ("src/bug.py", 2, "F821")]
    assert set(result.unread) == {"node_modules/", "data.py", "big.txt"}
    assert [text.partition(":")[0] for text in result.unparsed] == ["old.py"]


async def test_a_missing_path_is_a_tool_error(tmp_path: Path) -> None:
    with pytest.raises(ToolError, match="nowhere"):
        await analysed(context(tmp_path), paths=["nowhere"])


async def test_a_linter_that_takes_too_long_is_ended(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    program = tmp_path / "slow"
    program.write_text("#!/bin/sh\necho $$ > pid\nexec sleep 60\n")
    program.chmod(0o700)
    monkeypatch.setattr(linter, "TIMEOUT_S", 0.3)
    with anyio.fail_after(10), pytest.raises(ToolError, match="longer than"):
        await linter._run([str(program)])


async def test_cancelling_ends_the_linter(tmp_path: Path) -> None:
    pid = tmp_path / "pid"
    os.mkfifo(pid)
    program = tmp_path / "slow"
    program.write_text(f"#!/bin/sh\necho $$ > {pid}\nexec sleep 60\n")
    program.chmod(0o700)
    with anyio.fail_after(10):
        async with anyio.create_task_group() as group:
            group.start_soon(linter._run, [str(program)])
            number = int(await anyio.Path(pid).read_text())
            group.cancel_scope.cancel()
        with suppress(ProcessLookupError):
            while True:  # until it is gone: who has ended is there until somebody has looked
                os.kill(number, 0)
                await anyio.sleep(0.01)


def test_the_linter_sees_nothing_of_our_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", "secret")
    assert set(linter._environment()) <= {"SYSTEMROOT"}


def test_every_rule_of_the_linter_has_a_remedy() -> None:
    assert set(linter.RULES) == set(REMEDIES)


@pytest.mark.parametrize("text", ['{"max_bytes": 5}', '{"checks": []}', '{"checks": ["x"]}'])
def test_arguments_out_of_range_are_refused(text: str) -> None:
    with pytest.raises(ArgumentsError):
        AnalyzeTool().parse(text)


FINDINGS = st.builds(
    Finding,
    st.text(min_size=1, max_size=20),
    st.integers(1, 99),
    st.sampled_from(["F401", "F821", "x-y"]),
    st.sampled_from(["high", "medium", "low"]),
    st.text(max_size=60),
)


@given(st.lists(FINDINGS, max_size=60), st.integers(1_000, 5_000))
def test_an_answer_keeps_its_size_and_reads_back(findings: list[Finding], size: int) -> None:
    result = Result(checks=("review",), files=3, findings=findings)
    text = as_lines(result, size)
    assert len(text.encode("utf-8", "surrogatepass")) <= size + 200
    back = read_lines(text)
    assert back is not None
    assert not back.cut
    assert len(back.findings) + sum(back.unlisted.values()) == len(findings)
    assert set(back.findings) <= set(findings)


@given(st.lists(FINDINGS, min_size=1, max_size=20), st.data())
def test_an_answer_cut_anywhere_is_read_up_to_there(
    findings: list[Finding], data: st.DataObject
) -> None:
    text = as_lines(Result(checks=("review",), findings=findings), 100_000)
    cut = text[: data.draw(st.integers(0, len(text) - 1))]
    back = read_lines(cut)
    assert back is None or back.cut
    assert back is None or set(back.findings) <= set(findings)


@given(st.text())
def test_any_text_is_read_or_refused(text: str) -> None:
    read_lines(text)
