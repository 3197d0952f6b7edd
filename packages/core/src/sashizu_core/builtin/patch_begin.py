"""Reading the form of patches that begins with `*** Begin Patch`."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from sashizu_core.builtin.patch_lines import FilePatch, Hunk, Op, PatchLines, operation

__all__ = ["BeginPatch"]


class BeginPatch:
    """The files of a patch in this form."""

    def __init__(self, lines: Sequence[str]) -> None:
        self._lines = PatchLines(lines)

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
            body.append(operation(lines))
        at_end = (line or "").rstrip() == "*** End of File"
        if at_end:
            lines.next()
        if not body:
            raise lines.fault("a change without lines")
        return Hunk(tuple(body), anchors=tuple(anchors), at_end=at_end)
