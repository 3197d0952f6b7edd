"""What is typed or piped into `audit sql`, statement by statement; knows no terminal."""

from __future__ import annotations

import shlex
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

from sashizu_core.errors import UsageError, nearest

from sashizu_audit.statements import says_something
from sashizu_audit.vocabulary import COMMANDS, FORMATS

if TYPE_CHECKING:
    from sashizu_audit.rows import Rows

__all__ = ["Ask", "Conversation", "Left"]


class Ask(Protocol):
    """Asks the record, and puts on record that it was asked."""

    def __call__(self, sql: str, params: Sequence[object] | Mapping[str, object] = ()) -> Rows: ...


class Left(Exception):
    """Somebody said that it is enough."""


@dataclass(slots=True)
class Conversation:
    """`say` prints lines, `width` tells how wide they may be, None for as wide as they are.

    `views` are names and columns of the views, `run_id` finds a run by what was typed.
    """

    ask: Ask
    say: Callable[[str], None]
    views: Mapping[str, Sequence[tuple[str, str]]]
    run_id: Callable[[str], str]
    width: Callable[[], int | None]
    fmt: str = "table"

    def __post_init__(self) -> None:
        check_format(self.fmt)

    def take(self, statement: str) -> None:
        r"""Answer one statement, or do what one command says.

        Raises:
            Left: it was `\q`.
            SashizuError: it cannot be answered; says why.
        """
        if not says_something(statement):
            return
        if statement.startswith("\\"):
            self._command(statement)
        else:
            self._show(self.ask(statement))

    def _command(self, text: str) -> None:
        name, _, rest = text.rstrip("; \t").partition(" ")
        words = rest.split()
        match name:
            case r"\q":
                raise Left
            case r"\?" | r"\h":
                self.say("\n".join(f"{name}  {told}" for name, told in COMMANDS.items()))
                self.say("everything else is SQL over the views, and ends with a semicolon")
            case r"\d":
                self._describe(words)
            case r"\l":
                self._list()
            case r"\r":
                self._canned(rest)
            case r"\f":
                self._format(words)
            case _:
                raise UsageError(
                    f"there is no command {name!r}{nearest(name, COMMANDS)}; \\? lists them"
                )

    def _describe(self, words: Sequence[str]) -> None:
        if not words:
            self.say("\n".join(self.views))
            return
        view = words[0].lower()
        if view not in self.views:
            raise UsageError(
                f"there is no view {words[0]!r}{nearest(view, self.views)}; \\d lists them"
            )
        columns = self.views[view]
        wide = max(len(name) for name, _ in columns)
        self.say("\n".join(f"{name:<{wide}}  {kind}" for name, kind in columns))

    def _list(self) -> None:
        from sashizu_audit.canned import all_canned

        for canned in all_canned():
            takes = "".join(f" [{one.name}={one.default}]" for one in canned.parameters)
            self.say(f"{canned.name}{takes}: {canned.summary}")

    def _canned(self, rest: str) -> None:
        from sashizu_audit.canned import find_canned

        try:
            words = shlex.split(rest)
        except ValueError as error:
            raise UsageError(f"{rest!r} cannot be read: {error}") from error
        if not words:
            raise UsageError("which query? \\l lists them")
        canned = find_canned(words[0])
        self._show(self.ask(canned.sql, canned.values(words[1:], self.run_id)))

    def _format(self, words: Sequence[str]) -> None:
        if not words:
            self.say(self.fmt)
            return
        check_format(words[0])
        self.fmt = words[0]

    def _show(self, rows: Rows) -> None:
        from sashizu_audit.tables import as_text

        self.say(as_text(rows, self.fmt, width=self.width()))  # type: ignore[arg-type]


def check_format(fmt: str) -> None:
    """See that rows can be printed so.

    Raises:
        UsageError: they cannot.
    """
    if fmt not in FORMATS:
        raise UsageError(
            f"unknown format {fmt!r}{nearest(fmt, FORMATS)}; known: {', '.join(FORMATS)}"
        )
