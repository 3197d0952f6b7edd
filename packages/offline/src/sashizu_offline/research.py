"""Finds what files say about a question: by its words, with path:line for every line quoted."""

from __future__ import annotations

import re
from collections import Counter
from dataclasses import dataclass, field
from pathlib import PurePosixPath

from sashizu_offline.conversation import Conversation, Exchange
from sashizu_offline.visible import code

__all__ = ["Hit", "Research", "as_pattern", "file_names", "question_words", "read_hits"]

_STOP = frozenset(
    [
        "a",
        "about",
        "after",
        "all",
        "also",
        "an",
        "and",
        "any",
        "are",
        "as",
        "at",
        "be",
        "been",
        "before",
        "being",
        "but",
        "by",
        "can",
        "could",
        "did",
        "do",
        "does",
        "each",
        "every",
        "explain",
        "find",
        "for",
        "from",
        "get",
        "give",
        "had",
        "has",
        "have",
        "how",
        "i",
        "if",
        "in",
        "into",
        "is",
        "it",
        "its",
        "just",
        "let",
        "list",
        "me",
        "more",
        "most",
        "my",
        "need",
        "no",
        "not",
        "of",
        "on",
        "only",
        "or",
        "our",
        "out",
        "please",
        "project",
        "repository",
        "say",
        "should",
        "show",
        "so",
        "some",
        "such",
        "tell",
        "than",
        "that",
        "the",
        "their",
        "them",
        "then",
        "there",
        "these",
        "they",
        "this",
        "those",
        "to",
        "up",
        "use",
        "used",
        "uses",
        "using",
        "was",
        "we",
        "were",
        "what",
        "when",
        "where",
        "which",
        "who",
        "why",
        "will",
        "with",
        "work",
        "works",
        "would",
        "you",
        "your",
        "code",
        "file",
        "files",
        "question",
        "answer",
        "describe",
        "summarise",
        "summarize",
        "source",
        "statement",
        "whole",
        "read",
        "call",
        "do",
        "nothing",
        "else",
        "path",
        "tool",
    ]
)
_WORD = re.compile(r"[A-Za-z_][\w.]*[\w]|[A-Za-z]{3,}")
_PATH = re.compile(r"(?<![\w/.])(?:[\w.-]+/)*[\w-]+\.[A-Za-z][\w]{0,9}\b")
_DEFINITION = re.compile(
    r"^\s*(?:export\s+)?(?:async\s+)?(?:def|class|func|function|fn|struct|interface|type|enum)\s"
)
_GREP_LINE = re.compile(r"^(?P<path>[^:\n]+):(?P<line>\d+):(?P<text>.*)$")
_READ_LINE = re.compile(r"^\s*(\d+)\t(.*)$")
_MOST_WORDS = 8


@dataclass(frozen=True, slots=True)
class Hit:
    """A line that holds one of the words."""

    path: str
    line: int
    text: str


def question_words(goal: str) -> list[str]:
    """The words to search for: names as they are written first, then the other words that tell."""
    found = [word.strip(".") for word in _WORD.findall(goal)]
    told = [word for word in dict.fromkeys(found) if word.lower() not in _STOP and len(word) > 2]
    named = [word for word in told if "_" in word or "." in word or not word[1:].islower()]
    return [*named, *(word for word in told if word not in named)][:_MOST_WORDS]


def file_names(goal: str) -> list[str]:
    """What looks like a path of a file in the text of a task."""
    return list(dict.fromkeys(_PATH.findall(goal)))[:5]


def read_hits(exchanges: list[Exchange]) -> list[Hit]:
    """The lines that searches found, each as `path:line:text`."""
    hits: dict[tuple[str, int], Hit] = {}
    for exchange in exchanges:
        if exchange.is_error:
            continue
        for line in exchange.content.split("\n"):
            if (match := _GREP_LINE.match(line)) and not line.startswith("["):
                hit = Hit(match["path"], int(match["line"]), match["text"].strip()[:160])
                hits.setdefault((hit.path, hit.line), hit)
    return list(hits.values())


