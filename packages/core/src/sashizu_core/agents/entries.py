"""What is known of an agent's file: the definition, where it lies, what was not understood."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from sashizu_core.agents.definition import AgentDefinition, agent_key
from sashizu_core.errors import ConfigError

__all__ = ["AgentEntry", "AgentProblem", "Scope"]

Scope = Literal["shipped", "user", "repository", "given"]
"""Whose a definition is; `given` are those made in code, which have no file."""


@dataclass(frozen=True, slots=True)
class AgentEntry:
    """An agent that loaded. `warnings` are for a person, one sentence each, with file and line.

    `sha256` fingerprints the bytes of the file that were parsed; empty where there is no file.
    """

    definition: AgentDefinition
    file: Path | None
    scope: Scope
    warnings: tuple[str, ...] = ()
    sha256: str = ""

    @property
    def name(self) -> str:
        return self.definition.name


@dataclass(frozen=True, slots=True)
class AgentProblem:
    """A file that did not load. `name` is what it calls itself, or its file's stem."""

    name: str
    file: Path
    scope: Scope
    error: ConfigError

    @property
    def key(self) -> str:
        return agent_key(self.name)
