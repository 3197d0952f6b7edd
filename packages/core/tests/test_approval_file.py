"""Answers that were written down before the run."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from sashizu_core.approval_file import read_approval_file
from sashizu_core.errors import ConfigError
from sashizu_core.grants import (
    DeviceRequest,
    ExecRequest,
    NetRequest,
    PathRequest,
    PermissionRequest,
    SpawnRequest,
    ToolRequest,
)
from sashizu_core.protocols import Question


def rule(touches: str, pattern: str, agent: str = "") -> str:
    text = f'[[rules]]\nverdict = "allow"\ntouches = "{touches}"\npattern = "{pattern}"\n'
    return text + (f'agent = "{agent}"\n' if agent else "")


class Files:
    """A repository, and a folder of the user's beside it."""

    def __init__(self, root: Path) -> None:
        self.repository, self.own = root / "repo", root / "own"
        self.own.mkdir()
        (self.repository / "sub").mkdir(parents=True)

    def write(self, text: str, folder: Path | None = None) -> Path:
        file = (folder or self.own) / "approvals.toml"
        file.write_text(text)
        file.chmod(0o644)
        return file


@pytest.fixture
def files(tmp_path: Path) -> Files:
    return Files(tmp_path)


PUSH = ExecRequest(("git", "push", "origin"), "/usr/bin/git", enforced_by="bubblewrap")
FETCH = NetRequest("https", "example.org", 443, "/docs/a")


@pytest.mark.parametrize(
    ("text", "request_", "allowed"),
    [
        (rule("exec", "git push"), PUSH, True),
        (rule("exec", "git pu"), PUSH, False),
        (rule("exec", "git push --force"), PUSH, False),
        (rule("exec", "pytest"), ExecRequest(("pytest",), "/bin/pytest", any_code=True), False),
        (rule("write", "src"), PathRequest("src/a.py", "write"), True),
        (rule("write", "src"), PathRequest("src/a.py", "read"), False),
        (rule("write", "src"), PathRequest("srcs/a.py", "write"), False),
        (rule("write", "."), PathRequest(".github/workflows/ci.yml", "write"), False),
        (rule("write", "SRC"), PathRequest("src/a.py", "write"), False),
        (rule("read", "src"), PathRequest("src/a.py", "read"), True),
        (rule("net", "https://example.org/docs/*"), FETCH, True),
        (rule("net", "example.com"), FETCH, False),
        (rule("tool", "shell"), ToolRequest("shell"), True),
        (rule("tool", "*"), ToolRequest("shell"), True),
        (rule("tool", "shell"), ToolRequest("fetch"), False),
        (rule("spawn", "helper"), SpawnRequest("helper"), True),
        (rule("device", "gpu0"), DeviceRequest("gpu0"), True),
        (rule("read", "src", "Releaser"), PathRequest("src/a.py", "read"), False),
        (rule("read", "src", "The Agent"), PathRequest("src/a.py", "read"), True),
    ],
)
async def test_what_a_rule_covers_is_allowed_and_nothing_else(
    files: Files, text: str, request_: PermissionRequest, allowed: bool
) -> None:
    approver = read_approval_file(files.write(text), files.repository)
    answer = await approver.ask(Question("1", "id", "the-agent", "t", (), (request_,), ""))
    assert answer.answer == ("run" if allowed else "deny")
    assert "approvals.toml" in answer.reason + answer.by


async def test_every_request_that_needs_an_answer_has_to_be_covered(files: Files) -> None:
    approver = read_approval_file(files.write(rule("exec", "git push")), files.repository)
    both = Question("1", "id", "a", "t", (), (PUSH, PathRequest("a", "write")), "")
    assert (await approver.ask(both)).answer == "deny"


@pytest.mark.parametrize(
    ("text", "fault"),
    [
        ("", "'rules' is missing"),
        ("[[rules]]", "is missing"),
        (rule("exec", "a").replace("allow", "deny"), "verdict"),
        (rule("exec", "a") + "for_ever = true\n", "unknown key"),
        (rule("everything", "a"), "touches"),
        (rule("write", "../x"), "approvals.toml:4:.*is no path"),
        (rule("net", "http://x/../y"), "is no host or URL"),
        (rule("exec", " "), "is no command"),
        ("[[rules", "approvals.toml:1"),
    ],
)
def test_a_file_that_is_wrong_is_refused_with_its_place(
    files: Files, text: str, fault: str
) -> None:
    with pytest.raises(ConfigError, match=fault):
        read_approval_file(files.write(text), files.repository)


def test_a_file_that_is_not_there_is_refused(files: Files) -> None:
    with pytest.raises(ConfigError, match="cannot be read"):
        read_approval_file(files.own / "none.toml", files.repository)


def test_a_file_of_the_repository_answers_nothing(files: Files) -> None:
    text = rule("exec", "git push")
    (files.repository / ".git").mkdir()
    in_root, in_sub = (files.write(text, f) for f in (files.repository, files.repository / "sub"))
    inward, outward = files.own / "in.toml", files.repository / "out.toml"
    inward.symlink_to(in_root)
    outward.symlink_to(files.write(text))
    (files.own / "folder").symlink_to(files.repository / "sub")
    for file in (in_root, in_sub, inward, outward, files.own / "folder" / "approvals.toml"):
        for workspace in (files.repository, files.repository / "sub"):
            with pytest.raises(ConfigError, match="lies in the repository"):
                read_approval_file(file, workspace)


@pytest.mark.skipif(os.name == "nt", reason="modes are of POSIX")
@pytest.mark.parametrize("mode", [0o666, 0o620, 0o602])
def test_a_file_that_others_can_write_is_refused(files: Files, mode: int) -> None:
    file = files.write(rule("exec", "git push"))
    file.chmod(mode)
    with pytest.raises(ConfigError, match="written by others"):
        read_approval_file(file, files.repository)


@pytest.mark.skipif(not hasattr(os, "geteuid") or os.geteuid() != 0, reason="only root gives away")
def test_a_file_of_somebody_else_is_refused(files: Files) -> None:
    file = files.write(rule("exec", "git push"))
    os.chown(file, 12345, -1)
    with pytest.raises(ConfigError, match="written by others"):
        read_approval_file(file, files.repository)


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="this system has no named pipes")
def test_a_pipe_is_refused_without_waiting_for_it(files: Files) -> None:
    os.mkfifo(files.own / "pipe.toml")
    with pytest.raises(ConfigError, match="no regular file"):
        read_approval_file(files.own / "pipe.toml", files.repository)
