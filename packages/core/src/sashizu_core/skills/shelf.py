"""What the agents of a run may be taught: the user's, and what of a repository is trusted."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

from sashizu_core.errors import ConfigError
from sashizu_core.home import config_home
from sashizu_core.skills.guidance import GUIDANCE_FILE, all_guidance, guidance_paths, read_guidance
from sashizu_core.skills.reading import read_skill_folder, skill_folders
from sashizu_core.skills.skill import Guidance, Skill
from sashizu_core.trust import TrustStore, brought_path, trust_command

__all__ = ["REPOSITORY_PLACES", "Brought", "Shelf", "brought_lessons", "load_shelf"]

REPOSITORY_PLACES = (".sashizu/skills", ".agents/skills", ".claude/skills", ".codex/skills")
"""Where repositories keep skills; of two of one name, the first counts."""

REPOSITORY_PREFIX = "repo:"


@dataclass(frozen=True, slots=True)
class Shelf:
    """What agents of one run may be taught.

    `own` is the user's own guidance, None where there is none. `notes` are sentences for a person:
    what is not offered, and why. All agents of a run are told the same of a file.
    """

    root: Path
    skills: tuple[Skill, ...] = ()
    own: Guidance | None = None
    notes: tuple[str, ...] = ()
    trusted: Mapping[str, str] = field(default_factory=dict)
    _read: dict[str, Guidance | None] = field(default_factory=dict)

    def knows(self, scope: Iterable[str]) -> bool:
        """Whether all guidance for a scope has been looked for, so that no file needs reading."""
        return all(path in self._read for path in guidance_paths(scope, self.root))

    def guidance(self, scope: Iterable[str]) -> tuple[Guidance, ...]:
        """The guidance for a scope, the user's first and the nearest last.

        What nobody has trusted as it is, and what cannot be read, is left out. Reads files for what
        was not looked for before.
        """
        found = [self.own]
        for path in guidance_paths(scope, self.root):
            if path not in self._read:
                self.keep(path, _of_repository(self.root, path))
            found.append(self._read[path])
        return tuple(each for each in found if each is not None)

    def keep(self, path: str, found: Guidance | ConfigError | None) -> None:
        """Keep what was found in a place, if it may be told."""
        usable = isinstance(found, Guidance) and self.trusted.get(path) == found.sha256
        self._read[path] = found if usable and isinstance(found, Guidance) else None


def load_shelf(root: Path, scope: Iterable[str] = ()) -> Shelf:
    """Everything that agents of a run in a workspace may be taught. Reads files.

    `scope` is what the run is about: guidance for it that is not trusted is told in `notes`.

    Raises:
        SashizuError: what is trusted cannot be told.
    """
    problems: list[ConfigError] = []
    own = list(_skills(config_home() / "skills", "user", problems))
    own_guidance = _users_guidance(problems)
    brought = [skill for place in REPOSITORY_PLACES for skill in _brought(root, place, problems)]
    found = {path: _of_repository(root, path) for path in guidance_paths(scope, root)}
    problems += [each for each in found.values() if isinstance(each, ConfigError)]
    guidance = [each for each in found.values() if isinstance(each, Guidance)]
    trusted = TrustStore().files(root) if brought or guidance else {}
    usable = [skill for skill in brought if trusted.get(_path(skill, root)) == skill.sha256]
    notes = [f"agents are not told of a file: {problem}" for problem in problems]
    unknown = [_path(skill, root) for skill in brought if skill not in usable]
    unknown += [each.path for each in guidance if trusted.get(each.path) != each.sha256]
    if unknown:
        notes.append(_untrusted(unknown, root))
    shelf = Shelf(root, _named(own, usable), own_guidance, tuple(notes), trusted)
    for path, each in found.items():
        shelf.keep(path, each)
    return shelf


@dataclass(frozen=True, slots=True)
class Brought:
    """Something that a repository would teach. `path` and `sha256` are what trust is about.

    `error` says why it is not usable, empty if it is.
    """

    kind: str
    path: str
    sha256: str
    told: tuple[tuple[str, str], ...] = ()
    error: str = ""


def brought_lessons(root: Path) -> list[Brought]:
    """All skills and all guidance of a repository, for whoever decides to trust them."""
    problems: list[ConfigError] = []
    found = [
        Brought("skill", _path(skill, root), skill.sha256, _told(skill))
        for place in REPOSITORY_PLACES
        for skill in _brought(root, place, problems)
    ]
    for problem in problems:
        file = problem.file or root
        found.append(Brought("skill", brought_path(file, root), "", error=str(problem)))
    for path in all_guidance(root):
        each = _of_repository(root, path)
        if isinstance(each, ConfigError):
            found.append(Brought("guidance", path, "", error=str(each)))
        elif each is not None:
            found.append(Brought("guidance", path, each.sha256, (("guidance", each.text),)))
    return found


def _told(skill: Skill) -> tuple[tuple[str, str], ...]:
    told = [("skill", skill.name), ("description", skill.description), ("text", skill.body)]
    if skill.files:
        told.append(("files", "\n".join(file.path for file in skill.files)))
    return tuple(told)


def _users_guidance(problems: list[ConfigError]) -> Guidance | None:
    file = config_home() / GUIDANCE_FILE
    try:
        return read_guidance(file, str(file), "user")
    except ConfigError as error:
        problems.append(error)
        return None


def _of_repository(root: Path, path: str) -> Guidance | ConfigError | None:
    """Guidance of a repository, or what is wrong with it; never through a link of a folder."""
    file = root / path
    if not _lies_in(file.parent, root):
        return ConfigError("leads outside the workspace, and is not read", file=file)
    try:
        return read_guidance(file, path, "repository")
    except ConfigError as error:
        return error


def _brought(root: Path, place: str, problems: list[ConfigError]) -> Iterator[Skill]:
    folder = root / place
    if not _lies_in(folder, root):
        problems.append(ConfigError("leads outside the workspace, and is not read", file=folder))
        return
    yield from _skills(folder, "repository", problems)


def _lies_in(folder: Path, root: Path) -> bool:
    try:
        return folder.resolve().is_relative_to(root.resolve())
    except (OSError, RuntimeError):  # links that lead in a circle
        return False


def _skills(folder: Path, whose: str, problems: list[ConfigError]) -> Iterator[Skill]:
    try:
        for each in skill_folders(folder):
            try:
                yield read_skill_folder(each, "user" if whose == "user" else "repository")
            except ConfigError as error:
                problems.append(error)
    except ConfigError as error:
        problems.append(error)


def _path(skill: Skill, root: Path) -> str:
    """A skill as trust names it: its folder, because all of its files count."""
    return brought_path(skill.folder, root)


def _named(own: Sequence[Skill], brought: Sequence[Skill]) -> tuple[Skill, ...]:
    """All skills under the names by which they are asked for; the first of a name counts."""
    named: dict[str, Skill] = {}
    for skill in own:
        named.setdefault(skill.name, skill)
    users = set(named)
    for skill in brought:
        name = f"{REPOSITORY_PREFIX}{skill.name}" if skill.name in users else skill.name
        named.setdefault(name, replace(skill, name=name))
    return tuple(named[name] for name in sorted(named))


def _untrusted(paths: Sequence[str], root: Path) -> str:
    shown = ", ".join(repr(path) for path in paths[:5])
    more = f" and {len(paths) - 5} more" if len(paths) > 5 else ""
    return (
        f"no agent is told of {shown}{more}: this repository brings it, and nobody has trusted it "
        f"as it is. To look at it and trust it: {trust_command(root.resolve())}"
    )
