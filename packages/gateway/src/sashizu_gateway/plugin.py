"""What sashizu-gateway offers: the commands that put other programs under a budget."""

from __future__ import annotations

from collections.abc import Sequence

from sashizu_core.hookspecs import hookimpl
from sashizu_core.specs import CommandSpec

__all__ = ["register_commands"]


@hookimpl
def register_commands() -> Sequence[CommandSpec]:
    return []
