"""Values that are known to be secret, found in whatever form they are written."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from sashizu_core.redaction.spans import Span
from sashizu_core.redaction.suspicion import holds_any_of
from sashizu_core.redaction.values import LEAST_LENGTH, forms

__all__ = ["SPACES", "KnownValues"]

SPACES = " \n\t\r"
"""What parts words."""


class KnownValues:
    """Finds known values.

    `longest` is the length of their longest form, `with_space` are the forms of several words.
    Values that stand in one of `marks` are left out: no mark could be told from them.
    """

    def __init__(self, values: Iterable[str], marks: Iterable[str]) -> None:
        self.longest = 0
        self.with_space: tuple[str, ...] = ()
        self._value_of: dict[str, str] = {}
        words = tuple(marks)
        for value in sorted({value.strip() for value in values}, key=len):
            if len(value) >= LEAST_LENGTH and not any(value in word for word in words):
                for form in forms(value):
                    self._value_of.setdefault(form, value)
        self._forms = sorted(self._value_of, key=len, reverse=True)
        self._may_hold = holds_any_of(self._forms)
        if self._forms:
            self.longest = len(self._forms[0])
        self.with_space = tuple(f for f in self._forms if any(space in f for space in SPACES))

    def __bool__(self) -> bool:
        return bool(self._forms)

    def spans(self, text: str) -> Iterator[Span]:
        """Every place of every form."""
        if not self._may_hold(text):
            return
        for form in self._forms:
            if form in text:
                yield from _places(text, form)

    def value(self, form: str) -> str:
        """The value that is written in this form; the form itself if it is none."""
        return self._value_of.get(form, form)


def _places(text: str, form: str) -> Iterator[Span]:
    at = text.find(form)
    while at >= 0:
        yield at, at + len(form), "known"
        at = text.find(form, at + 1)
