"""Analyses files that were read one by one, where the tool `analyze` is not granted."""

from __future__ import annotations

import re
from collections.abc import Collection

from sashizu_offline.conversation import Conversation, Exchange
from sashizu_offline.derive.cases import derive_tests
from sashizu_offline.findings import Check
from sashizu_offline.results import Result
from sashizu_offline.sources import Sources
from sashizu_offline.survey import survey_without_linter

__all__ = ["readings", "result_of_readings"]

_NUMBERED = re.compile(r"^\s*\d+\t", re.MULTILINE)
_LISTED = re.compile(r"^[^\[\n].*[^/\n]$", re.MULTILINE)


def readings(conversation: Conversation) -> list[Exchange]:
    """The reads that were made to learn something: not the looks at files to be written."""
    return [
        exchange
        for exchange in conversation.answers("read_file")
        if exchange.arguments.get("last") != 4
    ]


def _text(content: str) -> str:
    """A file's text from the lines that were shown: without numbers and the note at the end."""
    lines = content.split("\n")
    if lines and lines[-1].startswith("[") and lines[-1].endswith("]"):
        lines.pop()
    if not all(_NUMBERED.match(line) for line in lines):
        return content
    return "\n".join(_NUMBERED.sub("", line, count=1) for line in lines) + "\n"


def result_of_readings(conversation: Conversation, checks: Collection[Check]) -> Result:
    """The findings of our own checks in what was read; files that were cut are left out."""
    sources = Sources()
    for exchange in readings(conversation):
        path = str(exchange.arguments.get("path"))
        if exchange.is_error:
            sources.leave_out(path, "could not be read")
        elif (
            "(cut, there is no room for more" in exchange.content or "\n[cut: " in exchange.content
        ):
            sources.leave_out(path, "longer than one answer of read_file")
        else:
            sources.add(path, _text(exchange.content).encode("utf-8", "surrogatepass"))
    seen = {*sources.texts, *sources.unread}
    for exchange in conversation.answers("list_files"):
        for match in _LISTED.finditer("" if exchange.is_error else exchange.content):
            if match.group() not in seen:
                sources.leave_out(match.group(), "not read: the budget had no room for it")
    found = survey_without_linter(sources, checks)
    derived = derive_tests(found.python, sources) if "tests" in checks else None
    return Result.of(checks, sources, found, derived)
