"""From a confinement to the arguments of bubblewrap."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cache
from hashlib import sha256
from pathlib import Path

from sashizu_core.sandboxing import Confinement

from sashizu_sandbox.bubblewrap.mounts import Mount
from sashizu_sandbox.bubblewrap.sources import COVERED, Expected, Source

__all__ = ["SYSTEM_FILES", "SYSTEM_FOLDERS", "Arguments", "arguments_of", "stage_name"]

SYSTEM_FOLDERS = ("bin", "lib", "lib32", "lib64", "libx32", "sbin", "usr")

SYSTEM_FILES = (
    *("alternatives", "fonts", "group", "hosts", "java-17-openjdk", "java-21-openjdk"),
    *("ld.so.cache", "localtime", "mime.types", "nsswitch.conf", "os-release", "passwd", "pki"),
    *("protocols", "services", "ssl/certs", "ssl/openssl.cnf"),
)
"""What of /etc programs look at to work at all; no keys, no passwords, no host names to resolve."""

_HELD = (
    *("--unshare-user", "--unshare-pid", "--unshare-net", "--unshare-ipc", "--unshare-uts"),
    *("--unshare-cgroup-try", "--disable-userns", "--die-with-parent", "--new-session"),
    *("--cap-drop", "ALL", "--clearenv", "--hostname", "sandbox"),
)

EMPTY_FD = "{empty}"
"""Stands for a descriptor that has nothing to read, another one each time."""

_EXPECTED: dict[str, Expected] = {"pin": "folder", "hide-folder": "folder", "hide-file": "file"}

_SHARED_MEMORY_BYTES = 256 * 1024**2


@dataclass(frozen=True, slots=True)
class Arguments:
    """What bubblewrap is told before `--`.

    `words` contain `EMPTY_FD` where a descriptor has to be put. `guards` are paths that have to
    exist as folders while the program runs. `roots` are the paths that are shown because they were
    granted; with a stage, each is expected there under its `stage_name`. `sources` are to be opened
    before anything is started. At `mounted` in the words, all of them are in place.
    """

    words: tuple[str, ...]
    guards: tuple[str, ...]
    roots: tuple[str, ...]
    sources: tuple[Source, ...]
    mounted: int


def arguments_of(
    confinement: Confinement,
    mounts: Sequence[Mount],
    *,
    identity: tuple[int, int],
    environment: Sequence[tuple[str, str]] = (),
    stage: Path | None = None,
    system: Path = Path("/"),
) -> Arguments:
    """The arguments for one program; a pure function, but for what of the system exists.

    Args:
        confinement: what the program may touch.
        mounts: what `mounts_of` made of it.
        identity: the user and the group that the program shall see itself as.
        environment: variables beside those of the confinement.
        stage: the folder in which the roots are found, if not at their own places.
        system: the root folder of the system.
    """
    roots = _roots(mounts)
    source = _Sources(roots, stage)
    words = [*_HELD, "--uid", str(identity[0]), "--gid", str(identity[1])]
    first = [mount for mount in mounts if mount.path == Path("/")]
    sources: list[Source] = []
    for mount in first:
        sources += source.of(mount, len(words))
        words += _words(mount, source)
    words += _system(system)
    temporary = str(max(confinement.limits.file_bytes, 1))
    words += ["--proc", "/proc", "--dev", "/dev", "--size", str(_SHARED_MEMORY_BYTES)]
    words += ["--tmpfs", "/dev/shm", "--size", temporary, "--perms", "1777", "--tmpfs", "/tmp"]  # noqa: S108
    for mount in mounts:
        if mount not in first:
            sources += source.of(mount, len(words))
            words += _words(mount, source)
    mounted = len(words)
    # What is left of the sandbox's own file systems has no size, and so must not be written to.
    words += ["--remount-ro", "/dev", *([] if first else ["--remount-ro", "/"])]
    for name, value in (*confinement.environment.items(), *environment):
        words += ["--setenv", name, value]
    words += ["--chdir", str(confinement.cwd)]
    return Arguments(
        tuple(words),
        tuple(str(mount.path) for mount in mounts if mount.kind == "guard"),
        tuple(map(str, roots)),
        tuple(sources),
        mounted,
    )


def _roots(mounts: Sequence[Mount]) -> list[Path]:
    """What was granted; a root that is protected as a whole is one too."""
    roots: list[Path] = []
    for mount in mounts:
        covered = any(mount.path.is_relative_to(root) for root in roots)
        if mount.kind in ("read", "write") or (mount.kind == "protect" and not covered):
            roots.append(mount.path)
    return roots


def stage_name(root: Path) -> str:
    """What a root is called on the stage: the same root is always called the same."""
    return sha256(os.fsencode(root)).hexdigest()[:32]


class _Sources:
    """Says where a path is bound from."""

    def __init__(self, roots: Sequence[Path], stage: Path | None) -> None:
        self._roots = roots
        self._stage = stage

    def __call__(self, path: Path) -> str:
        if self._stage is None:
            return str(path)
        root = self._root(path)
        assert root is not None  # else nothing of it would be shown
        return str(self._at(root) / path.relative_to(root))

    def of(self, mount: Mount, at: int) -> Iterator[Source]:
        """What has to be opened for a mount; nothing where there is nothing below it."""
        if mount.kind in ("link", "guard"):
            return
        root = self._root(mount.path)
        if root is not None:
            yield Source(
                COVERED if mount.kind.startswith("hide") else at,
                str(self._at(root)),
                str(mount.path.relative_to(root)),
                str(mount.path),
                _EXPECTED.get(mount.kind, "any"),
            )

    def _root(self, path: Path) -> Path | None:
        """The innermost root that a path lies in."""
        around = [root for root in self._roots if path.is_relative_to(root)]
        return max(around, key=lambda found: len(found.parts), default=None)

    def _at(self, root: Path) -> Path:
        return root if self._stage is None else self._stage / stage_name(root)


def _is_shown(root: Path, link: Path) -> bool:
    """Whether what a link means lies in a folder of the system."""
    target = Path(os.path.realpath(link))
    return any(target.is_relative_to(os.path.realpath(root / name)) for name in SYSTEM_FOLDERS)


@cache
def _system(root: Path) -> tuple[str, ...]:
    """How to show the system; looked up once, because it does not change while we run."""
    words: list[str] = []
    for name in SYSTEM_FOLDERS:
        folder = root / name
        if folder.is_symlink():
            words += ("--symlink", str(folder.readlink()), f"/{name}")
        elif folder.is_dir():
            words += ("--ro-bind", str(folder), f"/{name}")
    for name in SYSTEM_FILES:
        file = root / "etc" / name
        if file.is_symlink() and _is_shown(root, file):
            words += ("--symlink", str(file.readlink()), f"/etc/{name}")  # cheaper than a mount
        elif file.exists():
            words += ("--ro-bind", str(file), f"/etc/{name}")
    return tuple(words)


def _words(mount: Mount, source: _Sources) -> list[str]:
    path = str(mount.path)
    match mount.kind:
        case "guard":  # a file system of its own is cheaper than to show the folder read-only
            return ["--size", "4096", "--perms", "0555", "--tmpfs", path]
        case "read" | "protect":
            return ["--ro-bind", source(mount.path), path]
        case "write" | "pin":
            return ["--bind", source(mount.path), path]
        case "hide-folder":
            return ["--size", "4096", "--perms", "0000", "--tmpfs", path, "--remount-ro", path]
        case "hide-file":
            return ["--perms", "0000", "--ro-bind-data", EMPTY_FD, path]
        case "link":
            return ["--symlink", str(mount.target), path]
