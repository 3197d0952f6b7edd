"""What is known of the worktrees of a run: one small file beside them."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path
from typing import Literal

from pydantic import BaseModel, ConfigDict, ValidationError
from sashizu_core.errors import ConfigError, UsageError
from sashizu_core.home import state_home

__all__ = [
    "AgentEntry",
    "Manifest",
    "entry_of",
    "load_manifest",
    "manifests",
    "worktrees_home",
]

_FILE = "run.json"

State = Literal["working", "unchanged", "changed", "merged", "removed"]


class _Part(BaseModel):
    model_config = ConfigDict(extra="forbid", hide_input_in_errors=True)


class AgentEntry(_Part):
    """The worktree of one agent instance.

    `working` until its end was reached: what lies in the folder is not committed yet. `commit` is
    empty unless something changed. `paths` are what it changed. `base` is the commit that it began
    with, empty for that of its run; `was` are the agent instances that had it before.
    """

    agent: str
    agent_id: str
    folder: Path
    git_folder: Path
    branch: str
    state: State = "working"
    commit: str = ""
    paths: tuple[str, ...] = ()
    left_out: tuple[str, ...] = ()
    base: str = ""
    was: tuple[str, ...] = ()


class Manifest(_Part):
    """The worktrees of one run. `base` is the commit that those began with that are made for it."""

    run_id: str
    workspace: Path
    base: str
    pid: int
    agents: list[AgentEntry] = []

    @property
    def folder(self) -> Path:
        return worktrees_home() / self.run_id

    @property
    def active(self) -> bool:
        """Whether the process of the run may still be at work."""
        return self.pid != os.getpid() and _is_alive(self.pid)

    def base_of(self, entry: AgentEntry) -> str:
        """The commit that an agent began with."""
        return entry.base or self.base

    def save(self) -> None:
        """Write it, whole or not at all."""
        self.folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        new = self.folder / f"{_FILE}.{os.getpid()}"
        new.write_text(self.model_dump_json(indent=2) + "\n", "utf-8")
        new.replace(self.folder / _FILE)


def worktrees_home() -> Path:
    """Where all worktrees lie, below the state folder."""
    return state_home() / "worktrees"


def load_manifest(run_id: str) -> Manifest:
    """The worktrees of a run, named by its id, the beginning of it, or `last`.

    Raises:
        UsageError: there are none, or the beginning fits several runs.
        ConfigError: the file is damaged.
    """
    known = sorted(path.parent.name for path in worktrees_home().glob(f"*/{_FILE}"))
    # Ids of runs begin with their time.
    fitting = (
        known[-1:]
        if run_id == "last"
        else [name for name in known if run_id and name.startswith(run_id)]
    )
    if len(fitting) != 1:
        why = "several runs begin so" if fitting else "no run with worktrees has that id"
        shown = ", ".join((fitting or known)[-5:]) or "none"
        raise UsageError(f"{why}: {run_id!r}; known: {shown}")
    return _read(worktrees_home() / fitting[0] / _FILE)


def manifests() -> Iterator[Manifest]:
    """The worktrees of all runs, oldest first.

    Raises:
        ConfigError: a file is damaged.
    """
    for path in sorted(worktrees_home().glob(f"*/{_FILE}")):
        yield _read(path)


def entry_of(agent_id: str) -> tuple[Manifest, AgentEntry] | None:
    """The worktree that an agent instance has had, and of which run it is by now.

    Raises:
        ConfigError: a file is damaged.
    """
    found = [
        (manifest, entry)
        for manifest in manifests()
        for entry in manifest.agents
        if agent_id in (entry.agent_id, *entry.was)
    ]
    # Of two, one was noted for a move that did not come to be.
    return next((each for each in found if each[1].folder.is_dir()), found[-1] if found else None)


def _read(path: Path) -> Manifest:
    try:
        return Manifest.model_validate_json(path.read_bytes())
    except (OSError, ValidationError) as error:
        first = str(error).splitlines()[0]
        raise ConfigError(f"cannot be read: {first}", file=path) from error


def _is_alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except OSError:
        return True
    return True
