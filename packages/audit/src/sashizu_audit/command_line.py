"""Commands that somebody writes in one line, and that are started without a shell."""

from __future__ import annotations

import shlex
import sys
from collections.abc import Sequence

__all__ = ["command_words"]


def command_words(command: str) -> Sequence[str]:
    r"""What starts the program of such a line.

    On Windows the line as it is: programs split it themselves there, and `\` is no escape.

    Raises:
        ValueError: it is empty, or a quotation does not end.
    """
    words = [command] if sys.platform == "win32" else shlex.split(command)
    if not "".join(words).strip():
        raise ValueError("it is empty")
    return command if sys.platform == "win32" else words
