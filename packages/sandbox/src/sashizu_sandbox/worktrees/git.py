"""Runs git, so that nothing in a repository can make it run anything else."""

from __future__ import annotations

import os
import sys
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from subprocess import PIPE

import anyio
from sashizu_core.builtin.programs import find_program
from sashizu_core.errors import SashizuError, UsageError
from sashizu_core.workspace import Workspace

__all__ = ["Git", "GitFailed", "repository_of"]

_NOWHERE = "NUL" if sys.platform == "win32" else "/dev/null"

_SETTINGS = (
    f"core.hooksPath={_NOWHERE}",
    "core.fsmonitor=false",
    "core.untrackedCache=false",
    "core.alternateRefsCommand=false",
    "core.askPass=false",
    "core.gitProxy=false",
    "core.sshCommand=false",
    "credential.helper=",
    "core.quotePath=false",
    "core.safecrlf=false",
    "commit.gpgSign=false",
    "gc.auto=0",
    "maintenance.auto=false",
    "submodule.recurse=false",
    "protocol.allow=never",
    "safe.bareRepository=explicit",
    "merge.renormalize=false",
    "diff.ignoreSubmodules=all",
    "advice.addEmbeddedRepo=false",
)
"""What stands before every setting of the repository: no hook, no monitor, no submodule, and no
repository that a clone brought among its files."""

_ONLY_OBJECTS = frozenset(
    {"branch", "cat-file", "commit-tree", "ls-tree", "rev-parse", "update-ref"}
)
"""Commands that never look at a file of a working tree; all others may."""

_PROGRAMS = r"^(filter\..*\.(clean|smudge|process|required)|merge\..*\.driver)$"
_INSTEAD = {"required": "false", "driver": "git merge-file --quiet %A %O %B"}

_KEPT = ("HOME", "PATH", "XDG_CONFIG_HOME", "SYSTEMROOT", "USERPROFILE", "TMPDIR", "TEMP")
_IDENTITY = {"NAME": "sashizu", "EMAIL": "sashizu@localhost"}


class GitFailed(SashizuError):
    """git ended with an error. `status` is its exit status, `output` what it printed."""

    def __init__(self, asked: str, status: int, output: bytes, message: str) -> None:
        super().__init__(f"git {asked} failed: {message}" if message else f"git {asked} failed")
        self.status = status
        self.output = output


@dataclass(frozen=True, slots=True)
class Git:
    """git in one folder. `folder` is the top of a working tree, `common` the shared git folder."""

    program: Path
    folder: Path
    common: Path
    variables: Mapping[str, str] = field(default_factory=dict)

    async def run(
        self, *words: str, stdin: bytes = b"", variables: Mapping[str, str] | None = None
    ) -> bytes:
        """Run one command and return what it printed.

        Raises:
            GitFailed: it ended with another status than 0.
        """
        given = {**self.variables, **(variables or {})}
        if words[0] not in _ONLY_OBJECTS:
            given |= await self._without_programs(given)
        return await _run(self.program, self.folder, words, stdin, given)

    async def _without_programs(self, variables: Mapping[str, str]) -> dict[str, str]:
        """Settings that take the programs away which files may be sent through, or merged by.

        Which file goes through which is said by attributes, and an agent can write those.
        """
        asked = ["config", "--null", "--name-only", "--get-regexp", _PROGRAMS]
        try:
            printed = await _run(self.program, self.folder, asked, b"", variables)
        except GitFailed as error:
            if error.status == 1:  # there is none
                return {}
            raise
        names = sorted({os.fsdecode(name) for name in printed.split(b"\0") if name})
        settings = {name: _INSTEAD.get(name.rpartition(".")[2], "") for name in names}
        found = {"GIT_CONFIG_COUNT": str(len(settings))}
        for at, (name, value) in enumerate(settings.items()):
            found |= {f"GIT_CONFIG_KEY_{at}": name, f"GIT_CONFIG_VALUE_{at}": value}
        return found

    async def line(self, *words: str, variables: Mapping[str, str] | None = None) -> str:
        """Run one command that prints one line."""
        return os.fsdecode((await self.run(*words, variables=variables)).rstrip(b"\r\n"))

    async def object(self, name: str) -> str | None:
        """The full name of an object, or None where there is none."""
        try:
            return await self.line("rev-parse", "--verify", "--quiet", "--end-of-options", name)
        except GitFailed:
            return None

    def at(self, folder: Path, git_folder: Path) -> Git:
        """Git for another working tree of the same repository, without looking for it.

        What lies in the folder, its `.git` included, has no say in which repository it is.
        """
        variables = {"GIT_DIR": str(git_folder), "GIT_WORK_TREE": str(folder)}
        return Git(self.program, folder, self.common, {**self.variables, **variables})


async def repository_of(folder: Path) -> Git:
    """The repository that a folder lies in.

    Raises:
        UsageError: there is no git, no repository, or one without a working tree.
    """
    with Workspace.open(folder) as workspace:
        program = find_program("git", workspace)
    if program is None:
        raise UsageError("worktrees need git, and there is none in PATH")
    try:
        printed = await _run(
            program,
            folder,
            ["rev-parse", "--path-format=absolute", "--show-toplevel", "--git-common-dir"],
            b"",
            {},
        )
    except GitFailed as error:
        raise UsageError(f"{str(folder)!r} is no git working tree: {error}") from error
    top, common = (Path(os.fsdecode(line)) for line in printed.splitlines())
    return Git(program, top, common)


async def _run(
    program: Path,
    folder: Path,
    words: tuple[str, ...] | list[str],
    stdin: bytes,
    variables: Mapping[str, str],
) -> bytes:
    settings = [word for setting in _SETTINGS for word in ("-c", setting)]
    ended = await anyio.run_process(
        [str(program), *settings, *words],
        input=stdin,
        stdout=PIPE,
        stderr=PIPE,
        check=False,
        cwd=folder,
        env={**_environment(), **variables},
    )
    if ended.returncode != 0:
        said = ended.stderr.decode("utf-8", "replace").strip()
        raise GitFailed(words[0], ended.returncode, ended.stdout, said)
    return ended.stdout


def _environment() -> dict[str, str]:
    kept = {name: os.environ[name] for name in _KEPT if name in os.environ}
    people = {
        f"GIT_{role}_{what}": value
        for role in ("AUTHOR", "COMMITTER")
        for what, value in _IDENTITY.items()
    }
    return {
        **kept,
        **people,
        "LC_ALL": "C",
        "GIT_TERMINAL_PROMPT": "0",
        "GIT_OPTIONAL_LOCKS": "0",
        # A repository may lack objects and name a program that brings them.
        "GIT_ALLOW_PROTOCOL": "none",
        "GIT_NO_LAZY_FETCH": "1",
        "GIT_ASKPASS": "false",
        "GIT_EDITOR": "false",
        "GIT_PROXY_COMMAND": "false",
        "GIT_SSH_COMMAND": "false",
        "GIT_PAGER": "cat",
    }
