"""Parts of a text, from where to where, each with what it holds."""

from __future__ import annotations

from collections.abc import Iterable

__all__ = ["Span", "merged"]

Span = tuple[int, int, str]
"""Where a secret starts and ends in a text, and its kind."""


def merged(spans: Iterable[Span]) -> list[Span]:
    """In order and apart from each other; of those that overlap the first gives the kind."""
    found: list[Span] = []
    for start, end, kind in sorted(spans, key=lambda span: (span[0], -span[1])):
        if found and start < found[-1][1]:
            before, last, first_kind = found[-1]
            found[-1] = (before, max(last, end), first_kind)
        else:
            found.append((start, end, kind))
    return found
