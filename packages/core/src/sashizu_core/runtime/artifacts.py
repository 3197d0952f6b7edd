"""Files that an agent declares it will produce: where they go, and whether they are there."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from pathlib import PurePosixPath

from sashizu_core.errors import ToolError
from sashizu_core.grants import Grants, PathRequest, Subject
from sashizu_core.permissions import authorize
from sashizu_core.prompt import ArtifactTarget
from sashizu_core.types import Artifact
from sashizu_core.workspace import FileStat, Workspace

__all__ = [
    "RUNS_FOLDER",
    "artifact_targets",
    "is_pattern",
    "prepare_run_folder",
    "verify_artifacts",
    "versions",
]

RUNS_FOLDER = ".sashizu/runs"
"""Where artifacts go that an agent may not write where it declares them; ignored by git."""


def is_pattern(path: str) -> bool:
    """Whether a declared path stands for any number of files."""
    return any(char in path for char in "*?[")


def artifact_targets(
    declared: Iterable[str], chain: Sequence[Grants], folder: str
) -> tuple[ArtifactTarget, ...]:
    """Decide for each declared path whether it is written there or under `folder`."""
    subject = Subject("", "", tuple(chain))
    targets = []
    for path in declared:
        clean = PurePosixPath(path).as_posix()
        judged = clean if not is_pattern(clean) else _fixed_part(clean)
        allowed = authorize([PathRequest(judged, "write")], subject).allowed
        targets.append(ArtifactTarget(path, clean if allowed else f"{folder}/{clean}"))
    return tuple(targets)


def _fixed_part(pattern: str) -> str:
    """The leading components of a pattern that name one folder; `.` if there are none."""
    fixed = []
    for part in PurePosixPath(pattern).parts:
        if is_pattern(part):
            break
        fixed.append(part)
    return "/".join(fixed) or "."


def prepare_run_folder(workspace: Workspace, folder: str) -> None:
    """Make the folder of all runs ignore itself in git.

    Raises:
        ToolError: it cannot be written.
    """
    ignore = f"{RUNS_FOLDER}/.gitignore"
    if not folder.startswith(RUNS_FOLDER) or workspace.exists(ignore):
        return
    try:
        workspace.write_bytes(ignore, b"*\n")
    except ToolError:
        if not workspace.exists(ignore):  # else another agent of the run was first
            raise


Versions = Mapping[str, tuple[int, int]]
"""The versions of files by their names; see `FileStat`."""


def versions(workspace: Workspace, targets: Sequence[ArtifactTarget]) -> Versions:
    """What is there of the declared files, before an agent begins."""
    return {
        name: found.version
        for target in targets
        for name, found in _existing(workspace, target.path)
    }


def verify_artifacts(
    workspace: Workspace,
    targets: Sequence[ArtifactTarget],
    before: Versions,
    written: Collection[str] = (),
) -> tuple[tuple[Artifact, ...], tuple[str, ...]]:
    """Look for what was declared: the files that were written, and the declarations without any.

    `before` is what `versions` found: a file that nobody has written since is not the agent's,
    unless it is among `written`, the paths that its tools wrote; the same bytes again change
    nothing. A pattern is looked up, never taken as a name; only regular files beneath the workspace
    count.
    """
    found: dict[str, Artifact] = {}
    missing = []
    for target in targets:
        artifacts = list(_written(workspace, target.path, before, written))
        found |= {artifact.path: artifact for artifact in artifacts}
        if not artifacts:
            missing.append(target.declared)
    return tuple(found.values()), tuple(missing)


def _written(
    workspace: Workspace, path: str, before: Versions, written: Collection[str]
) -> Iterator[Artifact]:
    for name, found in _existing(workspace, path):
        if before.get(name) == found.version and name not in written:
            continue
        with suppress(ToolError):
            yield Artifact(name, workspace.sha256(name), found.bytes)


def _existing(workspace: Workspace, path: str) -> Iterator[tuple[str, FileStat]]:
    """The files that a declared path or pattern stands for."""
    for name in workspace.glob(path) if is_pattern(path) else (path,):
        with suppress(ToolError):
            found = workspace.stat(name)
            if found.kind == "file":
                yield name, found
