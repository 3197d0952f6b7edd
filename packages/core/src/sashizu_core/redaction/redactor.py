"""One run's knowledge of secrets, and the marks that it leaves in their place."""

from __future__ import annotations

import os
import re
from collections.abc import Iterable, Mapping, Sequence
from hashlib import blake2s
from itertools import islice
from typing import Any

from sashizu_core.redaction.formats import KINDS, MOST_SECRETS, secrets_in
from sashizu_core.redaction.known import KnownValues
from sashizu_core.redaction.spans import Span, merged
from sashizu_core.redaction.values import is_strong, named_like_a_secret

__all__ = ["Redactor"]

_SHORT = 512  # characters of a text that is remembered as harmless
_MOST_REMEMBERED = 4096
_MOST_ROUNDS = 8
_DEEPEST = 64

_ESCAPED = re.compile(r"\\u00([2-7][0-9a-fA-F])")
_UNESCAPED = frozenset("0123456789abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ_-+/=.:@")
_MARK = re.compile(rf"\[redacted:(?:{'|'.join(sorted(KINDS))}):[0-9a-f]{{8}}\]")

_OURS = frozenset(
    {
        *("run_id", "agent_id", "parent_agent_id", "conversation_id", "policy_sha256"),
        *("trace_id", "span_id", "parent_span_id", "args_sha256", "result_sha256", "sha256"),
        *("op", "step_kind", "status", "decision", "decided_by", "budget_unit", "severity"),
    }
)
"""Columns that hold nothing but our own ids, digests and words."""


_NO_TEXT = frozenset({int, float, bool, type(None)})


