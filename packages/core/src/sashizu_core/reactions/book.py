"""All reactions of a run: the operator's, and those of a repository that somebody has trusted."""

from __future__ import annotations

import json
import tomllib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from sashizu_core.documents import read_source
from sashizu_core.errors import ConfigError
from sashizu_core.home import config_home
from sashizu_core.reactions.reaction import Reaction, ReactionEvent
from sashizu_core.reactions.table import HooksSettings, reactions_of
from sashizu_core.skills.manifest import files_of, fingerprint
from sashizu_core.skills.skill import SkillFile
from sashizu_core.trust import TrustStore, trust_command

__all__ = ["REPOSITORY_FILES", "BroughtReactions", "ReactionBook", "brought_reactions", "load_book"]

REPOSITORY_FILES = (
    ".sashizu/hooks.json",
    ".claude/settings.json",
    ".codex/hooks.json",
    ".codex/config.toml",
)
"""Files of repositories that name hooks."""

USERS_FILE = "hooks.json"
SCRIPTS = "hooks"
"""The folder beside such a file, where the programs of hooks are kept."""

LARGEST_FILE = 1024 * 1024


@dataclass(frozen=True, slots=True)
class ReactionBook:
    """The reactions of a run, and how they are held.

    `root` is the workspace that they were read from, `readable` are absolute paths of their
    programs. `notes` are sentences for a person: what does not run, and why.
    """

    root: Path
    settings: HooksSettings = field(default_factory=HooksSettings)
    reactions: tuple[Reaction, ...] = ()
    readable: tuple[Path, ...] = ()
    notes: tuple[str, ...] = ()

    def __bool__(self) -> bool:
        return bool(self.reactions)

    def matching(self, event: ReactionEvent, names: Sequence[str] = ()) -> tuple[Reaction, ...]:
        """What reacts to an event, the operator's first; `names` are all that its subject has."""
        return tuple(each for each in self.reactions if each.event == event and each.matches(names))


@dataclass(frozen=True, slots=True)
class BroughtReactions:
    """A file of a repository that names hooks.

    `sha256` fingerprints it together with the programs in the folder `hooks` beside it. `error`
    says why none of it can be used, empty if it can.
    """

    path: str
    sha256: str
    reactions: tuple[Reaction, ...] = ()
    problems: tuple[str, ...] = ()
    scripts: tuple[str, ...] = ()
    error: str = ""


def load_book(settings: HooksSettings, root: Path) -> ReactionBook:
    """Everything that reacts in a run of a workspace. Reads files.

    Raises:
        ConfigError: the operator's own file is broken: nothing runs without it.
        SashizuError: what is trusted cannot be told.
    """
    reactions = list(settings.reactions())
    own, problems = _users()
    reactions += own
    notes = [f"a hook does not run: {problem}" for problem in problems]
    readable = [config_home() / SCRIPTS, *map(Path, settings.read)]
    brought = list(brought_reactions(root)) if settings.repository else []
    trusted = TrustStore().files(root) if any(each.reactions for each in brought) else {}
    unknown = []
    for each in brought:
        if each.error:
            notes.append(f"hooks do not run: {each.error}")
        elif not each.reactions:
            continue
        elif trusted.get(each.path) == each.sha256:
            reactions += each.reactions
            readable.append((root / each.path).parent / SCRIPTS)
            notes += [f"a hook does not run: {problem}" for problem in each.problems]
        else:
            unknown.append(each.path)
    if unknown:
        notes.append(_untrusted(unknown, root))
    there = tuple(path for path in readable if path.exists())
    return ReactionBook(root, settings, tuple(reactions), there, tuple(notes))


def brought_reactions(root: Path) -> Iterator[BroughtReactions]:
    """The files of a repository that name hooks; those that name none are left out."""
    for path in REPOSITORY_FILES:
        file = root / path
        try:
            hooks, sha256 = _read(file, follow_links=False)
            if not hooks:
                continue
            scripts = _scripts(file.parent / SCRIPTS)
        except FileNotFoundError:
            continue
        except ConfigError as error:
            yield BroughtReactions(path, "", error=str(error))
            continue
        reactions, problems = reactions_of(hooks, path, own=False)
        together = fingerprint((SkillFile(path, sha256, 0), *scripts)) if scripts else sha256
        names = tuple(f"{SCRIPTS}/{script.path}" for script in scripts)
        yield BroughtReactions(path, together, reactions, problems, names)


def _users() -> tuple[tuple[Reaction, ...], tuple[str, ...]]:
    file = config_home() / USERS_FILE
    try:
        hooks, _ = _read(file, follow_links=True)
    except FileNotFoundError:
        return (), ()
    return reactions_of(hooks, str(file), own=True)


def _read(file: Path, *, follow_links: bool) -> tuple[Any, str]:
    """What a file says under `hooks`, and its fingerprint."""
    try:
        source = read_source(file, limit_bytes=LARGEST_FILE, follow_links=follow_links)
    except NotADirectoryError as error:
        raise FileNotFoundError from error
    try:
        parse = tomllib.loads if file.suffix == ".toml" else json.loads
        data = parse(source.text)
    except (ValueError, RecursionError) as error:
        kind = "TOML" if file.suffix == ".toml" else "JSON"
        raise ConfigError(f"is no {kind}: {error}", file=file) from error
    hooks = data.get("hooks") if isinstance(data, Mapping) else None
    return hooks, source.sha256


def _scripts(folder: Path) -> tuple[SkillFile, ...]:
    if folder.is_symlink():
        raise ConfigError("is a symbolic link, and is not read", file=folder)
    return files_of(folder) if folder.is_dir() else ()


def _untrusted(paths: Sequence[str], root: Path) -> str:
    shown = ", ".join(repr(path) for path in paths)
    return (
        f"the hooks of {shown} do not run: this repository brings them, and nobody has trusted "
        f"them as they are. To look at them and trust them: {trust_command(root.resolve())}"
    )
