"""Words of a command line: which characters they may have, and what quotes mean."""

from __future__ import annotations

import re
import unicodedata

from sashizu_core.errors import ToolError

__all__ = ["check_characters", "quoted_text", "unquoted_text"]

_QUOTED = "\ue000"
"""Stands in a mask for a character that was quoted."""

_PLAIN = re.compile(r"[\n\t -~]*")
_INVISIBLE = {"Cc": "a control character", "Cf": "an invisible character", "Cs": "half a character"}
_INVISIBLE |= {"Zl": "an invisible line end", "Zp": "an invisible line end"}

_EXPANDS = re.compile(r"\$[A-Za-z0-9_{(\[?$!#@*'\"-]|`")
_EXPANDS_IN_QUOTES = re.compile(r"\$[A-Za-z0-9_{(\[?$!#@*-]|`")
_ENDS = re.compile(r"[ \t\n;|&<>()'\"]")
"""What ends a word, or begins something else, unless it is quoted."""

_BRACES = re.compile(r"\{.*,.*\}|\{[^}]*\.\.[^}]*\}")
_TILDE = re.compile(r"\A~|\A[A-Za-z_][A-Za-z0-9_]*\+?=(.*:)?~")
_ESCAPED = re.compile(r"\\(.)", re.DOTALL)
_ESCAPED_IN_QUOTES = re.compile(r"\\([$`\"\\\n])")


def check_characters(text: str) -> None:
    """Refuse what a person who looks at the command would not see as it is.

    Raises:
        ToolError: names the character and its place.
    """
    if _PLAIN.fullmatch(text):
        return
    for at, char in enumerate(text):
        kind = _INVISIBLE.get(unicodedata.category(char))
        if char == _QUOTED:
            kind = "a private character"
        if kind is not None and char not in "\n\t":
            raise ToolError(
                f"character {at + 1} of the command is U+{ord(char):04X}, {kind}: leave it out"
            )


def quoted_text(text: str, *, single: bool = False, bare: bool = False) -> tuple[str, str]:
    """What a part of a word says, and its mask: the same with a stand-in for all that was quoted.

    `text` comes without its quotes: single ones, double ones, or none when it is `bare`.

    Raises:
        ToolError: there is something to expand in it.
    """
    if single:
        return text, _QUOTED * len(text)
    masked = (_ESCAPED if bare else _ESCAPED_IN_QUOTES).sub(_QUOTED, text)
    if found := (_EXPANDS if bare else _EXPANDS_IN_QUOTES).search(masked):
        raise ToolError(
            f"{found[0]!r} in {text!r} is not understood: nothing is expanded here; "
            "write the value, or put the text in single quotes"
        )
    if bare and (found := _ENDS.search(masked)):
        raise ToolError(f"{found[0]!r} in {text!r} is not understood: put the text in quotes")
    if bare:
        return _ESCAPED.sub(_unescaped, text), masked
    said = _ESCAPED_IN_QUOTES.sub(_unescaped, text)
    return said, _QUOTED * len(said)


def _unescaped(found: re.Match[str]) -> str:
    return "" if found[1] == "\n" else found[1]


def unquoted_text(text: str, mask: str) -> str:
    """The text of a whole word, if nothing of it means more than itself.

    Raises:
        ToolError: a shell would make other words of it.
    """
    if "*" in mask or "?" in mask:
        raise ToolError(
            f"the pattern {text!r} is not expanded: name the files, or quote it where a program "
            "is to get it as it is"
        )
    if _BRACES.search(mask):
        raise ToolError(f"the braces in {text!r} are not expanded: write the words out, or quote")
    if _TILDE.search(mask):
        raise ToolError(f"'~' in {text!r} is not expanded: there is no home folder here")
    if any(unicodedata.category(char) == "Zs" and char != " " for char in mask):
        raise ToolError(f"there is a blank in {text!r} that no shell takes for one: retype it")
    return text
