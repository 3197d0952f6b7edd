"""The tool `codebase_search`."""

from __future__ import annotations

import re
import sqlite3
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass

import anyio.to_thread
from pydantic import Field

from sashizu_core.builtin.searched import read_requests, searched, tick
from sashizu_core.builtin.text import Lines, decoded, shown, split_lines
from sashizu_core.builtin.typed import Arguments, TypedTool
from sashizu_core.errors import ToolError
from sashizu_core.grants import PermissionRequest
from sashizu_core.protocols import ToolContext
from sashizu_core.types import ToolResult

__all__ = ["CodebaseSearch", "CodebaseSearchArguments"]

MAX_FILE_BYTES = 1024 * 1024
"""Larger files are data more often than text that somebody wrote."""

MAX_INDEXED_BYTES = 32 * 1024 * 1024
PASSAGE_LINES = 40
"""Lines of one passage; the next begins half as many lines later."""

SHOWN_LINES = 6

_WORD = re.compile(r"\w+")
_HUMP = re.compile(r"(?<=[a-z0-9])(?=[A-Z])|(?<=[A-Z])(?=[A-Z][a-z])|_+")
_CJK = re.compile("[\u3040-\u30ff\u3400-\u4dbf\u4e00-\u9fff\uac00-\ud7af]+")


_FILLERS = frozenset(
    [
        "a",
        "an",
        "and",
        "are",
        "as",
        "at",
        "be",
        "by",
        "do",
        "does",
        "for",
        "from",
        "how",
        "in",
        "is",
        "it",
        "of",
        "on",
        "or",
        "that",
        "the",
        "this",
        "to",
        "was",
        "what",
        "when",
        "where",
        "which",
        "who",
        "why",
        "with",
    ]
)
"""Words of a question that say nothing about the answer, unless there are no others."""


class CodebaseSearchArguments(Arguments):
    query: str = Field(
        min_length=1, max_length=1000, description="Words that the passage should have."
    )
    path: str | None = Field(
        None,
        description="A file or folder, relative to the workspace; without it, all you may read.",
    )
    limit: int = Field(10, ge=1, le=50, description="The most passages to return.")


Connect = Callable[[], sqlite3.Connection]


def _connect() -> sqlite3.Connection:
    return sqlite3.connect(":memory:")


class CodebaseSearch(TypedTool[CodebaseSearchArguments]):
    """Passages ranked by BM25: `path:line`, then some numbered lines. `connect` opens SQLite."""

    name = "codebase_search"
    description = (
        "Find passages by the words in them, best first (BM25). Names such as parseUrl and "
        "parse_url are found by their parts. Use grep to find an exact text."
    )
    arguments = CodebaseSearchArguments

    def __init__(self, connect: Connect = _connect) -> None:
        self._connect = connect

    def requests(
        self, arguments: CodebaseSearchArguments, context: ToolContext
    ) -> Sequence[PermissionRequest]:
        return read_requests(arguments.path, context)

    async def run(self, arguments: CodebaseSearchArguments, context: ToolContext) -> ToolResult:
        return await anyio.to_thread.run_sync(lambda: self._search(arguments, context))

    def _search(self, arguments: CodebaseSearchArguments, context: ToolContext) -> ToolResult:
        every = _words(arguments.query)
        words = [word for word in every if word not in _FILLERS] or every
        if not words:
            raise ToolError(f"there is no word in {arguments.query!r}; use grep for other text")
        with closing(self._connect()) as database:
            index = _Index(database)
            found = searched(arguments.path, context)
            complete = index.fill(found.files, context) and found.complete
            passages = index.best(words, arguments.limit)
            texts = {name: index.lines(name) for name in {passage.path for passage in passages}}
        return ToolResult(_text(passages, texts, words, complete))


@dataclass(frozen=True, slots=True)
class _Passage:
    """Some lines of a file; `first` counts from 0."""

    path: str
    first: int


def _words(text: str) -> list[str]:
    """The words to look for, lower-case, each once: parts of names, pairs of CJK characters."""
    plain = _CJK.sub(lambda run: f" {' '.join(_pairs(run[0]))} ", text)
    parts = (part for word in _WORD.findall(plain) for part in _HUMP.split(word))
    return list(dict.fromkeys(part.lower() for part in parts if part))


