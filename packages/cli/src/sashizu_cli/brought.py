"""What a repository brings: settings, agents, servers, skills and guidance, and their wants."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, fields
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from sashizu_core.errors import ConfigError
from sashizu_core.grants import Grants
from sashizu_core.server_entries import ServerEntry, brought_server_files
from sashizu_core.trust import TrustStore, brought_path

from sashizu_cli import render
from sashizu_cli.catalogue import catalogue_of
from sashizu_cli.plain import one_line

if TYPE_CHECKING:
    from sashizu_core.agents import AgentEntry

    from sashizu_cli.session import Session

__all__ = ["BroughtFile", "brought_files", "show_brought"]

State = Literal["trusted", "new", "changed", "broken", "narrows only"]

SETTINGS = "sashizu.toml"

_OTHERS = ("success_criteria", "model", "fallback", "isolation", "verify", "artifacts", "budget")
"""What else of a definition steers a model, or decides over money, machines and files."""


@dataclass(frozen=True, slots=True)
class BroughtFile:
    """One file: `sha256` of what was read, and what it asks for as label and text.

    Settings are `narrows only`: they need no trust. A `broken` agent cannot be used anyway.
    """

    path: str
    sha256: str
    state: State
    wants: tuple[tuple[str, str], ...]

    @property
    def trustable(self) -> bool:
        return self.state in ("trusted", "new", "changed")


def brought_files(session: Session) -> list[BroughtFile]:
    """Everything that the working directory brings, settings first.

    Raises:
        SashizuError: the settings are wrong, or what was trusted cannot be read.
    """
    workspace = Path.cwd()
    trusted = TrustStore().files(workspace)
    catalogue = catalogue_of(session)
    found = [_settings(session, workspace)] if (workspace / SETTINGS).is_file() else []
    for entry in catalogue:
        if entry.scope == "repository" and entry.file is not None:
            path = brought_path(entry.file, workspace)
            state = _state(trusted, path, entry.sha256)
            found.append(BroughtFile(path, entry.sha256, state, _wants(entry)))
    found += _servers(workspace, trusted)
    for problem in catalogue.problems:
        if problem.scope == "repository":
            path = brought_path(problem.file, workspace)
            found.append(BroughtFile(path, "", "broken", (("error", str(problem.error)),)))
    return [*found, *_lessons(workspace, trusted), *_hooks(workspace, trusted)]


def _lessons(workspace: Path, trusted: Mapping[str, str]) -> list[BroughtFile]:
    """What a repository would teach agents."""
    from sashizu_core.skills.shelf import brought_lessons

    return [
        BroughtFile(each.path, "", "broken", (("error", each.error),))
        if each.error
        else BroughtFile(each.path, each.sha256, _state(trusted, each.path, each.sha256), each.told)
        for each in brought_lessons(workspace)
    ]


def _servers(workspace: Path, trusted: Mapping[str, str]) -> Iterator[BroughtFile]:
    """The files of servers: each server with what it would start or reach."""
    for brought in brought_server_files(workspace):
        if isinstance(brought, ConfigError):
            name = brought.file.name if brought.file is not None else ""
            yield BroughtFile(name, "", "broken", (("error", str(brought)),))
            continue
        path = brought_path(brought.file, workspace)
        wants = [(f"server {name}", entry.wants()) for name, entry in brought.servers.items()]
        wants += [("not understood", problem) for problem in brought.problems]
        state = _state(trusted, path, brought.sha256)
        yield BroughtFile(path, brought.sha256, state, tuple(wants))


def _hooks(workspace: Path, trusted: Mapping[str, str]) -> list[BroughtFile]:
    """The commands that a repository would have run when agents do something."""
    from sashizu_core.reactions.book import brought_reactions

    found = []
    for each in brought_reactions(workspace):
        if each.error:
            found.append(BroughtFile(each.path, "", "broken", (("error", each.error),)))
            continue
        wants = [
            (f"hook {one.event}{f' ({one.matcher})' if one.matcher else ''}", one.command)
            for one in each.reactions
        ]
        if each.scripts:
            wants.append(("programs", "\n".join(each.scripts)))
        if each.problems:
            wants.append(("not understood", "\n".join(each.problems)))
        state = _state(trusted, each.path, each.sha256)
        found.append(BroughtFile(each.path, each.sha256, state, tuple(wants)))
    return found


def _state(trusted: Mapping[str, str], path: str, sha256: str) -> State:
    if path not in trusted:
        return "new"
    return "trusted" if trusted[path] == sha256 else "changed"


def _settings(session: Session, workspace: Path) -> BroughtFile:
    from sashizu_core.documents import read_source
    from sashizu_core.settings_layers import LARGEST_FILE

    source = read_source(workspace / SETTINGS, limit_bytes=LARGEST_FILE, follow_links=False)
    wants = tuple(
        (setting.key, str(setting.shown))
        for setting in session.settings
        if setting.origin.kind == "project"
    )
    return BroughtFile(SETTINGS, source.sha256, "narrows only", wants)


def _wants(entry: AgentEntry) -> tuple[tuple[str, str], ...]:
    """What an agent would be allowed, and what else decides over money and machines."""
    definition = entry.definition
    grants = definition.grants()
    wants = [("agent", entry.name), ("goal", definition.goal)]
    for field in fields(Grants):
        value = getattr(grants, field.name)
        if value and field.name != "source":
            wants.append((field.name.replace("_", "."), _listed(value)))
    servers: Mapping[str, ServerEntry] = definition.servers
    wants += [(f"server {name}", server.wants()) for name, server in servers.items()]
    if definition.instructions:
        wants.append(("instructions", definition.instructions))
    others = {name: getattr(definition, name) for name in _OTHERS}
    wants += [(name, _listed(value)) for name, value in others.items() if value]
    if entry.warnings:
        wants.append(("not understood", "; ".join(entry.warnings)))
    return tuple(wants)


def _listed(value: Any) -> str:
    if isinstance(value, str) or not isinstance(value, Iterable):
        return str(value)
    words = [str(part) for part in value]
    return ", ".join(sorted(words) if isinstance(value, frozenset) else words)


def show_brought(files: Sequence[BroughtFile], *, to_stderr: bool = False) -> None:
    """Print every file with its state, its fingerprint and what it asks for."""
    for file in files:
        render.line(f"{one_line(file.path)}  ({file.state})", to_stderr=to_stderr)
        if file.sha256:
            render.line(f"  sha256  {file.sha256}", to_stderr=to_stderr)
        for label, text in file.wants:
            lines = text.strip("\n").split("\n")
            first = f" {lines[0]}" if len(lines) == 1 else ""
            render.line(f"  {label}:{first}", to_stderr=to_stderr)
            for each in lines if not first else ():
                render.line(f"    {each}", to_stderr=to_stderr)
