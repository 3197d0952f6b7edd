"""Reading patches: unified diffs, and the form that begins with `*** Begin Patch`."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Literal

__all__ = ["FilePatch", "Hunk", "PatchError", "read_patch"]

Op = Literal[" ", "-", "+"]


class PatchError(ValueError):
    """The text is no patch, or says something that is not done. Says the line, from 1."""


@dataclass(frozen=True, slots=True)
class Hunk:
    """One place of a change. `lines` are operations with their text, without line ends.

    `old_line` and `new_line` are where it should lie before and after, from 1 (0 before the first
    line); None where the patch does not say. `anchors` are lines that stand above it, outermost
    first; with `at_end` it ends with the file. `final_newline` is False where the new file's last
    line has no end.
    """

    lines: tuple[tuple[Op, str], ...]
    old_line: int | None = None
    new_line: int | None = None
    anchors: tuple[str, ...] = ()
    at_end: bool = False
    final_newline: bool = True

    @property
    def old(self) -> tuple[str, ...]:
        return tuple(text for op, text in self.lines if op != "+")

    @property
    def new(self) -> tuple[str, ...]:
        return tuple(text for op, text in self.lines if op != "-")


@dataclass(frozen=True, slots=True)
class FilePatch:
    """What happens to one file. `move_to` is its new path; an added file is all in its hunks."""

    action: Literal["add", "update", "delete"]
    path: str
    hunks: tuple[Hunk, ...] = ()
    move_to: str | None = None


def read_patch(text: str) -> tuple[FilePatch, ...]:
    """The files of a patch, in order, each named once.

    Raises:
        PatchError: see there.
    """
    lines = [line.removesuffix("\r") for line in text.split("\n")]
    is_begin_patch = text.lstrip().startswith("*** Begin Patch")
    files = tuple(_BeginPatch(lines).files() if is_begin_patch else _Unified(lines).files())
    if not files:
        raise PatchError("the patch names no file")
    seen: set[str] = set()
    for name in (name for file in files for name in (file.path, file.move_to) if name):
        if name in seen:
            raise PatchError(f"the patch names {name!r} more than once; make it one change")
        seen.add(name)
    return files


class _Lines:
    """Lines with a place in them."""

    def __init__(self, lines: Sequence[str]) -> None:
        self._lines = lines
        self._at = 0

    def peek(self) -> str | None:
        return self._lines[self._at] if self._at < len(self._lines) else None

    def next(self) -> str:
        line = self.peek()
        if line is None:
            raise self.fault("the patch ends too early", len(self._lines))
        self._at += 1
        return line

    def fault(self, message: str, number: int | None = None) -> PatchError:
        """An error about the line that was taken last."""
        return PatchError(f"line {number or self._at} of the patch: {message}")


# --- *** Begin Patch ------------------------------------------------------------------------------


class _BeginPatch:
    def __init__(self, lines: Sequence[str]) -> None:
        self._lines = _Lines(lines)

    def files(self) -> Iterator[FilePatch]:
        lines = self._lines
        while not lines.next().startswith("*** Begin Patch"):
            pass
        while (line := lines.next().rstrip()) != "*** End Patch":
            if path := self._after("*** Add File: ", line):
                yield FilePatch("add", path, self._added())
            elif path := self._after("*** Delete File: ", line):
                yield FilePatch("delete", path)
            elif path := self._after("*** Update File: ", line):
                yield self._updated(path)
            elif line:
                raise lines.fault(
                    f"expected '*** Add File: ', '*** Update File: ', '*** Delete File: ' or "
                    f"'*** End Patch', found {line[:60]!r}"
                )

    @staticmethod
    def _after(prefix: str, line: str) -> str:
        return line[len(prefix) :].strip() if line.startswith(prefix) else ""

    def _body(self) -> Iterator[str]:
        """The lines up to the next one that begins with `*** `."""
        while (line := self._lines.peek()) is not None and not line.startswith("*** "):
            yield self._lines.next()

    def _added(self) -> tuple[Hunk, ...]:
        added: list[tuple[Op, str]] = []
        for line in self._body():
            if not line.startswith("+"):
                raise self._lines.fault("every line of an added file begins with '+'")
            added.append(("+", line[1:]))
        return (Hunk(tuple(added)),)

    def _updated(self, path: str) -> FilePatch:
        lines = self._lines
        move_to = None
        if (line := lines.peek()) is not None and (to := self._after("*** Move to: ", line)):
            lines.next()
            move_to = to
        hunks: list[Hunk] = []
        while (line := lines.peek()) is not None and (
            not line.startswith("*** ") or line.rstrip() == "*** End of File"
        ):
            hunks.append(self._hunk())
        if not hunks and move_to is None:
            raise lines.fault(f"nothing is said to change in {path!r}")
        return FilePatch("update", path, tuple(hunks), move_to)

    def _hunk(self) -> Hunk:
        lines = self._lines
        anchors: list[str] = []
        while (line := lines.peek()) is not None and line.startswith("@@"):
            if anchor := lines.next()[2:].strip():
                anchors.append(anchor)
        body: list[tuple[Op, str]] = []
        while (line := lines.peek()) is not None and not line.startswith(("@@", "*** ")):
            body.append(_operation(lines))
        at_end = (line or "").rstrip() == "*** End of File"
        if at_end:
            lines.next()
        if not body:
            raise lines.fault("a change without lines")
        return Hunk(tuple(body), anchors=tuple(anchors), at_end=at_end)


def _operation(lines: _Lines) -> tuple[Op, str]:
    line = lines.next()
    if not line:
        return " ", ""  # an empty line of context, whose blank got lost
    match line[0]:
        case " ":
            return " ", line[1:]
        case "-":
            return "-", line[1:]
        case "+":
            return "+", line[1:]
        case _:
            raise lines.fault(f"expected ' ', '-' or '+' in front, found {line[:60]!r}")


# --- unified diffs --------------------------------------------------------------------------------

_HUNK = re.compile(r"@@ -(\d{1,9})(?:,(\d{1,9}))? \+(\d{1,9})(?:,(\d{1,9}))? @@")
_ESCAPE = re.compile(r"\\([0-7]{3}|.)")
_ESCAPES = {"a": 7, "b": 8, "t": 9, "n": 10, "v": 11, "f": 12, "r": 13, '"': 34, "\\": 92}
_NOT_DONE = {
    "GIT binary patch": "binary patches are not applied",
    "Binary files ": "binary patches are not applied",
    "copy from ": "copies are not made; add the file with its content",
    "old mode ": "file modes are not changed",
}
_SPECIAL_MODES = {"120000": "a symbolic link", "160000": "a submodule"}


def _unquoted(text: str) -> str:
    """A file name of a diff; git puts unusual ones into quotes, as C does."""
    if len(text) < 2 or not text.startswith('"') or not text.endswith('"'):
        return text
    data = bytearray()
    at = 0
    body = text[1:-1]
    for escape in _ESCAPE.finditer(body):
        data += body[at : escape.start()].encode()
        code = escape[1]
        number = int(code, 8) if code.isdigit() else _ESCAPES.get(code, -1)
        if not 0 <= number < 256:
            raise PatchError(f"{text!r} is no file name: there is no escape {escape[0]!r}")
        data.append(number)
        at = escape.end()
    data += body[at:].encode()
    try:
        return data.decode()
    except UnicodeDecodeError as error:
        raise PatchError(f"{text!r} is no file name: it is not UTF-8") from error


class _Unified:
    def __init__(self, lines: Sequence[str]) -> None:
        self._lines = _Lines(lines)
        self._header: dict[str, str] = {}

    def files(self) -> Iterator[FilePatch]:
        lines = self._lines
        while (line := lines.peek()) is not None:
            if line.startswith("--- "):
                yield self._file()
                continue
            if line.startswith("diff --git "):
                yield from self._bare()
                self._header = {"diff": line[len("diff --git ") :]}
            elif line.startswith("@@"):
                raise lines.fault("a hunk without the '--- ' and '+++ ' of its file")
            else:
                self._read_header(line)
            lines.next()
        yield from self._bare()

    def _read_header(self, line: str) -> None:
        for prefix, reason in _NOT_DONE.items():
            if self._header and line.startswith(prefix):
                raise self._lines.fault(reason)
        for key in ("rename from ", "rename to ", "new file mode ", "deleted file mode ", "index "):
            if self._header and line.startswith(key):
                self._header[key.strip()] = line[len(key) :].strip()
        for mode, kind in _SPECIAL_MODES.items():
            if self._header and line.rstrip().endswith(f" {mode}"):
                raise self._lines.fault(f"the patch is about {kind}, which is not changed")

    def _bare(self) -> Iterator[FilePatch]:
        """What a git header says that no hunk follows: renames, empty files."""
        header, self._header = self._header, {}
        if "rename from" in header and "rename to" in header:
            old, new = _unquoted(header["rename from"]), _unquoted(header["rename to"])
            yield FilePatch("update", old, (), new)
        elif "new file mode" in header or "deleted file mode" in header:
            path = self._name_of_both(header["diff"])
            if "new file mode" in header:
                yield FilePatch("add", path, (Hunk(()),))
            else:
                yield FilePatch("delete", path)

    def _name_of_both(self, text: str) -> str:
        """The name in `a/NAME b/NAME`; the name itself may hold blanks."""
        if text.startswith('"'):
            return _unquoted(text[: text.index('" ') + 1])[2:]
        half = (len(text) - 1) // 2
        if text[2:half] != text[half + 3 :]:
            raise self._lines.fault("the header of git names two files")
        return text[2:half]

    def _file(self) -> FilePatch:
        lines = self._lines
        old = self._named(lines.next()[4:])
        line = lines.next()
        if not line.startswith("+++ "):
            raise lines.fault("expected '+++ ' after '--- '")
        new = self._named(line[4:])
        if (old is None or old.startswith("a/")) and (new is None or new.startswith("b/")):
            old, new = (name and name[2:] for name in (old, new))
        header, self._header = self._header, {}
        hunks: list[Hunk] = []
        while (line_ := lines.peek()) is not None and line_.startswith("@@"):
            hunks.append(self._hunk())
        self._check_end()
        return self._file_patch(old, new, tuple(hunks), "rename from" in header)

    def _named(self, text: str) -> str | None:
        name = _unquoted(text.partition("\t")[0].rstrip())
        return None if name == "/dev/null" else name

    def _file_patch(
        self, old: str | None, new: str | None, hunks: tuple[Hunk, ...], renamed: bool
    ) -> FilePatch:
        if not hunks:
            raise self._lines.fault("a file without a hunk ('@@ -1,3 +1,4 @@')")
        if old is None and new is None:
            raise self._lines.fault("both names are /dev/null")
        if old is None or new is None:
            return FilePatch("delete", old, hunks) if old else FilePatch("add", new or "", hunks)
        if old != new and not renamed:
            raise self._lines.fault(
                f"the two names differ: {old!r}, {new!r}; a rename says 'rename from' and "
                "'rename to'"
            )
        return FilePatch("update", old, hunks, new if old != new else None)

    def _hunk(self) -> Hunk:
        lines = self._lines
        head = _HUNK.match(lines.next())
        if head is None:
            raise lines.fault("a hunk begins with '@@ -LINE,COUNT +LINE,COUNT @@'")
        old_left, new_left = (int(head[n]) if head[n] else 1 for n in (2, 4))
        body: list[tuple[Op, str]] = []
        final_newline = True
        while old_left > 0 or new_left > 0 or (lines.peek() or "").startswith("\\"):
            if (lines.peek() or "").startswith("\\"):
                lines.next()
                final_newline = final_newline and bool(body) and body[-1][0] == "-"
                continue
            op, text = _operation(lines)
            old_left -= op != "+"
            new_left -= op != "-"
            body.append((op, text))
        if old_left or new_left:
            raise lines.fault("the hunk has more lines than its '@@' line counts")
        return Hunk(tuple(body), int(head[1]), int(head[3]), final_newline=final_newline)

    def _check_end(self) -> None:
        """After the last hunk of a file, a further line of a hunk means that the counts are off."""
        line = self._lines.peek() or ""
        if line[:1] in ("+", "-", " ") and not line.startswith(("--- ", "-- ")) and line != "--":
            self._lines.next()
            raise self._lines.fault("the hunk has more lines than its '@@' line counts")