class Redactor:
    """Takes secrets out of texts and of JSON values. Made once for a run.

    `values` are known secrets; those that are shorter than eight characters are not looked for.
    `patterns` are expressions made by `own_patterns.compiled`. `key` makes the marks: with another
    key the same secrets have other marks.

    What was redacted once stays as it is when it is redacted again.
    """

    def __init__(
        self,
        values: Iterable[str] = (),
        *,
        patterns: Sequence[re.Pattern[str]] = (),
        key: bytes | None = None,
    ) -> None:
        self._values: tuple[str, ...] = ()
        self._harmless: set[str] = set()
        self.learn(*values)
        self.patterns = tuple(patterns)
        self._key = key if key is not None else os.urandom(32)

    def learn(self, *values: str) -> None:
        """Know further secrets from now on, such as those that are made while a run goes on."""
        self._values = (*self._values, *values)
        words = [f"[redacted:{kind}:" for kind in sorted(KINDS)]
        self.known = KnownValues(self._values, words)
        self._strong = KnownValues(filter(is_strong, self._values), words)
        self._harmless.clear()

    # --- texts ------------------------------------------------------------------------------------

    def text(self, text: str) -> str:
        """The text with a mark in place of every secret."""
        return self.counted(text)[0]

    def counted(self, text: str) -> tuple[str, int]:
        """The text without secrets, and how many there were."""
        if text in self._harmless:
            return text, 0
        spans = self.spans(text)
        if not spans and "\\u00" in text:
            plain = _ESCAPED.sub(_unescaped, text)
            if found := self.spans(plain):
                text, spans = plain, found
        if not spans:
            self._remember(text)
            return text, 0
        count = 0
        for _ in range(_MOST_ROUNDS):  # a mark may part what stood together: until nothing is found
            text = self._marked(text, spans)
            count += len(spans)
            spans = self.spans(text)
            if not spans:
                break
        return text, count

    def without_known(self, text: str) -> str:
        """The text without those known values that cannot be anything else, for a model to read."""
        spans = merged(self._strong.spans(text))
        return self._marked(text, spans) if spans else text

    def spans(self, text: str) -> list[Span]:
        """Where the text holds secrets, in order; of very many one that is all of the text."""
        found = secrets_in(text)
        for pattern in self.patterns:
            matches = islice(pattern.finditer(text), MOST_SECRETS)
            found += [(*match.span(), "configured") for match in matches]
        if found and "[redacted:" in text:
            found = _outside_marks(found, text)
        known = list(islice(self.known.spans(text), MOST_SECRETS))
        if len(known) + len(found) >= MOST_SECRETS:
            return [(0, len(text), "crowded")]
        return merged([*known, *found]) if known or found else []

    def mark(self, secret: str, kind: str) -> str:
        """What stands in place of a secret."""
        data = self.known.value(secret).encode("utf-8", "surrogatepass")
        return f"[redacted:{kind}:{blake2s(data, key=self._key, digest_size=4).hexdigest()}]"

    def _marked(self, text: str, spans: Sequence[Span]) -> str:
        parts: list[str] = []
        done = 0
        marks: dict[tuple[str, str], str] = {}
        for start, end, kind in spans:
            secret = text[start:end]
            if (mark := marks.get((secret, kind))) is None:
                mark = marks[secret, kind] = self.mark(secret, kind)
            parts += (text[done:start], mark)
            done = end
        return "".join((*parts, text[done:]))

    def _remember(self, text: str) -> None:
        if len(text) <= _SHORT:
            if len(self._harmless) >= _MOST_REMEMBERED:
                self._harmless.clear()
            self._harmless.add(text)

    # --- values -----------------------------------------------------------------------------------

    def fields(self, fields: Mapping[str, Any]) -> Mapping[str, Any]:
        """The columns of an event; `redactions` counts what was taken out of them."""
        harmless = self._harmless
        changed: dict[str, Any] = {}
        count = 0
        for name, value in fields.items():
            kind = type(value)
            if kind is str:
                if value in harmless or name in _OURS:
                    continue
            elif kind is int or value is None:
                continue
            clean, more = self._value(value, 0)
            if more:
                changed[name] = clean
                count += more
        if not count:
            return fields
        count += int(fields.get("redactions", 0))
        return {**fields, **changed, "redactions": min(count, 65_535)}

    def value(self, value: Any) -> Any:
        """A JSON value; what stands under a name like `password` is taken out as a whole."""
        return self._value(value, 0)[0]

    def _value(self, value: Any, depth: int) -> tuple[Any, int]:
        if isinstance(value, str):
            return self.counted(value)
        if value is None or isinstance(value, bool | int | float):
            return value, 0
        if depth >= _DEEPEST:
            return "[nested too deeply]", 1
        if isinstance(value, Mapping):
            return self._members(value, depth)
        if isinstance(value, Sequence) and not isinstance(value, bytes | bytearray):
            items = [self._value(item, depth + 1) for item in value]
            return [item for item, _ in items], sum(count for _, count in items)
        return self.counted(str(value))

    def _members(self, members: Mapping[Any, Any], depth: int) -> tuple[dict[str, Any], int]:
        clean: dict[str, Any] = {}
        count = 0
        for name, value in members.items():
            if name in self._harmless and type(value) in _NO_TEXT:
                clean[name] = value
                continue
            key, more = self.counted(str(name))
            count += more
            if isinstance(value, str) and value and named_like_a_secret(key):
                if not _MARK.fullmatch(value):
                    value, more = self.mark(value, "named"), 1  # noqa: PLW2901 - what is kept
                    count += more
                clean[key] = value
                continue
            clean[key], more = self._value(value, depth + 1)
            count += more
        return clean, count


def _unescaped(found: re.Match[str]) -> str:
    char = chr(int(found[1], 16))
    return char if char in _UNESCAPED else found[0]


def _outside_marks(spans: Iterable[Span], text: str) -> list[Span]:
    """Those that do not touch a mark: what is in a mark is none."""
    marks = [match.span() for match in _MARK.finditer(text)]
    marks.reverse()
    kept = []
    for span in sorted(spans):
        while marks and marks[-1][1] <= span[0]:
            marks.pop()
        if not marks or span[1] <= marks[-1][0]:
            kept.append(span)
    return kept
