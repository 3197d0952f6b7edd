"""How many files and connections this process may have open."""

from __future__ import annotations

import sys

__all__ = ["make_room"]

_OF_OURS = 256
"""Descriptors of the record, the ledger, the workspace and the terminal, with room to spare."""

_OF_AN_AGENT = 8
"""A connection to its model, one that is kept, and the pipes of a program that it runs."""


def make_room(agents: int) -> None:
    """Let so many agents work at once, as far as this user may.

    Many systems begin with 1,024 descriptors, macOS with 256, and allow far more to whoever asks.
    No more is asked for than is needed: programs that close all they could have inherited take
    their time over a million.
    """
    if sys.platform == "win32":
        return
    import resource

    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = _OF_OURS + _OF_AN_AGENT * agents
    if hard != resource.RLIM_INFINITY:
        wanted = min(wanted, hard)
    if soft != resource.RLIM_INFINITY and soft < wanted:
        try:
            resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))
        except (ValueError, OSError):
            return  # the system has a bound of its own; where it is met, the error names it
