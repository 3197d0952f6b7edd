"""Reading unified diffs, with what git writes around them."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence

from sashizu_core.builtin.patch_lines import FilePatch, Hunk, Op, PatchError, PatchLines, operation

__all__ = ["UnifiedDiff"]

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


class UnifiedDiff:
    """The files of a diff."""

    def __init__(self, lines: Sequence[str]) -> None:
        self._lines = PatchLines(lines)
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
            op, text = operation(lines)
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
