"""What people and repositories teach agents: skills in folders, and guidance in `AGENTS.md`."""

from sashizu_core.skills.skill import Guidance, Skill, SkillFile

__all__ = ["Guidance", "Skill", "SkillFile"]
