"""Events as the members of lines: their kinds, which a writer may be given, and their columns."""

from __future__ import annotations

from collections.abc import Sequence

from sashizu_core.errors import RecordError, nearest
from sashizu_core.events import KINDS, Event

from sashizu_audit.fields import encode_fields

__all__ = ["LAST_WORDS", "members_of"]

_OWN_KINDS = frozenset({"writer.opened", "writer.closed", "writer.spawned", "writer.clock_stepped"})
_KINDS = frozenset(KINDS) - _OWN_KINDS

_CONTENT = frozenset({"args_sha256", "result_sha256", "blobs"})
"""Columns that tell of texts."""

LAST_WORDS = frozenset(
    kind
    for kind in _KINDS
    if kind.endswith((".ended", ".answered", ".failed", ".settled", ".released", ".overrun"))
    or kind.startswith("security.")
) | {"writer.child_closed", "audit.quota", "audit.disabled"}
"""Kinds that say how something ended: on a full disk they may use the room of the ballast."""


def members_of(events: Sequence[Event], *, wordless: bool) -> list[tuple[str, bytes]]:
    """Kinds and columns, as `WriterLines.make` takes them.

    `wordless` leaves out the columns that tell of texts.

    Raises:
        RecordError: a kind is unknown or the writer's own, or a column is not as it has to be.
    """
    members = []
    for event in events:
        kind, fields = event.kind, event.fields
        if kind not in _KINDS:
            raise RecordError(_unknown(kind))
        if wordless:
            fields = {name: fields[name] for name in fields if name not in _CONTENT}
        members.append((kind, encode_fields(fields)))
    return members


def _unknown(kind: str) -> str:
    if kind in _OWN_KINDS:
        return f"events of kind {kind!r} are written by the writer itself"
    return f"unknown kind of event {kind!r}{nearest(kind, _KINDS)}"
