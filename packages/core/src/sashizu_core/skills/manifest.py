"""The files of a folder and the fingerprint of all of them, so that none changes unseen."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from hashlib import sha256
from pathlib import Path

from sashizu_core.errors import ConfigError
from sashizu_core.skills.skill import SkillFile
from sashizu_core.unfollowed import open_unfollowed

__all__ = ["files_of", "fingerprint"]

MOST_FILES = 500
"""Files of one folder, those in folders below it included."""

MOST_BYTES = 32 * 1024 * 1024
"""Bytes of all files of one folder together."""

DEEPEST = 8
"""Folders below each other."""

_READ_BYTES = 1024 * 1024


def files_of(folder: Path) -> tuple[SkillFile, ...]:
    """All regular files of a folder, sorted by path. Symbolic links are not followed, nor named.

    Raises:
        ConfigError: they are too many or too large, or one cannot be read.
    """
    found: list[SkillFile] = []
    left = MOST_BYTES
    for path in _paths(folder, 0):
        if len(found) == MOST_FILES:
            raise ConfigError(f"holds more than {MOST_FILES} files", file=folder)
        file = _fingerprinted(path, path.relative_to(folder).as_posix(), left)
        left -= file.bytes
        found.append(file)
    return tuple(sorted(found, key=lambda file: file.path))


def fingerprint(files: Sequence[SkillFile]) -> str:
    """The SHA-256 of the lines `SHA256  PATH` of all files, as `sha256sum` writes them."""
    lines = "".join(f"{file.sha256}  {file.path}\n" for file in files)
    return sha256(lines.encode("utf-8", "surrogateescape")).hexdigest()


def _paths(folder: Path, depth: int) -> Iterator[Path]:
    if depth > DEEPEST:
        raise ConfigError(f"is more than {DEEPEST} folders deep", file=folder)
    try:
        with os.scandir(folder) as entries:
            found = sorted(entries, key=lambda entry: entry.name)
    except OSError as error:
        raise ConfigError(f"cannot be read: {error.strerror}", file=folder) from error
    for entry in found:
        if entry.is_dir(follow_symlinks=False):
            yield from _paths(Path(entry.path), depth + 1)
        elif entry.is_file(follow_symlinks=False):
            yield Path(entry.path)


def _fingerprinted(path: Path, name: str, most: int) -> SkillFile:
    digest, size = sha256(), 0
    try:
        descriptor = open_unfollowed(path, os.O_RDONLY)
        with os.fdopen(descriptor, "rb") as file:
            while part := file.read(_READ_BYTES):
                size += len(part)
                if size > most:
                    raise ConfigError(
                        f"holds more than {MOST_BYTES // 1024**2} MiB", file=path.parent
                    )
                digest.update(part)
    except OSError as error:
        raise ConfigError(f"cannot be read: {error.strerror}", file=path) from error
    return SkillFile(name, digest.hexdigest(), size)
