"""Applying the hunks of one file to its text: exactly, or not at all."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from sashizu_core.builtin.patch_text import Hunk

__all__ = ["Applied", "DoesNotApply", "added_text", "applied"]


class DoesNotApply(ValueError):
    """The text is not the one that the patch was made for; says where."""


class _Ambiguous(DoesNotApply):
    """A hunk fits in several places."""


@dataclass(frozen=True, slots=True)
class Applied:
    """The text after the patch, and whether it was so before."""

    text: str
    already: bool


@dataclass(frozen=True, slots=True)
class _Places:
    """Where hunks fit, as indexes of lines. `score` tells better fits from worse.

    It counts the hunks that lie where the patch says, then the lines that were compared.
    """

    starts: tuple[int, ...]
    score: tuple[int, int]


def _raw_lines(text: str) -> list[str]:
    """Lines with their ends."""
    lines = text.split("\n")
    last = lines.pop()
    return [line + "\n" for line in lines] + ([last] if last else [])


def _bare(line: str) -> str:
    """A line as patches write it."""
    return line.removesuffix("\n").removesuffix("\r").removeprefix("\ufeff")


def added_text(hunks: Sequence[Hunk]) -> str:
    """The text of a file that a patch adds."""
    lines = [line for hunk in hunks for line in hunk.new]
    ended = all(hunk.final_newline for hunk in hunks)
    return "\n".join(lines) + ("\n" if lines and ended else "")


def applied(text: str, hunks: Sequence[Hunk]) -> Applied:
    """The text with all hunks applied, or as it is when they are applied already.

    Both can be true of a text, when a line is added next to an equal one: the longer of the two
    images is the one that says more about the text.

    Raises:
        DoesNotApply: see there.
    """
    raw = _raw_lines(text)
    lines = [_bare(line) for line in raw]
    after = _try_places(lines, hunks, new=True)
    try:
        before = _places(lines, hunks, new=False)
    except _Ambiguous:
        raise
    except DoesNotApply:
        if after is None:
            raise
        return Applied(text, already=True)
    if after is not None and after.score > before.score:
        return Applied(text, already=True)
    result = _replaced(raw, hunks, before.starts)
    return Applied(result, already=result == text)


def _try_places(lines: Sequence[str], hunks: Sequence[Hunk], *, new: bool) -> _Places | None:
    try:
        return _places(lines, hunks, new=new)
    except DoesNotApply:
        return None


def _places(lines: Sequence[str], hunks: Sequence[Hunk], *, new: bool) -> _Places:
    """Where the old (or the new) images of all hunks lie, one after the other."""
    starts: list[int] = []
    floor = drift = exact = 0
    for number, hunk in enumerate(hunks, 1):
        image = hunk.new if new else hunk.old
        if new and not image and lines:
            raise DoesNotApply("it leaves no line by which it could be told to be applied")
        hint = _hint(hunk, new=new)
        start = _find(lines, hunk, image, floor, None if hint is None else hint + drift, number)
        if hint is not None:
            exact += start == hint
            drift = start - hint
        starts.append(start)
        floor = start + len(image)
    size = sum(len(hunk.new if new else hunk.old) for hunk in hunks)
    return _Places(tuple(starts), (exact, size))


def _hint(hunk: Hunk, *, new: bool) -> int | None:
    """The index at which an image should begin; an empty one lies after the line that is named."""
    line = hunk.new_line if new else hunk.old_line
    if line is None:
        return None
    return line if not (hunk.new if new else hunk.old) else line - 1


def _find(
    lines: Sequence[str],
    hunk: Hunk,
    image: Sequence[str],
    floor: int,
    hint: int | None,
    number: int,
) -> int:
    """Where one image lies, at or after `floor`."""
    for anchor in hunk.anchors:
        floor = _after_anchor(lines, anchor, floor, number)
    if not image:
        return _empty_place(lines, hunk, floor, hint, number)
    if hint is not None and hint >= floor and _fits(lines, image, hint):
        return hint
    if hunk.at_end:
        end = len(lines) - len(image)
        found = [end] if end >= floor and _fits(lines, image, end) else []
    else:
        found = [at for at in range(floor, len(lines)) if _fits(lines, image, at)]
    if not found:
        raise DoesNotApply(_not_found(lines, image, floor, hint, number))
    if len(found) > 1 and not hunk.anchors:
        places = ", ".join(str(at + 1) for at in found[:5])
        raise _Ambiguous(
            f"change {number} fits in several places (lines {places}); give more context lines"
        )
    return found[0]


def _empty_place(
    lines: Sequence[str], hunk: Hunk, floor: int, hint: int | None, number: int
) -> int:
    """Where lines go that come without context: where the patch says, else at the end."""
    if hint is None:
        return floor if hunk.anchors else len(lines)
    if not floor <= hint <= len(lines):
        raise DoesNotApply(f"change {number} lies at line {hint}, the file has {len(lines)}")
    return hint


def _fits(lines: Sequence[str], image: Sequence[str], at: int) -> bool:
    if not 0 <= at < len(lines) or lines[at] != image[0]:
        return False
    return list(lines[at : at + len(image)]) == list(image)


def _after_anchor(lines: Sequence[str], anchor: str, floor: int, number: int) -> int:
    for at in range(floor, len(lines)):
        if lines[at].strip() == anchor:
            return at + 1
    raise DoesNotApply(
        f"change {number}: there is no line {anchor[:80]!r} from line {floor + 1} on"
    )


def _not_found(
    lines: Sequence[str], image: Sequence[str], floor: int, hint: int | None, number: int
) -> str:
    """What was expected, and what is there instead, where the patch says where."""
    text = f"change {number}: its {len(image)} old lines, from {image[0][:80]!r} on, are not there"
    if hint is not None and 0 <= hint < len(lines):
        for offset, wanted in enumerate(image):
            at = hint + offset
            if at >= len(lines) or lines[at] != wanted:
                return f"{text}; line {at + 1} is not {wanted[:80]!r}"
    return f"{text} (looked from line {floor + 1} on); read the file again"


def _replaced(raw: Sequence[str], hunks: Sequence[Hunk], starts: Sequence[int]) -> str:
    """The text with the old images at `starts` replaced. Context keeps its bytes."""
    crlf = sum(line.endswith("\r\n") for line in raw)
    end = "\r\n" if crlf * 2 > len(raw) else "\n"
    out: list[str] = []
    at = 0
    for hunk, start in zip(hunks, starts, strict=True):
        out += raw[at:start]
        at = start
        for op, text in hunk.lines:
            if op == "+":
                out.append(text + end)
            else:
                out += [raw[at]] if op == " " else []
                at += 1
        if at == len(raw) and not hunk.final_newline and out:
            out[-1] = out[-1].removesuffix("\n").removesuffix("\r")
    out += raw[at:]
    ended = [line if line.endswith("\n") else line + end for line in out[:-1]]
    return "".join([*ended, *out[-1:]])