@dataclass
class Research:
    """What was found. `words` are those searched for, `missing` those without any hit.

    `sources` are quoted lines: `path:line` and text, the files with most different words first.
    """

    words: list[str] = field(default_factory=list)
    missing: list[str] = field(default_factory=list)
    sources: list[str] = field(default_factory=list)
    files: list[str] = field(default_factory=list)
    definitions: list[str] = field(default_factory=list)
    listed: int = 0
    folders: dict[str, int] = field(default_factory=dict)

    @property
    def summary(self) -> str:
        if self.sources:
            return (
                f"Lines that hold words of the task: {len(self.sources)}, "
                f"in files: {len(self.files)}."
            )
        return "No file holds the words of the task."

    def lines(self, limit: int) -> list[str]:
        """The sections of the report."""
        lines = ["## Searched for", ""]
        lines.append(f"- words: {', '.join(self.words) or 'none that tell'}")
        if self.missing:
            lines.append(f"- not found anywhere: {', '.join(self.missing)}")
        lines += ["", "## Files", "", *[f"- {code(path)}" for path in self.files[:limit]], ""]
        if self.definitions:
            lines += ["## Definitions", "", *self.definitions[:limit], ""]
        lines += ["## Lines", "", *self.sources[:limit]]
        if len(self.sources) > limit:
            lines.append(f"- … and {len(self.sources) - limit} more, left out for size")
        if self.folders:
            counts = ", ".join(
                f"{code(name)} {n}" for name, n in list(self.folders.items())[:limit]
            )
            lines += ["", "## Layout", "", f"{self.listed} files: {counts}"]
        return [*lines, ""]

    @classmethod
    def of(cls, conversation: Conversation) -> Research:
        """Put together what the searches and reads of a conversation found."""
        found = cls(words=question_words(conversation.brief.goal))
        hits = read_hits([*conversation.answers("grep"), *conversation.answers("codebase_search")])
        hits += _read_lines(conversation)
        found.files = _ranked(hits, found.words)
        order = {path: number for number, path in enumerate(found.files)}
        hits.sort(key=lambda hit: (order[hit.path], hit.line))
        for hit in hits:
            quoted = f"- {code(f'{hit.path}:{hit.line}')} {code(hit.text)}"
            if quoted not in found.sources:
                found.sources.append(quoted)
                if _DEFINITION.match(hit.text):
                    found.definitions.append(quoted)
        text = "\n".join([hit.text.lower() for hit in hits])
        found.missing = [word for word in found.words if word.lower() not in text]
        _layout(found, conversation)
        return found


def _ranked(hits: list[Hit], words: list[str]) -> list[str]:
    """Files by how many different words they hold, then by how many lines."""
    different: dict[str, set[str]] = {}
    lines: Counter[str] = Counter()
    for hit in hits:
        lines[hit.path] += 1
        inside = {word for word in words if word.lower() in hit.text.lower()}
        different.setdefault(hit.path, set()).update(inside)
    return sorted(lines, key=lambda path: (-len(different[path]), -lines[path], path))


def _read_lines(conversation: Conversation) -> list[Hit]:
    """Lines of files that were read and define something or are headings."""
    found = []
    for exchange in conversation.answers("read_file"):
        path = exchange.arguments.get("path")
        if exchange.is_error or not isinstance(path, str):
            continue
        for line in exchange.content.split("\n"):
            match = _READ_LINE.match(line)
            number, text = (int(match[1]), match[2]) if match else (1, line)
            heading = PurePosixPath(path).suffix == ".md" and text.startswith("#")
            if heading or _DEFINITION.match(text):
                found.append(Hit(path, number, text.strip()[:160]))
    return found


def _layout(found: Research, conversation: Conversation) -> None:
    folders: Counter[str] = Counter()
    for exchange in conversation.answers("list_files"):
        for line in [] if exchange.is_error else exchange.content.split("\n"):
            if line and not line.startswith("["):
                top = line.strip().split("/")[0]
                folders[f"{top}/" if "/" in line else "(top)"] += 1
                found.listed += 1
    found.folders = dict(folders.most_common())


def as_pattern(words: list[str]) -> str:
    """A regular expression for any of the words."""
    return "|".join(re.escape(word) for word in words)
