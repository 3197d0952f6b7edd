"""What of a repository a person has trusted: its agents are used only as they were then.

One file per workspace in the state folder, mode 0600, holds the real path of the workspace and the
SHA-256 of every file that was trusted. An agent of a repository may be used if the bytes that were
parsed have the fingerprint that was trusted under the same path of the same workspace; whatever is
new or has changed needs trust again. Shipped agents and the user's own need none, and neither do a
repository's settings: those can only narrow what the operator allows, and a file that tries
anything else is refused as a whole.
"""

from __future__ import annotations

import os
import shlex
import stat
import subprocess
import sys
import time
from collections.abc import Iterable, Mapping
from hashlib import sha256
from pathlib import Path
from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from sashizu_core.agents.entries import AgentEntry
from sashizu_core.errors import SashizuError, TrustNeeded, UntrustedFile
from sashizu_core.home import state_home
from sashizu_core.unfollowed import open_unfollowed

__all__ = ["TrustStore", "TrustedWorkspace", "brought_path", "trust_command"]

LARGEST_FILE = 1024 * 1024
"""Bytes of a file of trust that are read."""

_OTHERS_WRITE = 0o022


class TrustedWorkspace(BaseModel):
    """One workspace: its real path, the trusted files and when that was said, in Unix seconds.

    `files` maps paths relative to the workspace, with `/`, to SHA-256 as 64 hexadecimal digits.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    workspace: str
    files: dict[str, Annotated[str, Field(pattern="^[0-9a-f]{64}$")]]
    trusted_at: float


def brought_path(file: Path, workspace: Path) -> str:
    """A file of a repository as trust names it: relative to the workspace, with `/`."""
    if file.is_relative_to(workspace):
        return _utf8(file.relative_to(workspace).as_posix())
    real, root = file.resolve(), workspace.resolve()
    return _utf8((real.relative_to(root) if real.is_relative_to(root) else real).as_posix())


def _real(workspace: Path) -> str:
    return _utf8(os.path.realpath(workspace))


def _utf8(path: str) -> str:
    """A path as JSON can hold it: bytes that are no UTF-8 are written as escapes."""
    return path.encode("utf-8", "surrogateescape").decode("utf-8", "backslashreplace")


class TrustStore:
    """The trusted workspaces of a state folder (default: this user's)."""

    def __init__(self, home: Path | None = None) -> None:
        self._folder = (home or state_home()) / "trust"

    def files(self, workspace: Path) -> Mapping[str, str]:
        """What is trusted of a workspace: path to SHA-256, empty if nothing is.

        Raises:
            SashizuError: the file that says so is damaged, or others could have written it.
        """
        root = _real(workspace)
        found = _read(self._file(root))
        return found.files if found is not None and found.workspace == root else {}

    def trust(self, workspace: Path, files: Mapping[str, str], *, keep: bool = True) -> None:
        """Trust files of a workspace, as path to SHA-256; `keep` says that others stay trusted.

        Raises:
            SashizuError: it cannot be written down.
        """
        root = _real(workspace)
        before = self.files(workspace) if keep else {}
        trusted = TrustedWorkspace(
            workspace=root, files={**before, **files}, trusted_at=time.time()
        )
        _write(self._file(root), trusted)

    def revoke(self, workspace: Path) -> bool:
        """Trust nothing of a workspace any more; False if nothing was.

        Raises:
            SashizuError: it cannot be taken back.
        """
        try:
            self._file(_real(workspace)).unlink()
        except FileNotFoundError:
            return False
        except OSError as error:
            raise SashizuError(f"trust cannot be taken back: {error}") from error
        return True

    def all(self) -> list[TrustedWorkspace]:
        """Every workspace of which something is trusted, by path.

        Raises:
            SashizuError: one of the files is damaged, or others could have written it.
        """
        found = (_read(path) for path in self._folder.glob("*.json"))
        return sorted(
            (entry for entry in found if entry is not None), key=lambda entry: entry.workspace
        )

    def untrusted(
        self, workspace: Path, entries: Iterable[AgentEntry]
    ) -> tuple[UntrustedFile, ...]:
        """The agents of a repository among `entries` that may not be used, each once.

        Raises:
            SashizuError: see `files`.
        """
        brought = [entry for entry in entries if entry.scope == "repository"]
        if not brought:
            return ()
        trusted = self.files(workspace)
        found: dict[str, UntrustedFile] = {}
        for entry in brought:
            path = brought_path(entry.file, workspace) if entry.file is not None else ""
            if not entry.sha256 or trusted.get(path) != entry.sha256:
                found[path] = UntrustedFile(
                    entry.name, path, entry.sha256, "changed" if path in trusted else "new"
                )
        return tuple(found.values())

    def require(self, workspace: Path, entries: Iterable[AgentEntry]) -> None:
        """Refuse agents of a repository that are not trusted as they were read.

        Raises:
            TrustNeeded: at least one is not; says which file, and the command to run.
            SashizuError: see `files`.
        """
        missing = self.untrusted(workspace, entries)
        if missing:
            root = Path(os.path.realpath(workspace))
            raise TrustNeeded(root, missing, trust_command(root))

    def _file(self, root: str) -> Path:
        return self._folder / f"{sha256(root.encode()).hexdigest()[:40]}.json"


def trust_command(root: Path) -> str:
    """What a person runs to look at a repository and trust it."""
    here = os.path.realpath(".") == str(root)
    return "sashizu trust" if here else f"sashizu trust {_quoted(str(root))}"


def _quoted(word: str) -> str:
    """A word as the shell of this system takes it; those of Windows know no single quotes."""
    return subprocess.list2cmdline([word]) if sys.platform == "win32" else shlex.quote(word)


def _read(path: Path) -> TrustedWorkspace | None:
    try:
        descriptor = open_unfollowed(path, os.O_RDONLY)
    except FileNotFoundError:
        return None
    except OSError as error:
        raise SashizuError(f"{path} cannot be read: {error.strerror}") from error
    with os.fdopen(descriptor, "rb") as file:
        _check_owner(path, os.fstat(descriptor))
        content = file.read(LARGEST_FILE + 1)
    try:
        return TrustedWorkspace.model_validate_json(content)
    except ValidationError as error:  # what was cut off is no JSON
        raise SashizuError(
            f"{path} says what is trusted, and cannot be understood; remove it and trust again"
        ) from error


def _check_owner(path: Path, found: os.stat_result) -> None:
    """Refuse what somebody else could have written."""
    if not stat.S_ISREG(found.st_mode):
        raise SashizuError(f"{path} says what is trusted, and is no regular file; remove it")
    if hasattr(os, "geteuid") and (
        found.st_uid != os.geteuid() or stat.S_IMODE(found.st_mode) & _OTHERS_WRITE
    ):
        raise SashizuError(
            f"{path} says what is trusted, but others could have written it; "
            "remove it and trust again"
        )


def _write(path: Path, trusted: TrustedWorkspace) -> None:
    fresh = path.with_name(f".{path.stem}.{os.getpid()}.new")
    try:
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        fresh.unlink(missing_ok=True)
        descriptor = os.open(fresh, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        try:
            with os.fdopen(descriptor, "w", encoding="utf-8", newline="\n") as file:
                file.write(trusted.model_dump_json(indent=2) + "\n")
                file.flush()
                os.fsync(file.fileno())
            fresh.replace(path)
        finally:
            fresh.unlink(missing_ok=True)
    except OSError as error:
        raise SashizuError(f"what is trusted cannot be written to {path}: {error}") from error
