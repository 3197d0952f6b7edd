"""The prompt of `audit sql` on a terminal: the one module that knows prompt_toolkit."""

from __future__ import annotations

import os
import signal
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING, NoReturn

from prompt_toolkit import PromptSession
from prompt_toolkit.completion import Completer, Completion
from prompt_toolkit.history import FileHistory, History, InMemoryHistory
from prompt_toolkit.key_binding import KeyBindings
from sashizu_core.errors import SashizuError
from sashizu_core.unfollowed import open_unfollowed

from sashizu_audit.conversation import Conversation, Left
from sashizu_audit.layout import make_private
from sashizu_audit.options import plain
from sashizu_audit.statements import is_whole, split_statements, under_cursor
from sashizu_audit.vocabulary import Vocabulary

if TYPE_CHECKING:
    from types import FrameType

    from prompt_toolkit.completion import CompleteEvent
    from prompt_toolkit.document import Document
    from prompt_toolkit.key_binding import KeyPressEvent

__all__ = ["converse", "open_history"]

PROMPT = "sql> "
GOES_ON = "...> "

MOST_HISTORY = 512 * 1024
"""Bytes of history that are kept when a prompt opens; the newest half of a longer one."""


class _Words(Completer):
    def __init__(self, vocabulary: Vocabulary) -> None:
        self._vocabulary = vocabulary

    def get_completions(self, document: Document, event: CompleteEvent) -> Iterator[Completion]:  # noqa: ARG002 - their signature
        before = under_cursor(document.text_before_cursor)
        word, offers = self._vocabulary.offers(before, document.text_after_cursor)
        for offer in offers:
            yield Completion(offer, start_position=-len(word))


def _keys() -> KeyBindings:
    keys = KeyBindings()

    @keys.add("enter")
    def _enter(event: KeyPressEvent) -> None:
        """A whole statement is run, half of one goes on in the next line."""
        buffer = event.current_buffer
        if is_whole(buffer.text):
            buffer.validate_and_handle()
        else:
            buffer.insert_text("\n")

    return keys


def open_history(path: Path, warn: Callable[[str], None]) -> History:
    """What was typed before, in a file for its owner alone; in memory where none can be written.

    A statement that begins with a blank is not kept.
    """
    try:
        make_private(path.parent)
        fd = open_unfollowed(path, os.O_CREAT | os.O_RDWR)
        try:
            if os.name == "posix":
                os.fchmod(fd, 0o600)
            _shorten(fd)
        finally:
            os.close(fd)
    except OSError as error:
        warn(f"no history is kept: {error.strerror or error}")
        return InMemoryHistory()
    return _History(str(path))


class _History(FileHistory):
    def store_string(self, string: str) -> None:
        if not string.startswith(" "):
            with suppress(OSError):  # a full disk must not end the conversation
                super().store_string(string)


def _shorten(fd: int) -> None:
    """Keep the newest half of a history that has grown too long."""
    size = os.fstat(fd).st_size
    if size <= MOST_HISTORY:
        return
    os.lseek(fd, size - MOST_HISTORY // 2, os.SEEK_SET)
    kept = os.read(fd, MOST_HISTORY).partition(b"\n\n#")[2]
    os.ftruncate(fd, 0)
    os.lseek(fd, 0, os.SEEK_SET)
    os.write(fd, b"\n#" + kept)


def converse(
    conversation: Conversation,
    vocabulary: Vocabulary,
    history: History,
    complain: Callable[[str], None],
) -> None:
    """Read statements at the terminal and answer them, until somebody leaves. Blocks.

    `complain` prints what went wrong with a statement.
    """
    session: PromptSession[str] = PromptSession(
        multiline=True,
        prompt_continuation=GOES_ON,
        completer=_Words(vocabulary),
        complete_while_typing=False,
        enable_history_search=True,
        history=history,
        key_bindings=_keys(),
    )
    with _interrupts_raised():
        _take_statements(session, conversation, complain)


def _take_statements(
    session: PromptSession[str], conversation: Conversation, complain: Callable[[str], None]
) -> None:
    while True:
        try:
            text = session.prompt(PROMPT, handle_sigint=False)
        except KeyboardInterrupt:
            continue  # the statement is dropped
        except EOFError:
            return
        script = split_statements(text)
        for statement in script.statements:
            try:
                conversation.take(statement)
            except Left:
                return
            except SashizuError as error:
                complain("\n".join(map(plain, str(error).splitlines())))
                break
            except KeyboardInterrupt:
                complain("interrupted")
                break


@contextmanager
def _interrupts_raised() -> Iterator[None]:
    """Have Ctrl-C raise KeyboardInterrupt wherever it comes.

    Python's own handler does so too, but asyncio puts its own in the place of just that one, as
    does the prompt: between a statement's end and its start they would hear the signal and drop it.
    """

    def interrupt(_signal: int, _frame: FrameType | None) -> NoReturn:
        raise KeyboardInterrupt

    before = signal.signal(signal.SIGINT, interrupt)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, before)
