"""The tool `grep`."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass, field
from functools import partial
from typing import Self

import anyio
import anyio.to_thread
from pydantic import Field, field_validator, model_validator

from sashizu_core.builtin.finders import Found, LineFinder, Query, finder_for
from sashizu_core.builtin.searched import Searched, read_requests, searched
from sashizu_core.builtin.text import Lines, decoded, shown, split_lines
from sashizu_core.builtin.typed import Arguments, TypedTool
from sashizu_core.errors import ToolError
from sashizu_core.grants import PermissionRequest
from sashizu_core.protocols import ToolContext
from sashizu_core.types import ToolResult
from sashizu_core.workspace import PathGlob

__all__ = ["Grep", "GrepArguments"]

TIMEOUT_S = 30.0
MAX_FILE_BYTES = 16 * 1024 * 1024
_BATCH_CHARACTERS = 24_000
"""File names of one batch; with them a command line fits on every system (Windows: 32,767)."""


class GrepArguments(Arguments):
    pattern: str = Field(
        min_length=1, max_length=1000, description="A regular expression of Python's re module."
    )
    path: str | None = Field(
        None,
        description="A file or folder, relative to the workspace; without it, all you may read.",
    )
    glob: str | None = Field(
        None, description="Only files of this name ('*.py') or path ('src/**/*.py')."
    )
    ignore_case: bool = Field(False, description="Whether 'a' also matches 'A'.")
    literal: bool = Field(False, description="Whether the pattern is plain text.")
    limit: int = Field(200, ge=1, le=5000, description="The most matching lines to return.")

    @field_validator("glob")
    @classmethod
    def _is_glob(cls, glob: str | None) -> str | None:
        if glob is not None:
            PathGlob.parse(glob)
        return glob

    @model_validator(mode="after")
    def _is_expression(self) -> Self:
        if "\n" in self.pattern or "\0" in self.pattern:
            raise ValueError("pattern: a line holds no line break and no NUL")
        try:
            re.compile(self.expression)
        except (re.error, OverflowError, RecursionError) as error:
            raise ValueError(f"pattern: {error}") from error
        return self

    @property
    def expression(self) -> str:
        return _SPECIAL.sub(r"\\\g<0>", self.pattern) if self.literal else self.pattern


_SPECIAL = re.compile(r"[][\\.+*?(){}|^$]")
"""What is more than itself in an expression; `re.escape` escapes what ripgrep would not take."""

FinderFor = Callable[[Query, ToolContext], AbstractAsyncContextManager[LineFinder]]


class Grep(TypedTool[GrepArguments]):
    """One matching line a line: `path:number:text`. `finder_for` says who does the matching."""

    name = "grep"
    description = (
        "Find the lines that match a regular expression, as path:line:text, without files that "
        ".gitignore leaves out."
    )
    arguments = GrepArguments

    def __init__(self, finder_for: FinderFor = finder_for, timeout_s: float = TIMEOUT_S) -> None:
        self._finder_for = finder_for
        self._timeout_s = timeout_s

    def requests(
        self, arguments: GrepArguments, context: ToolContext
    ) -> Sequence[PermissionRequest]:
        return read_requests(arguments.path, context)

    async def run(self, arguments: GrepArguments, context: ToolContext) -> ToolResult:
        try:
            with anyio.fail_after(self._timeout_s):
                return await self._search(arguments, context)
        except TimeoutError as error:
            raise ToolError(
                f"the search took longer than {self._timeout_s:g} s; "
                "use a simpler pattern, or name a folder"
            ) from error

    async def _search(self, arguments: GrepArguments, context: ToolContext) -> ToolResult:
        found = await anyio.to_thread.run_sync(partial(searched, arguments.path, context))
        files = _matching_names(found, arguments.glob)
        query = Query(arguments.expression, arguments.ignore_case, arguments.limit + 1)
        answer = _Answer(arguments.limit)
        async with self._finder_for(query, context) as finder:
            for batch in _batches(files):
                hits = await finder.find(batch)
                await anyio.to_thread.run_sync(partial(_show, batch, hits, context, answer))
                if answer.full:
                    break
        return ToolResult(answer.text(found.complete))


def _matching_names(found: Searched, glob: str | None) -> list[str]:
    if glob is None:
        return list(found.files)
    wanted = PathGlob.parse(glob if "/" in glob else f"**/{glob}")
    return [name for name in found.files if wanted.matches(name.strip("/").split("/"))]


def _batches(files: Sequence[str]) -> Iterator[list[str]]:
    batch: list[str] = []
    size = 0
    for name in files:
        if batch and size + len(name) > _BATCH_CHARACTERS:
            yield batch
            batch, size = [], 0
        batch.append(name)
        size += len(name) + 3
    if batch:
        yield batch


@dataclass(slots=True)
class _Answer:
    """Matching lines, until there are enough."""

    limit: int
    lines: Lines = field(default_factory=Lines)
    full: bool = False

    def add(self, line: str) -> bool:
        if len(self.lines) >= self.limit or not self.lines.add(line):
            self.full = True
        return not self.full

    def text(self, complete: bool) -> str:
        notes = []
        if self.full:
            notes.append(
                f"cut: the first {len(self.lines)} matching lines, there are more; "
                "narrow the pattern, the path or the glob"
            )
        if not complete:
            notes.append("there are more files than are looked at; name a folder")
        if not self.full and not len(self.lines):
            notes.append("no line matches")
        return self.lines.text(notes)


def _show(batch: Sequence[str], hits: Found, context: ToolContext, answer: _Answer) -> None:
    """Read the lines that were found, and add them. Blocks."""
    for name in batch:
        numbers = hits.get(name)
        if not numbers:
            continue
        try:
            data = context.workspace.read_bytes(name, MAX_FILE_BYTES, readable=context.readable)
            lines = split_lines(decoded(data, name))
        except ToolError:
            continue  # binary, too large, or gone since
        for number in numbers:
            if number > len(lines):
                break
            if not answer.add(f"{name}:{number}:{shown(lines[number - 1])}"):
                return
