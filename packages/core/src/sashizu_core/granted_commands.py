"""Command lines that are granted: their first words, compared word by word.

A grant of `cargo` reaches `cargo build`, one of `npm audit` reaches `npm audit --json` and not
`npm run x`. A name without a slash also reaches the program of that name in a folder of the system,
such as `/usr/bin/cargo`; a path reaches itself alone. `*` is any program.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from pathlib import PurePosixPath, PureWindowsPath

from sashizu_core.grants import ExecRequest

__all__ = ["ANY_CODE", "common_commands", "oddity_of_command", "reaches_command", "rule_reaches"]

ANY_CODE = "runs any code: allowed only in an enforcing sandbox"
"""Why a program that runs code it finds or is given is refused where nothing holds it."""

_SYSTEM = re.compile(r"/(?:usr/(?:local/)?)?s?bin/([^/]+)")
_ENDING = re.compile(r"\.(?:exe|com|cmd|bat)\Z")

Words = tuple[str, ...]


def _words(granted: str) -> Words:
    return tuple(granted.split())


def _is_program(granted: str, word: str) -> bool:
    """Whether the first word of a grant reaches the first word of a command line."""
    if granted == word:
        return True
    found = _SYSTEM.fullmatch(word)
    return found is not None and "/" not in granted and found[1] == granted


def _begins(words: Words, line: Sequence[str]) -> bool:
    """Whether a command line begins with the words of a grant."""
    if not words or len(words) > len(line):
        return False
    if words == ("*",):
        return True
    return _is_program(words[0], line[0]) and tuple(line[1 : len(words)]) == words[1:]


def reaches_command(granted: str, argv: Sequence[str]) -> bool:
    """Whether a grant reaches a command line."""
    return bool(argv) and _begins(_words(granted), argv)


def common_commands(first: Iterable[str], second: Iterable[str]) -> tuple[str, ...]:
    """The grants that together reach what both of two lists of grants reach."""
    mine, theirs = ({_words(granted) for granted in grants} for grants in (first, second))
    found = {both for a in mine for b in theirs if (both := _both(a, b))}
    outermost = (w for w in found if not any(o != w and _begins(o, w) for o in found))
    return tuple(sorted(" ".join(words) for words in outermost))


def _both(a: Words, b: Words) -> Words:
    """The words that a command line begins with that both reach; none if there are none."""
    if not a or not b:
        return ()
    if ("*",) in (a, b):
        return b if a == ("*",) else a
    if a[1:2] != b[1:2] and len(a) > 1 < len(b):
        return ()
    first = a[0] if _is_program(b[0], a[0]) else b[0]
    longer, shorter = (a, b) if len(a) >= len(b) else (b, a)
    both = (first, *longer[1:])
    return both if _begins(shorter, both) and _begins(longer, both) else ()


def oddity_of_command(request: ExecRequest) -> str:
    """Why a request cannot be granted whatever is granted; empty if it can."""
    if not request.argv or not request.argv[0] or any("\0" in word for word in request.argv):
        return "that is no command line"
    if not request.program:
        return "the program was not found where programs are trusted"
    if not any(cls(request.program).is_absolute() for cls in (PurePosixPath, PureWindowsPath)):
        return "the program was not resolved to an absolute path"
    if request.doubt:
        return f"not understood: {request.doubt}"
    return ""


# --- rules ----------------------------------------------------------------------------------------


def _plain_name(word: str) -> str:
    """The name of a program: no folder, no case, no ending of Windows."""
    return _ENDING.sub("", re.split(r"[/\\]", word)[-1].casefold())


def rule_reaches(pattern: str, request: ExecRequest) -> bool:
    """Whether a rule's pattern reaches a request.

    Rules take away, so they reach further than grants: the program counts by its name alone, in
    whatever folder, and options with one value each may stand between the words.
    """
    words = _words(pattern)
    if words in ((), ("*",)) or not request.argv:
        return True
    names = {_plain_name(request.argv[0]), _plain_name(request.program)}
    return _plain_name(words[0]) in names and _follow(words[1:], request.argv[1:])


def _follow(words: Words, line: Words) -> bool:
    """Whether words begin a line, options and their values left out."""
    reached = {0}  # how many words were found so far, after any choice of what belongs to an option
    skipping: set[int] = set()
    for argument in line:
        if len(words) in reached:
            return True
        option = argument.startswith("-")
        found = {at + 1 for at in reached if words[at] == argument}
        reached, skipping = (
            found | skipping | (reached if option else set()),
            reached if option else set(),
        )
    return len(words) in reached