def _pairs(run: str) -> list[str]:
    """Overlapping pairs: scripts without blanks have no words to look for."""
    return [run[at : at + 2] for at in range(len(run) - 1)] or [run]


def _indexed(text: str) -> str:
    """A text as it is indexed: names in their parts."""
    if not text.isascii():
        text = _CJK.sub(lambda run: f" {' '.join(_pairs(run[0]))} ", text)
    return _HUMP.sub(" ", text)


class _Index:
    """A full-text index in memory, for one search."""

    def __init__(self, database: sqlite3.Connection) -> None:
        self._database = database
        self._texts: dict[str, list[str]] = {}
        try:
            database.execute(
                "create virtual table passages using fts5("
                "path unindexed, first unindexed, name, body, tokenize='porter unicode61')"
            )
        except sqlite3.OperationalError as error:
            raise ToolError(
                "codebase_search needs SQLite with FTS5, which this Python's SQLite "
                f"{sqlite3.sqlite_version} does not have ({error}); use grep"
            ) from error

    def fill(self, files: Sequence[str], context: ToolContext) -> bool:
        """Index files; False when there is too much text for all of them."""
        left = MAX_INDEXED_BYTES
        for name in files:
            tick()
            try:
                data = context.workspace.read_bytes(name, MAX_FILE_BYTES, readable=context.readable)
                lines = split_lines(decoded(data, name))
            except ToolError:
                continue  # binary, too large, or gone since
            left -= len(data)
            if left < 0:
                return False
            self._texts[name] = lines
            self._database.executemany(
                "insert into passages values (?, ?, ?, ?)", self._rows(name, lines)
            )
        return True

    @staticmethod
    def _rows(name: str, lines: Sequence[str]) -> Iterator[tuple[str, int, str, str]]:
        title = _indexed(name)
        step = PASSAGE_LINES // 2
        for first in range(0, max(len(lines) - step, 1), step):
            yield name, first, title, _indexed("\n".join(lines[first : first + PASSAGE_LINES]))

    def lines(self, path: str) -> Sequence[str]:
        return self._texts[path]

    def best(self, words: Sequence[str], limit: int) -> list[_Passage]:
        """The best passages, none overlapping a better one."""
        # Every word is a quoted string: nothing a model writes is syntax.
        query = " OR ".join(f'"{word}"' for word in words)
        rows = self._database.execute(
            "select path, first from passages where passages match ? "
            "order by bm25(passages, 0, 0, 4.0, 1.0), path, first",
            (query,),
        )
        taken: list[_Passage] = []
        for path, first in rows:
            near = (p for p in taken if p.path == path and abs(p.first - first) < PASSAGE_LINES)
            if not any(near):
                taken.append(_Passage(path, first))
            if len(taken) >= limit:
                break
        return taken


def _text(
    passages: Sequence[_Passage],
    texts: dict[str, Sequence[str]],
    words: Sequence[str],
    complete: bool,
) -> str:
    lines = Lines()
    cut = False
    for passage in passages:
        body = texts[passage.path][passage.first : passage.first + PASSAGE_LINES]
        start = _best_line(body, words)
        head = f"{passage.path}:{passage.first + start + 1}"
        numbered = [
            f"{passage.first + at + 1:>6}\t{shown(body[at])}"
            for at in range(start, min(start + SHOWN_LINES, len(body)))
        ]
        cut = cut or not lines.add("\n".join([head, *numbered]))
    notes = ["no passage has any of the words"] if not passages else []
    if cut:
        notes.append("cut: there is no room for more passages; ask for fewer")
    if not complete:
        notes.append("there is more text than is looked at; name a folder")
    return lines.text(notes)


def _best_line(body: Sequence[str], words: Sequence[str]) -> int:
    """The index of the first line that has the most of the words."""
    counts = [sum(word in _indexed(line).lower() for word in words) for line in body]
    return counts.index(max(counts)) if counts else 0
