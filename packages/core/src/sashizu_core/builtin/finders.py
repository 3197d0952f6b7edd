"""Two ways to find the lines that match: ripgrep, and Python in a process of its own.

Both only say where. What is shown is read through the workspace afterwards, so nothing that they
could be tricked into reading is ever told.
"""

from __future__ import annotations

import json
import os
import re
import sys
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from subprocess import DEVNULL, PIPE
from typing import Protocol

import anyio
import anyio.to_thread
from anyio.abc import Process
from anyio.streams.buffered import BufferedByteReceiveStream

from sashizu_core.builtin.programs import find_program, plain_environment
from sashizu_core.builtin.text import decoded
from sashizu_core.errors import ToolError
from sashizu_core.protocols import ToolContext

__all__ = ["Found", "LineFinder", "PythonFinder", "Query", "RipgrepFinder", "finder_for"]

MAX_FILE_BYTES = 16 * 1024 * 1024
MAX_OUTPUT_BYTES = 32 * 1024 * 1024
"""The most that is taken of one ripgrep process."""

# Possessive all over: it reads what a model wrote, and must not go back and forth in it.
_PORTABLE = re.compile(
    r"""(?>
        [^\\\[\](){}*+?|^$]                    # an ordinary character
      | \\[][(){}*+?|^$.\\\#&~-]               # an escaped one
      | \\[bBdDsSwWtnrfv]                     # a class, an assertion, a control character
      | \[\^?(?>[^][\\&~^-]|\\[][\\^$.*+?(){}|dDsSwW-]|(?<=[0-9A-Za-z])-(?=[0-9A-Za-z]))++-?\]
      | \((?:\?:|(?!\?))                     # a group
      | [)|^$]
      | [*+?]\??(?![*+?{])                    # a repetition, and not one of a repetition
      | \{[0-9]{1,3}(?:,(?:[0-9]{1,3})?)?\}\??(?![*+?{])
    )*+""",
    re.VERBOSE,
)
"""Expressions that mean the same to Python and to ripgrep."""


@dataclass(frozen=True, slots=True)
class Query:
    """What is looked for: a regular expression of Python's `re`; `most` lines of one file."""

    pattern: str
    ignore_case: bool
    most: int

    @property
    def portable(self) -> bool:
        """Whether ripgrep understands the expression as Python does."""
        return _PORTABLE.fullmatch(self.pattern) is not None


Found = Mapping[str, Sequence[int]]
"""The numbers of the matching lines, from 1, of each file that has some."""


class LineFinder(Protocol):
    async def find(self, files: Sequence[str]) -> Found:
        """Look at some files, which are names in the workspace.

        Raises:
            ToolError: they could not be searched.
        """
        ...


# --- ripgrep --------------------------------------------------------------------------------------

_RIPGREP_FLAGS = (
    "--no-config",
    "--no-ignore",
    "--hidden",
    "--text",
    "--crlf",
    "--no-mmap",
    "--no-messages",
    "--no-heading",
    "--with-filename",
    "--line-number",
    "--null",
    "--color=never",
    "--max-columns=1",
    f"--max-filesize={MAX_FILE_BYTES}",
)
_RIPGREP_LINE = re.compile(rb"([^\0\n]+)\0([0-9]+):")


