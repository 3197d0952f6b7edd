"""Small files of the kernel: one value each, and gone at any moment."""

from __future__ import annotations

from pathlib import Path

__all__ = ["first", "number", "pairs", "text"]


def text(path: Path) -> str | None:
    """What a file says, without its last line break; None where it cannot be read."""
    try:
        return path.read_text("utf-8", "replace").strip()
    except OSError:
        return None


def number(path: Path) -> int | None:
    """The whole number that a file holds; None where there is none."""
    found = text(path)
    try:
        return int(found, 0) if found else None
    except ValueError:
        return None


def first(*paths: Path) -> int | None:
    """The number of the first file that has one."""
    return next((found for path in paths if (found := number(path)) is not None), None)


def pairs(path: Path, separator: str) -> dict[str, str]:
    """A file of `key separator value` lines."""
    lines = (text(path) or "").splitlines()
    return {
        key.strip(): value.strip()
        for key, found, value in (line.partition(separator) for line in lines)
        if found
    }
