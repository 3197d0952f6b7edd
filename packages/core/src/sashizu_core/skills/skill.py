"""A skill and a piece of guidance, as they were read."""

from __future__ import annotations

import unicodedata
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

__all__ = ["Guidance", "Skill", "SkillFile", "visible_text"]

Whose = Literal["user", "repository"]
"""Who wrote a text: the operator of this machine, or whoever wrote the repository."""


@dataclass(frozen=True, slots=True)
class SkillFile:
    """A file beside `SKILL.md`: its path in the skill's folder with `/`, SHA-256 and size."""

    path: str
    sha256: str
    bytes: int


@dataclass(frozen=True, slots=True)
class Skill:
    """Something that an agent can learn when it needs it.

    `name` is what it is asked for by; a repository's is `repo:NAME` where the user has one of its
    name. `description` is one line, `body` the text of `SKILL.md` below its front matter.
    `folder` is absolute, `sha256` fingerprints all of its files, `files` are those beside
    `SKILL.md`.
    """

    name: str
    description: str
    body: str
    folder: Path
    whose: Whose
    sha256: str
    files: tuple[SkillFile, ...] = ()


@dataclass(frozen=True, slots=True)
class Guidance:
    """An `AGENTS.md`: how to work in the folder that it lies in, and below.

    `path` is relative to the workspace, with `/`, or absolute for the user's own.
    """

    path: str
    text: str
    whose: Whose
    sha256: str


def visible_text(text: str) -> str:
    """The text without characters that nobody sees, but for line ends and tabs.

    What a person could not see when they trusted a file is not told to a model either.
    """
    return "".join(
        character
        for character in text
        if character in "\n\t" or unicodedata.category(character) not in ("Cc", "Cf", "Co", "Cs")
    )
