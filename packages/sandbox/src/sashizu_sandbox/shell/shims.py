"""Programs that only start others: version managers put them on `PATH`, and name their real folder.

They look for what they start in places that a sandbox does not show, so the real one is taken.
Sources: the manuals of pyenv and rbenv (`version`, `versions/`), and of rustup (`settings.toml`).
"""

from __future__ import annotations

import tomllib
from collections.abc import Iterator
from pathlib import Path

from sashizu_core.program_homes.looking import is_file, is_folder

__all__ = ["behind_shims"]

_MOST_BYTES = 4_096


def behind_shims(folder: Path) -> Iterator[Path]:
    """The folders to look in instead of one: of the version that its owner chose, then itself."""
    if folder.name == "shims" and is_folder(folder.parent / "versions"):
        for version in _text(folder.parent / "version").split():
            if "/" not in version:
                yield folder.parent / "versions" / version / "bin"
        return
    if is_file(folder / "rustup") and folder.parent.name == ".cargo":
        yield from _toolchain(folder.parent.parent / ".rustup")
    yield folder


def _toolchain(home: Path) -> Iterator[Path]:
    try:
        name = tomllib.loads(_text(home / "settings.toml")).get("default_toolchain")
    except tomllib.TOMLDecodeError:
        return
    if isinstance(name, str) and name and "/" not in name:
        yield home / "toolchains" / name / "bin"


def _text(file: Path) -> str:
    try:
        with file.open("rb") as opened:
            return opened.read(_MOST_BYTES).decode("utf-8", "replace")
    except OSError:
        return ""
