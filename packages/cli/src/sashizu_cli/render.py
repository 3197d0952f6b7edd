"""The only module that prints. Results go to stdout, everything about them to stderr."""

from __future__ import annotations

import errno
import os
import shutil
import sys
import traceback as tracebacks
from collections.abc import Sequence
from contextlib import suppress
from functools import cache
from typing import IO, TYPE_CHECKING

from sashizu_cli.plain import one_line, printable, table_lines

if TYPE_CHECKING:
    from rich.console import Console
    from sashizu_core.redaction import Redactor

__all__ = [
    "error",
    "hint",
    "line",
    "markdown",
    "note",
    "prepare",
    "prompt",
    "raw",
    "reader_is_gone",
    "table",
    "terminal",
    "traceback",
    "warning",
    "without_keys",
    "without_secrets",
]


LONGEST_MARKDOWN = 100_000
"""Characters that are rendered; it takes a second or two for a million."""


def prepare() -> None:
    """Make stdout and stderr take any text, whatever the terminal's encoding.

    A stream that was closed before the start leads nowhere.
    """
    if sys.stdout is None:
        sys.stdout = open(os.devnull, "w", encoding="utf-8")  # noqa: SIM115, PTH123 - for good
    if sys.stderr is None:
        sys.stderr = open(os.devnull, "w", encoding="utf-8")  # noqa: SIM115, PTH123
    for stream in (sys.stdout, sys.stderr):
        reconfigure = getattr(stream, "reconfigure", None)
        if reconfigure is not None:
            reconfigure(errors="backslashreplace")


def terminal(stream: IO[str]) -> Console | None:
    """A console for a stream that is a terminal which can do more than print lines."""
    if not stream.isatty() or os.environ.get("TERM") == "dumb":
        return None
    from rich.console import Console

    return Console(file=stream, highlight=False, markup=False, emoji=False)


# --- results --------------------------------------------------------------------------------------


def line(text: str = "", *, style: str = "", to_stderr: bool = False) -> None:
    """Print text that may span lines; `style` is rich's and only counts on a terminal."""
    stream = sys.stderr if to_stderr else sys.stdout
    console = terminal(stream) if style else None
    if console is None:
        stream.write(printable(text) + "\n")
        stream.flush()
    else:
        console.print(printable(text), style=style, soft_wrap=True)


def raw(text: str) -> None:
    """Print what a program reads, unchanged: JSON, a shell script."""
    sys.stdout.write(text + "\n")
    sys.stdout.flush()


def reader_is_gone(error: OSError, platform: str = sys.platform) -> bool:
    """Whether what could not be printed failed because nobody reads it any more.

    Windows says EINVAL of a pipe whose other end is closed.
    """
    return isinstance(error, BrokenPipeError) or (
        platform == "win32" and error.errno == errno.EINVAL and error.filename is None
    )


def table(rows: Sequence[Sequence[str]]) -> None:
    """Print aligned columns, as wide as the terminal; the first row may be a heading."""
    width = shutil.get_terminal_size().columns if sys.stdout.isatty() else None
    for text in table_lines(rows, width):
        line(text)


def markdown(text: str, *, indent: int = 0, to_stderr: bool = False) -> None:
    """Print what a model wrote: rendered on a terminal, else as it is, indented."""
    console = terminal(sys.stderr if to_stderr else sys.stdout)
    text = printable(text).strip("\n")
    if console is None or len(text) > LONGEST_MARKDOWN:
        lines = (" " * indent + part if part else "" for part in text.split("\n"))
        line("\n".join(lines), to_stderr=to_stderr)
        return
    from rich.markdown import Markdown
    from rich.padding import Padding

    # no hyperlinks: what is shown and where it leads could differ
    console.print(Padding(Markdown(text, hyperlinks=False), (0, 0, 0, indent)))


# --- secrets --------------------------------------------------------------------------------------


@cache
def _redactor() -> Redactor:
    from sashizu_core.redaction import Redactor, secret_variables

    return Redactor(secret_variables(os.environ))


def without_secrets(text: str) -> str:
    """The text with a mark for every secret: for what comes from outside a run, such as errors."""
    return _redactor().text(text)


def without_keys(text: str) -> str:
    """The text with marks for our own keys alone: for what somebody decides on.

    What merely looks like a secret stays, so that nobody can hide a part of what is asked.
    """
    return _redactor().without_known(text)


# --- remarks --------------------------------------------------------------------------------------


def note(text: str) -> None:
    """Print one line about what goes on, on stderr."""
    _tell(f"sashizu: {one_line(text)}")


def warning(text: str) -> None:
    """Print something that works otherwise than asked, on stderr."""
    note(f"warning: {without_secrets(text)}")


def error(text: str) -> None:
    """Print what went wrong, on stderr; further lines are kept and indented."""
    _tell("sashizu: error: " + printable(without_secrets(text)).replace("\n", "\n  "))


def hint(text: str) -> None:
    """Print where to read more, on stderr."""
    _tell(f"  {one_line(text)}")


def prompt(text: str) -> None:
    """Print a question on stderr, and stay in its line for the answer."""
    sys.stdout.flush()
    sys.stderr.write(printable(text))
    sys.stderr.flush()


def traceback(fault: BaseException) -> None:
    """Print the whole traceback, for `-v`."""
    whole = "".join(tracebacks.format_exception(fault))
    _tell(printable(without_secrets(whole)).rstrip("\n"))


def _tell(text: str) -> None:
    with suppress(OSError, ValueError):  # what fails here fails again where it is a result
        sys.stdout.flush()  # so that both come in order where they end up in the same place
    with suppress(OSError, ValueError):  # a remark that nobody can read stops nothing
        sys.stderr.write(text + "\n")
        sys.stderr.flush()
