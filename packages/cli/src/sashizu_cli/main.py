"""The real app: parses the words, runs one command, and turns every error into an exit code."""

from __future__ import annotations

import errno
import logging
import os
import sys
from pathlib import Path
from typing import Annotated

import typer
from sashizu_core.errors import SashizuError

import sashizu_cli
from sashizu_cli import render
from sashizu_cli.exits import FAILED, INTERRUPTED, OK, USAGE
from sashizu_cli.group import Root
from sashizu_cli.plain import printable
from sashizu_cli.session import Session
from sashizu_cli.shared import shared_params, spelled_out

__all__ = ["main", "root_command"]

SUMMARY = """Direct many LLM agents at once under one budget, one policy, one ledger.

A prompt instead of a command means 'run': sashizu "Why does the build fail?"
"""


def _show_version(asked: bool) -> None:
    if asked:
        render.line(f"sashizu {sashizu_cli.__version__}")
        raise typer.Exit


def _root(
    version: Annotated[
        bool,
        typer.Option(
            "--version", callback=_show_version, is_eager=True, help="Show the version and exit."
        ),
    ] = False,
) -> None:
    """Only its options count; `Root` finds the command."""


def root_command() -> Root:
    """The root command; no other is loaded by it."""
    app = typer.Typer(add_completion=False, rich_markup_mode=None)
    app.callback(cls=Root, help=SUMMARY)(_root)
    root = typer.main.get_command(app)
    assert isinstance(root, Root)
    root.params += shared_params()
    return root


def main(words: list[str]) -> int:
    """Run the command line on these words (without the program's name).

    Returns:
        The exit code, see `sashizu_cli.exits`.
    """
    render.prepare()
    session = Session()
    try:
        return _run(words, session)
    except KeyboardInterrupt:
        render.error("interrupted")
        return INTERRUPTED
    except Exception as error:  # noqa: BLE001 - the last place where an error can become words
        return _failed(error, session)


def _run(words: list[str], session: Session) -> int:
    if "_SASHIZU_COMPLETE" in os.environ:
        from typer.completion import get_completion_inspect_parameters

        get_completion_inspect_parameters()  # registers typer's shells
    _log_to_stderr(session)
    root = root_command()
    words = spelled_out(words)
    if words[:1] == ["help"]:
        words = [*words[1:], "--help"]
    if not words and "_SASHIZU_COMPLETE" not in os.environ:
        with typer.Context(root, info_name="sashizu", **root.context_settings) as context:
            render.line(context.get_help(), to_stderr=True)
        return USAGE
    result = root.main(args=words, prog_name="sashizu", standalone_mode=False, obj=session)
    sys.stdout.flush()
    return result if isinstance(result, int) else OK


def _failed(error: BaseException, session: Session) -> int:
    """Say what went wrong; returns the exit code."""
    while isinstance(error, BaseExceptionGroup) and len(error.exceptions) == 1:
        error = error.exceptions[0]
    if isinstance(error, OSError) and render.reader_is_gone(error):
        # Nothing may be flushed to it at exit either.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return FAILED
    if session.verbose:
        render.traceback(error)
    if isinstance(error, SashizuError):
        render.error(str(error))
        return error.exit_code
    if isinstance(error, typer.TyperException):
        context = getattr(error, "ctx", None)
        render.error(error.format_message())
        if context is not None:
            render.hint(f"'{context.command_path} --help' shows what there is")
        return error.exit_code
    if isinstance(error, OSError) and error.errno in _NO_ROOM and error.filename is None:
        # What could not be written is still in the buffer, and must not fail again at exit.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        render.error(f"cannot write the output: {(error.strerror or '').lower()}; it is not whole")
        return FAILED
    if isinstance(error, FileNotFoundError) and not _is_somewhere():
        render.error("the current folder is gone: change to one that is there, or name one with -C")
        return USAGE
    render.error(f"unexpected {type(error).__name__}: {error}")
    if not session.verbose:
        render.hint("-v shows where it comes from")
    return FAILED


_NO_ROOM = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EIO)
"""What the system says of an output that takes no more."""


def _is_somewhere() -> bool:
    """Whether the working directory is still there."""
    try:
        Path.cwd()
    except FileNotFoundError:
        return False
    return True


class _ShortFormatter(logging.Formatter):
    """One line per record; the traceback only for `-v`."""

    def __init__(self, session: Session) -> None:
        super().__init__("sashizu: %(word)s: %(message)s")
        self._session = session

    def format(self, record: logging.LogRecord) -> str:
        record.word = record.levelname.lower()
        if self._session.verbose or not record.exc_info:
            return render.without_secrets(super().format(record))
        short = logging.makeLogRecord({**record.__dict__, "exc_info": None, "exc_text": None})
        text = f"{super().format(short)}: {record.exc_info[1]}"
        return printable(render.without_secrets(text))


def _log_to_stderr(session: Session) -> None:
    handler = logging.StreamHandler()
    handler.setFormatter(_ShortFormatter(session))
    logging.basicConfig(level=logging.WARNING, handlers=[handler])
