"""Agents made by a model: written, checked, clipped, and kept only if somebody says so."""

from sashizu_core.creation.clipping import RefusedWish
from sashizu_core.creation.creating import CreatedAgent, create_agent
from sashizu_core.creation.saving import save_agent
from sashizu_core.creation.written import agent_path

__all__ = ["CreatedAgent", "RefusedWish", "agent_path", "create_agent", "save_agent"]
