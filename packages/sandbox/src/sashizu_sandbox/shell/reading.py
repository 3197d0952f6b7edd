"""Reads the arguments of a command by the table of its program."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Literal

from sashizu_core.errors import ToolError

from sashizu_sandbox.shell.scripts import jq_doubt, sed_doubt
from sashizu_sandbox.shell.tables.model import Kind, Table

__all__ = ["Reading", "read_command"]


@dataclass(slots=True)
class Reading:
    """What a command line of one program means.

    `words` are the command as it is judged; `inserted` are options that are put into it at `at`
    when it runs. `paths` are texts as they were written, relative to where it runs; `touches` are
    paths of the workspace, `inside` those that a revision names, relative to where it runs or to
    the repository. `doubt` is the first thing that was not understood, empty if all was.
    """

    words: list[str]
    paths: list[tuple[str, Literal["read", "write"]]] = field(default_factory=list)
    touches: list[tuple[str, Literal["read", "write"]]] = field(default_factory=list)
    inside: list[str] = field(default_factory=list)
    any_code: bool = False
    doubt: str = ""
    environment: Mapping[str, str] = field(default_factory=dict)
    inserted: tuple[str, ...] = ()
    at: int = 0

    @property
    def argv(self) -> tuple[str, ...]:
        """What is executed."""
        return (*self.words[: self.at], *self.inserted, *self.words[self.at :])


def read_command(words: Sequence[str], table: Table, *, piped: bool = False) -> Reading:
    """Read one command; `piped` says that another one writes into it.

    Raises:
        ToolError: an option that is never allowed, or a program that is not.
    """
    if table.never:
        raise ToolError(f"{words[0]!r} is not run: {table.never}")
    reading = Reading([words[0]], any_code=table.any_code)
    _Reader(reading, list(words[1:]), piped).read(table, words[0])
    return reading


_FOR_FILES: dict[Kind, Literal["read", "write"]] = {
    "read": "read",
    "write": "write",
    "revision": "read",
    "archive": "read",
}
_SCRIPTS = {"sed": sed_doubt, "jq": jq_doubt}


class _Reader:
    """One pass over the words; `left` are those that no table has taken yet."""

    def __init__(self, reading: Reading, left: list[str], piped: bool) -> None:
        self._reading = reading
        self._left = left
        self._piped = piped
        self._operands: list[str] = []
        self._options: set[str] = set()

    def read(self, table: Table, name: str) -> None:
        """Read what is left by a table; `name` are the program and subcommands so far."""
        self._name, self._table = name, table
        self._reading.environment = {**self._reading.environment, **table.environment}
        self._reading.touches += table.touches
        if table.any_code:
            self._any_code()
        elif table.style == "find":
            self._find()
        elif table.style == "plain":
            self._operands += [self._take() for _ in self._left[:]]
            self._assign_operands()
        elif table.subcommands:
            self._subcommand()
        else:
            self._getopt()

    # --- what was found ---------------------------------------------------------------------------

    def _doubt(self, text: str) -> None:
        self._reading.doubt = self._reading.doubt or text

    def _refuse(self, option: str) -> None:
        if why := self._table.refused.get(option):
            raise ToolError(f"{self._name!r} does not get {option!r}: {why}")

    def _value(self, kind: Kind, text: str, of: str) -> None:
        if access := _FOR_FILES.get(kind):
            if text.startswith("@") and kind != "revision":
                self._doubt(f"{text!r} may name a file of further arguments: write './{text}'")
            self._path(kind, access, text)
        elif kind == "format" and not text.startswith("+"):
            self._doubt(f"{text!r} is no format: it begins with '+'")
        elif (check := _SCRIPTS.get(kind)) and (doubt := check(text)):
            self._doubt(f"{of}: {doubt}")

    def _path(self, kind: Kind, access: Literal["read", "write"], text: str) -> None:
        if text in ("", "/dev/null") or (text == "-" and access == "read"):
            return
        if kind == "archive" and ":" in text:
            self._doubt(f"{text!r} may name another machine")
        if kind == "revision" and (inside := text.partition(":")[2].lstrip("/")):
            self._reading.inside.append(inside)
        if access == "write" and self._options & self._table.looking:
            access = "read"
        elif access == "read" and self._options & self._table.writing:
            self._reading.paths.append((text, "write"))
        self._reading.paths.append((text, access))

    def _take(self) -> str:
        word = self._left.pop(0)
        self._reading.words.append(word)
        return word

    # --- options as getopt_long reads them --------------------------------------------------------

    def _getopt(self) -> None:
        first_operand = 0
        if self._table.old_style and self._left and not self._left[0].startswith("-"):
            self._old_bundle(self._take())
        while self._left:
            word = self._left[0]
            if word == "--":
                first_operand = first_operand or len(self._reading.words)
                self._take()
                while self._left:
                    self._operands.append(self._take())
            elif word == "-" or not word.startswith("-"):
                first_operand = first_operand or len(self._reading.words)
                self._operands.append(self._take())
            else:
                self._option(self._take())
        self._reading.at = first_operand or len(self._reading.words)
        self._reading.inserted = self._table.inserted
        self._assign_operands()

    def _option(self, word: str) -> None:
        table = self._table
        name, equals, value = word.partition("=")
        self._refuse(name)
        if word in table.dropped:
            self._reading.words.pop()
        elif word in table.values:
            self._options.add(word)
            self._following(word)
        elif word in table.flags or word in table.optional:
            self._options.add(word)
        elif equals and (kinds := self._attachable(name)):
            self._options.add(name)
            self._value(kinds, value, name)
        elif word.startswith("--"):
            self._doubt(f"{name!r} is no option of {self._name!r} that is known here")
        elif not (table.numbers and word[1:].isdigit()):
            self._bundle(word)

    def _attachable(self, name: str) -> Kind | None:
        kinds = self._table.values.get(name)
        if kinds is not None and len(kinds) == 1:
            return kinds[0]
        return self._table.optional.get(name)

    def _following(self, option: str) -> None:
        """The values of an option that are words of their own.

        One whose value may be left out takes the next word, if that is no option.
        """
        if option in self._table.optional and (not self._left or self._left[0].startswith("-")):
            return
        for kind in self._table.values[option]:
            if not self._left:
                self._doubt(f"{option!r} of {self._name!r} lacks its value")
                return
            word = self._left[0]
            if word.startswith("-") and word != "-":
                self._doubt(f"the value of {option!r} may be taken for an option: attach it")
            self._value(kind, self._take(), option)

    def _bundle(self, word: str) -> None:
        """Short options in one word, the last of which may have its value in it, or after it."""
        table = self._table
        for at in range(1, len(word)):
            option, rest = f"-{word[at]}", word[at + 1 :]
            self._refuse(option)
            if option in table.flags:
                self._options.add(option)
                if rest and option in table.writing:
                    self._doubt(f"{word!r} is not understood: write {option!r} on its own")
            elif option in table.values:
                self._options.add(option)
                if not rest:
                    self._following(option)
                elif len(table.values[option]) == 1:
                    self._value(table.values[option][0], rest, option)
                else:
                    self._doubt(f"{word!r} is not understood")
                return
            elif option in table.optional:
                if rest:
                    self._value(table.optional[option], rest, option)
                return
            else:
                self._doubt(f"{word!r} is no option of {self._name!r} that is known here")
                return

    def _old_bundle(self, word: str) -> None:
        """Options in one word without a dash, as tar has them: their values follow, in order."""
        for letter in word:
            option = f"-{letter}"
            self._refuse(option)
            if option in self._table.values:
                self._options.add(option)
                self._following(option)
            elif option in self._table.flags:
                self._options.add(option)
            else:
                self._doubt(f"{option!r} is no option of {self._name!r} that is known here")

    def _assign_operands(self) -> None:
        table, given = self._table, self._operands
        kinds: list[Kind | None] = list(
            table.operands[1:] if self._options & table.instead else table.operands
        )
        kinds += [table.rest] * (len(given) - len(kinds))
        if table.last is not None and len(given) > 1:
            kinds[len(given) - 1] = table.last
        paths = False
        for text, kind in zip(given, kinds, strict=False):
            if kind is None:
                self._doubt(f"{self._name!r} takes no argument {text!r}")
            else:
                self._value(kind, text, self._name)
                paths = paths or kind in _FOR_FILES
        if not paths and self._reads_cwd():
            self._value("write" if self._table.rest == "write" else "read", ".", self._name)
        if self._fills_cwd():
            self._reading.paths.append((".", "write"))

    def _fills_cwd(self) -> bool:
        table = self._table
        if self._options & table.looking or any(kind == "write" for _, kind in self._reading.paths):
            return False
        return table.fills or bool(self._options & table.filling)

    def _reads_cwd(self) -> bool:
        match self._table.reads_cwd:
            case "always":
                return True
            case "alone":
                return not self._piped or bool(self._options & self._table.walking)
            case "with":
                return bool(self._options & self._table.walking)
            case _:
                return False

    # --- others -----------------------------------------------------------------------------------

    def _subcommand(self) -> None:
        while self._left and self._left[0].startswith("-"):
            self._option(self._take())
        if not self._left:
            self._reading.touches += self._table.alone
            return
        name = self._take()
        table = self._table.subcommands.get(name)
        if table is None:
            self._doubt(f"{self._name} {name!r} is not known here")
            return
        if table.never:
            raise ToolError(f"'{self._name} {name}' is not run: {table.never}")
        self._reading.any_code = self._reading.any_code or table.any_code
        self.read(table, f"{self._name} {name}")

    def _any_code(self) -> None:
        while self._left and self._left[0] != "--":
            self._refuse(self._take().partition("=")[0])
        self._reading.words += self._left

    def _find(self) -> None:
        """Starting points, then an expression, each word of which has a fixed number of values."""
        table = self._table
        while self._left and self._left[0] in table.flags:
            self._take()
        while self._left and self._left[0][:1] not in ("-", "(", "!", ")", ","):
            self._operands.append(self._take())
        self._assign_operands()
        while self._left:
            word = self._take()
            self._refuse(word)
            if word in table.values:
                self._find_values(word)
            elif word not in table.optional:
                self._doubt(f"{word!r} is no test of {self._name!r} that is known here")

    def _find_values(self, word: str) -> None:
        for kind in self._table.values[word]:
            if not self._left:
                self._doubt(f"{word!r} of {self._name!r} lacks its value")
                return
            self._value(kind, self._take(), word)
