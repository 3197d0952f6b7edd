"""Text that arrives in pieces, and is shown as it arrives: secrets that are cut in two are found.

What could still become a secret is held back: the word that is being written, a name that a secret
is being assigned to, a private key until it ends. At most `MOST_HELD` characters are.
"""

from __future__ import annotations

import re
from collections.abc import Callable

from sashizu_core.redaction.known import SPACES
from sashizu_core.redaction.redactor import Redactor

__all__ = ["MOST_HELD", "LiveText"]

MOST_HELD = 16 * 1024
"""Characters that are held back at most; of a longer secret the rest is dropped."""

_LONGEST_WORD = 1024
_LONGEST_START = 128  # characters of a line in which an assignment may have begun
_UNFINISHED = re.compile(
    r"(?:[a-z0-9_.-]*(?:pass|pwd|secret|token|key|cred|auth|cookie)[a-z0-9_.-]*"
    r"[\"'`\\\]]{0,3}[ \t]{0,8}(?::[ \t]{0,4}[a-z_]{0,16}[ \t]{0,4}=?|=>?|==|:=|>)?"
    r"|\b(?:bearer|basic)|-----begin[a-z0-9 ]{0,60})[ \t]{0,8}$",
    re.IGNORECASE,
)
_MOST_STEPS_BACK = 64  # words that could each be the name of a secret
_BEGIN, _END = "-----BEGIN ", "-----END "
_REST_OF_SECRET = re.compile(r"[^\s\"'`<>()\[\]{}]*")
_REST_OF_KEY = re.compile(r"(?:[A-Za-z0-9+/=\s:,.\\]|-(?!----))*(?:-{5}END[A-Z0-9 ]{0,60}-{5})?")


class LiveText:
    """Passes text on to `show` piece by piece, without secrets. `close` passes on the rest."""

    def __init__(self, redactor: Redactor, show: Callable[[str], None]) -> None:
        self._redactor = redactor
        self._show = show
        self._held = ""
        self._dropping: re.Pattern[str] | None = None
        self._most = max(MOST_HELD, 2 * redactor.known.longest)

    def feed(self, piece: str) -> None:
        """Take the next piece."""
        self._held += piece
        # A piece of any length is taken in parts, so that time stays in proportion to it.
        while self._held:
            before = len(self._held)
            self._drop()
            if (cut := self._safe_cut()) > 0:
                self._pass_on(cut)
            elif len(self._held) > self._most:
                self._force()
            if len(self._held) in (before, 0):
                return

    def close(self) -> None:
        """Nothing more comes."""
        self._drop()
        if self._held:
            self._pass_on(len(self._held))
        self._dropping = None

    def _pass_on(self, cut: int) -> None:
        ready, self._held = self._held[:cut], self._held[cut:]
        self._show(self._redactor.text(ready))

    def _drop(self) -> None:
        """Leave out what belongs to a secret of which the beginning was passed on as a mark."""
        if self._dropping is None:
            return
        found = self._dropping.match(self._held)
        end = found.end() if found is not None else 0
        if end < len(self._held):
            self._dropping = None
        self._held = self._held[end:]

    # --- where the text can be cut ----------------------------------------------------------------

    def _safe_cut(self) -> int:
        """Up to where no secret can reach beyond what is there; 0 if that is nowhere."""
        held = self._held
        cut = len(held)
        for _ in range(_MOST_STEPS_BACK):
            before, cut = cut, self._before_begun(_after_last_space(held, cut))
            if cut == before:
                break
        else:
            return 0
        if cut and self._redactor.patterns:
            cut = self._before_configured(cut)
        return cut

    def _before_begun(self, cut: int) -> int:
        """Before what has begun and could still become a secret, if it ended here."""
        held = self._held
        begun = held.rfind(_BEGIN, 0, cut)
        if begun >= 0 and _END not in held[begun:cut]:
            cut = begun
        line = max(0, cut - _LONGEST_START)
        if (open_ := _UNFINISHED.search(held[line:cut])) is not None:
            cut = line + open_.start()
        return self._before_known(cut)

    def _before_known(self, cut: int) -> int:
        """Before every known value of several words that may have begun."""
        while True:
            forms = self._redactor.known.with_space
            begun = min((_start_of(form, self._held, cut) for form in forms), default=cut)
            if begun == cut:
                return cut
            cut = begun

    def _before_configured(self, cut: int) -> int:
        """What the operator's patterns look for may hold spaces: only whole lines are passed on."""
        cut = self._held.rfind("\n", 0, cut) + 1
        for start, end, _ in self._redactor.spans(self._held):
            if start < cut < end or end == len(self._held):
                cut = min(cut, start)
        return cut

    def _force(self) -> None:
        """Pass on all but the last characters of a word that is longer than any should be."""
        held = self._held
        cut = len(held) - max(_LONGEST_WORD, self._redactor.known.longest)
        for start, end, kind in self._redactor.spans(held):
            if end == len(held):  # a secret that goes on: marked now, and its rest is dropped
                self._dropping = _REST_OF_KEY if kind == "private-key" else _REST_OF_SECRET
                cut = end
            elif start < cut < end:
                cut = end
        self._pass_on(cut)


def _after_last_space(text: str, end: int) -> int:
    return max(text.rfind(space, 0, end) for space in SPACES) + 1


def _start_of(form: str, text: str, end: int) -> int:
    """Where the beginning of a form stands at the end of a text; `end` if it does not."""
    for at in range(max(0, end - len(form) + 1), end):
        if form.startswith(text[at:end]):
            return at
    return end
