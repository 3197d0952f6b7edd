"""All agents that can be asked for, and the files that could have been some."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from fnmatch import fnmatchcase
from pathlib import Path

from sashizu_core.agents.definition import AgentDefinition, agent_key
from sashizu_core.agents.entries import AgentEntry, AgentProblem
from sashizu_core.agents.read import claimed_name, read_agent_file
from sashizu_core.errors import ConfigError, UsageError, nearest
from sashizu_core.specs import AgentSource

__all__ = ["Catalogue", "load_catalogue"]

MOST_FILES = 1000
"""Files of one folder that are looked at."""

REPOSITORY_PREFIX = "repo:"


@dataclass(frozen=True)
class Catalogue:
    """The agents by name, sorted, and what did not load."""

    entries: tuple[AgentEntry, ...] = ()
    problems: tuple[AgentProblem, ...] = ()

    def __iter__(self) -> Iterator[AgentEntry]:
        return iter(self.entries)

    def __len__(self) -> int:
        return len(self.entries)

    def get(self, name: str) -> AgentDefinition:
        """The definition of an agent.

        Raises:
            UsageError: there is none of that name; says the nearest ones.
            ConfigError: there is one, but its file is broken.
        """
        return self.entry(name).definition

    def entry(self, name: str) -> AgentEntry:
        """An agent and where it comes from. Names match without regard to case, `-`, `_` and blank.

        `repo:NAME` asks for the repository's agent even where nobody else has the name.

        Raises:
            UsageError: there is none of that name; says the nearest ones.
            ConfigError: there is one, but its file is broken.
        """
        from_repository = name.startswith(REPOSITORY_PREFIX)
        key = agent_key(name.removeprefix(REPOSITORY_PREFIX))
        found = None
        for entry in self.entries:
            own = agent_key(entry.name.removeprefix(REPOSITORY_PREFIX))
            if own == key and (
                entry.scope == "repository" if from_repository else ":" not in entry.name
            ):
                found = entry
        for problem in self.problems:
            if problem.key == key and _hides(problem, found, from_repository):
                raise problem.error
        if found is None:
            raise self._unknown(name)
        return found

    def _unknown(self, name: str) -> UsageError:
        names = [entry.name for entry in self.entries]
        known = ", ".join(names) or "none"
        broken = f"; {len(self.problems)} files did not load" if self.problems else ""
        return UsageError(f"unknown agent {name!r}{nearest(name, names)}; known: {known}{broken}")


def _hides(problem: AgentProblem, found: AgentEntry | None, from_repository: bool) -> bool:
    """Whether a broken file stands in front of what was found: never a repository's."""
    if found is None:
        return problem.scope == "repository" or not from_repository
    return problem.scope == "user" and found.scope == "shipped"


def load_catalogue(
    sources: Iterable[AgentSource], *, workspace: Path, extra: Iterable[AgentDefinition] = ()
) -> Catalogue:
    """Read all agents of all sources; a relative folder is one of the workspace.

    `extra` are definitions made in code: they replace all others of their name. A user's agent
    replaces a shipped one. One of the repository never replaces any: it is then called `repo:NAME`.
    Two of one name in one scope are both left out, as a problem.
    """
    entries = [AgentEntry(definition, None, "given") for definition in extra]
    problems: list[AgentProblem] = []
    for source in sources:
        for file in _files(source, workspace, problems):
            try:
                entries.append(read_agent_file(file, source.scope))
            except ConfigError as error:
                problems.append(AgentProblem(claimed_name(file), file, source.scope, error))
    unique = _without_duplicates(entries, problems)
    named = sorted(_named(unique, problems), key=lambda entry: agent_key(entry.name))
    return Catalogue(tuple(named), tuple(sorted(problems, key=lambda problem: problem.file)))


def _files(source: AgentSource, workspace: Path, problems: list[AgentProblem]) -> Sequence[Path]:
    """The files of a source, sorted by name."""
    folder = workspace / source.folder
    reason = ""
    names: list[str] = []
    try:
        if source.scope == "repository" and not _lies_beneath(folder, workspace):
            reason = "leads outside the workspace, and is not read"
        else:
            names = sorted(entry.name for entry in folder.iterdir())
    except (FileNotFoundError, NotADirectoryError):
        return ()
    except OSError as error:
        reason = f"cannot be read: {error.strerror}"
    matching = [
        name for name in names if any(fnmatchcase(name, pattern) for pattern in source.patterns)
    ]
    if len(matching) > MOST_FILES:
        reason = f"holds more than {MOST_FILES} agents, and is not read"
    if reason:
        failed = ConfigError(reason, file=folder)
        problems.append(AgentProblem(source.name, folder, source.scope, failed))
        return ()
    return [folder / name for name in matching]


def _lies_beneath(folder: Path, workspace: Path) -> bool:
    return folder.resolve().is_relative_to(workspace.resolve())


def _without_duplicates(
    entries: Iterable[AgentEntry], problems: list[AgentProblem]
) -> list[AgentEntry]:
    by_key: dict[tuple[str, str], list[AgentEntry]] = {}
    for entry in entries:
        by_key.setdefault((entry.scope, agent_key(entry.name)), []).append(entry)
    unique = []
    for same in by_key.values():
        if len(same) == 1:
            unique += same
            continue
        files = ", ".join(str(entry.file or "code") for entry in same)
        for entry in same:
            error = ConfigError(
                f"the agent {entry.name!r} is defined {len(same)} times: {files}; "
                "rename or remove all but one",
                file=entry.file,
            )
            problems.append(AgentProblem(entry.name, entry.file or Path(), entry.scope, error))
    return unique


def _named(entries: Sequence[AgentEntry], problems: Sequence[AgentProblem]) -> Iterator[AgentEntry]:
    """Entries under the names by which they can be asked for.

    A broken file keeps its name too, so that nobody else can take it.
    """
    given = {agent_key(entry.name) for entry in entries if entry.scope == "given"}
    users = {agent_key(entry.name) for entry in entries if entry.scope == "user"}
    taken = {agent_key(entry.name) for entry in entries if entry.scope != "repository"}
    taken |= {problem.key for problem in problems if problem.scope != "repository"}
    for entry in entries:
        key = agent_key(entry.name)
        if entry.scope == "shipped" and key in users | given:
            continue
        if entry.scope == "user" and key in given:
            continue
        if entry.scope == "repository" and key in taken:
            name = REPOSITORY_PREFIX + entry.name
            yield replace(entry, definition=entry.definition.model_copy(update={"name": name}))
        else:
            yield entry
