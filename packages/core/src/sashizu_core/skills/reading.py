"""`SKILL.md`: YAML between two lines `---` that says name and description, and text below it."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

from sashizu_core.documents import read_source
from sashizu_core.errors import ConfigError
from sashizu_core.skills.manifest import files_of, fingerprint
from sashizu_core.skills.skill import Skill, Whose, visible_text
from sashizu_core.yaml_text import read_yaml

__all__ = ["SKILL_FILE", "read_skill_folder", "skill_folders"]

SKILL_FILE = "SKILL.md"

LARGEST_SKILL = 64 * 1024
"""Bytes of a `SKILL.md` that are read."""

DESCRIPTION_CHARACTERS = 1024
"""How much of a description models are told."""

MOST_SKILLS = 200
"""Skills of one folder."""

_FRONT = re.compile(r"---[ \t]*\r?\n(.*?)^---[ \t]*(?:\r?\n|$)", re.DOTALL | re.MULTILINE)
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]{0,63}")


def skill_folders(place: Path) -> Iterator[Path]:
    """The folders in a place that hold a `SKILL.md`, sorted by name; none if it is not there.

    Raises:
        ConfigError: the place cannot be read, or holds too many.
    """
    try:
        folders = sorted(
            entry for entry in place.iterdir() if entry.is_dir() and not entry.is_symlink()
        )
    except (FileNotFoundError, NotADirectoryError):
        return
    except OSError as error:
        raise ConfigError(f"cannot be read: {error.strerror}", file=place) from error
    found = [folder for folder in folders if (folder / SKILL_FILE).is_file()]
    if len(found) > MOST_SKILLS:
        raise ConfigError(f"holds more than {MOST_SKILLS} skills, and is not read", file=place)
    yield from found


def read_skill_folder(folder: Path, whose: Whose) -> Skill:
    """Read one skill, and fingerprint all of its files.

    Without a name in its front matter it has that of its folder.

    Raises:
        ConfigError: its `SKILL.md` is no such file, or the folder is too large.
    """
    file = folder / SKILL_FILE
    try:
        source = read_source(file, limit_bytes=LARGEST_SKILL, follow_links=False)
    except FileNotFoundError as error:
        raise ConfigError("is gone", file=file) from error
    skill = _parsed(source.text, file, whose)
    files = files_of(folder)
    if source.sha256 not in {each.sha256 for each in files if each.path == SKILL_FILE}:
        raise ConfigError("changed while it was read", file=file)
    beside = tuple(each for each in files if each.path != SKILL_FILE)
    return replace(skill, sha256=fingerprint(files), files=beside)


def _parsed(text: str, file: Path, whose: Whose) -> Skill:
    front = _FRONT.match(text)
    if front is None:
        raise ConfigError(
            "does not begin with front matter: lines of YAML between two lines '---'",
            file=file,
            line=1,
            column=1,
        )
    document = read_yaml(front[1], file, first_line=2)
    name = document.data.get("name", file.parent.name)
    if not isinstance(name, str) or not _NAME.fullmatch(name):
        raise document.error(("name",), "'name': use up to 64 letters, digits and '_.-'")
    description = document.data.get("description")
    if not isinstance(description, str) or not description.strip():
        raise document.error(("description",), "'description' is missing or no text")
    line = " ".join(visible_text(description).split())[:DESCRIPTION_CHARACTERS]
    body = visible_text(text[front.end() :]).strip()
    return Skill(name, line, body, file.parent, whose, "")