class RipgrepFinder:
    """Runs ripgrep over named files; it walks no folder and reads no settings."""

    def __init__(self, program: Path, query: Query, context: ToolContext) -> None:
        self._program = program
        self._query = query
        self._workspace = context.workspace

    def _command(self, paths: Sequence[str]) -> list[str]:
        case = "--ignore-case" if self._query.ignore_case else "--case-sensitive"
        flags = [*_RIPGREP_FLAGS, case, f"--max-count={self._query.most}"]
        return [str(self._program), *flags, "--", self._query.pattern, *paths]

    async def understands(self) -> bool:
        """Whether ripgrep takes the expression, which it may find too large."""
        standard_input = ["-"]
        command = self._command(standard_input)
        async with _started(command, self._workspace.root, DEVNULL) as process:
            return await process.wait() in (0, 1)

    async def find(self, files: Sequence[str]) -> Found:
        output = bytearray()
        # A file may be named "-", which alone is standard input.
        paths = [name if name.startswith("/") else f"./{name}" for name in files]
        async with _started(self._command(paths), self._workspace.root, DEVNULL) as process:
            assert process.stdout is not None
            async for chunk in process.stdout:
                output += chunk
                if len(output) > MAX_OUTPUT_BYTES:
                    break
            else:
                if await process.wait() not in (0, 1, 2):
                    raise ToolError(f"ripgrep ended with status {process.returncode}")
        return self._parse(bytes(output))

    def _parse(self, output: bytes) -> Found:
        found: dict[str, list[int]] = {}
        for line in output.split(b"\n"):
            if matched := _RIPGREP_LINE.match(line):
                name = os.fsdecode(matched[1]).removeprefix("./")
                found.setdefault(name, []).append(int(matched[2]))
        return found


# --- Python ---------------------------------------------------------------------------------------


class PythonFinder:
    """Sends files, read through the workspace, to `line_matcher`."""

    def __init__(self, process: Process, query: Query, context: ToolContext) -> None:
        assert process.stdin is not None
        assert process.stdout is not None
        self._input = process.stdin
        self._output = BufferedByteReceiveStream(process.stdout)
        self._query = query
        self._context = context

    async def begin(self) -> None:
        flags = re.IGNORECASE if self._query.ignore_case else 0
        header = {
            "pattern": self._query.pattern,
            "flags": int(flags),
            "most": self._query.most,
        }
        await self._input.send(json.dumps(header).encode() + b"\n")

    async def find(self, files: Sequence[str]) -> Found:
        found: dict[str, list[int]] = {}
        try:
            for name in files:
                text = await anyio.to_thread.run_sync(self._read, name)
                if text is None:
                    continue
                await self._input.send(len(text).to_bytes(8, "big") + text)
                answer = await self._output.receive_until(b"\n", MAX_OUTPUT_BYTES)
                if numbers := json.loads(answer):
                    found[name] = numbers
        except (anyio.BrokenResourceError, anyio.EndOfStream, anyio.IncompleteRead) as error:
            raise ToolError("the process that searches ended before it was done") from error
        return found

    def _read(self, name: str) -> bytes | None:
        """The text of a file in UTF-8; None where there is none to search."""
        with suppress(ToolError):
            data = self._context.workspace.read_bytes(
                name, MAX_FILE_BYTES, readable=self._context.readable
            )
            return decoded(data, name).encode()
        return None


# --- which ----------------------------------------------------------------------------------------


@asynccontextmanager
async def _started(command: Sequence[str], folder: Path, stdin: int) -> AsyncIterator[Process]:
    """A process that does not outlive the block."""
    process = await anyio.open_process(
        command,
        stdin=stdin,
        stdout=PIPE,
        stderr=DEVNULL,
        cwd=folder,
        env=plain_environment(),
        start_new_session=True,
    )
    try:
        yield process
    finally:
        with suppress(ProcessLookupError):
            process.kill()
        with anyio.CancelScope(shield=True):
            await process.aclose()


@asynccontextmanager
async def finder_for(query: Query, context: ToolContext) -> AsyncIterator[LineFinder]:
    """Ripgrep where it is there and understands the expression as Python does, else Python."""
    program = find_program("rg", context.workspace) if query.portable else None
    if program is not None:
        ripgrep = RipgrepFinder(program, query, context)
        if await ripgrep.understands():
            yield ripgrep
            return
    async with python_finder(query, context) as finder:
        yield finder


@asynccontextmanager
async def python_finder(query: Query, context: ToolContext) -> AsyncIterator[PythonFinder]:
    """The finder that is always there."""
    script = Path(__file__).with_name("line_matcher.py")
    command = [sys.executable, "-I", "-S", "-B", str(script)]
    async with _started(command, context.workspace.root, PIPE) as process:
        finder = PythonFinder(process, query, context)
        await finder.begin()
        yield finder
