"""Agents as actions: what of a definition an App Action can express, and what it cannot."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import PurePosixPath

from sashizu_core.agents import AgentDefinition, Catalogue
from sashizu_core.agents.definition import agent_key
from sashizu_core.agents.entries import AgentEntry
from sashizu_core.errors import UsageError
from sashizu_core.runtime.artifacts import is_pattern

from sashizu_winai.entities import ActionInfo, ActionInput, EntityKind

__all__ = ["ANSWER", "REQUEST", "CannotBeHosted", "HostedAction", "hosted_action", "hosted_actions"]

REQUEST = "request"
"""The input that holds what is asked of the agent."""
ANSWER = "answer"
"""The output that holds what the agent answered."""

MOST_DESCRIPTION = 200
"""Characters of a description; it is shown to people as one line."""

_PACKAGE = "sashizu"
_FILES = (("file", EntityKind.FILE), ("document", EntityKind.DOCUMENT), ("photo", EntityKind.PHOTO))
_DOCUMENTS = frozenset({".doc", ".docx", ".pdf", ".txt"})
_PHOTOS = frozenset({".jpg", ".jpeg", ".png"})


class CannotBeHosted(UsageError):
    """An agent cannot be an App Action, or not the way it is defined."""


@dataclass(frozen=True, slots=True)
class HostedAction:
    """One agent as an action. `files` are the outputs by the path of the artifact they hold."""

    agent: str
    info: ActionInfo
    outputs: tuple[ActionInput, ...]
    files: tuple[tuple[str, str], ...]


def hosted_actions(
    catalogue: Catalogue, names: Iterable[str], *, default_model: str
) -> tuple[HostedAction, ...]:
    """The actions of the agents that are named, in their order.

    Raises:
        UsageError: there is no such agent; `CannotBeHosted`: it cannot be an action.
        ConfigError: its file is broken.
    """
    found = [hosted_action(catalogue.entry(name), default_model) for name in names]
    seen: dict[str, str] = {}
    for one in found:
        if one.info.id in seen:
            raise CannotBeHosted(
                f"the agents {seen[one.info.id]!r} and {one.agent!r} would both be the action "
                f"{one.info.id!r}; name one of them"
            )
        seen[one.info.id] = one.agent
    return tuple(found)


def hosted_action(entry: AgentEntry, default_model: str) -> HostedAction:
    """One agent as an action.

    It takes a request, and files where the agent may read any. It gives its answer as text, and
    every artifact whose name is known before.

    Raises:
        CannotBeHosted: the agent is a repository's, or its artifacts have no names.
    """
    agent = entry.definition
    if entry.scope == "repository":
        raise CannotBeHosted(
            f"the agent {agent.name!r} is a repository's, and actions are offered to every program "
            "of this machine; copy its file into your own agents first"
        )
    files = _artifacts(agent)
    outputs = (ActionInput(ANSWER, EntityKind.TEXT), *(one for _, one in files))
    info = ActionInfo(
        f"{_PACKAGE}.{agent_key(agent.name)}",
        _line(agent.goal),
        _PACKAGE,
        available=True,
        generative=(agent.model or default_model) != "offline" or agent.engine is not None,
        displays_ui=False,
        variants=tuple(_variants(agent)),
    )
    return HostedAction(agent.name, info, outputs, tuple((path, one.name) for path, one in files))


def _variants(agent: AgentDefinition) -> Iterable[tuple[ActionInput, ...]]:
    request = ActionInput(REQUEST, EntityKind.TEXT)
    yield (request,)
    if agent.tools.fs.read:
        for name, kind in _FILES:
            yield (ActionInput(name, kind),)
            yield (request, ActionInput(name, kind))


def _artifacts(agent: AgentDefinition) -> Sequence[tuple[str, ActionInput]]:
    patterns = [one for one in agent.artifacts if is_pattern(one)]
    if patterns:
        raise CannotBeHosted(
            f"the agent {agent.name!r} promises artifacts by the pattern {patterns[0]!r}, and an "
            "action has to name its outputs before it runs; give the artifact a name"
        )
    return [
        (path, ActionInput(f"artifact{number}", _kind_of(path)))
        for number, path in enumerate(agent.artifacts, start=1)
    ]


def _kind_of(path: str) -> EntityKind:
    """The kind that Windows has for a file, which goes by its suffix."""
    suffix = PurePosixPath(path).suffix.lower()
    if suffix in _DOCUMENTS:
        return EntityKind.DOCUMENT
    return EntityKind.PHOTO if suffix in _PHOTOS else EntityKind.FILE


def _line(text: str) -> str:
    plain = " ".join("".join(c if c.isprintable() else " " for c in text).split())
    return plain if len(plain) <= MOST_DESCRIPTION else plain[: MOST_DESCRIPTION - 1] + "…"
