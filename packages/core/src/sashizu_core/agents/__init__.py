"""Agents: what they are, where they are found, which tools they have."""

from __future__ import annotations

from sashizu_core.agents.catalogue import Catalogue, load_catalogue
from sashizu_core.agents.definition import AgentDefinition
from sashizu_core.agents.effective import effective_tools
from sashizu_core.agents.entries import AgentEntry, AgentProblem
from sashizu_core.agents.read import read_agent_file, read_agent_text

__all__ = [
    "AgentDefinition",
    "AgentEntry",
    "AgentProblem",
    "Catalogue",
    "effective_tools",
    "load_catalogue",
    "read_agent_file",
    "read_agent_text",
]
