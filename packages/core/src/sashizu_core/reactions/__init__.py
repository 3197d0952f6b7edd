"""Commands that react to what agents do, in the JSON shape that Codex and Claude Code share.

People call them hooks, and so do files and settings. In this code a hook is what a plugin offers,
and a command that reacts is a reaction.
"""

from sashizu_core.reactions.reaction import EVENTS, Reaction, ReactionEvent

__all__ = ["EVENTS", "Reaction", "ReactionEvent"]
