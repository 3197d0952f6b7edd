"""The rows of `spend.sqlite`: the one authority over shares that several processes draw on.

A lease is a row with limits. A process that redeems it has a chunk: what it drew from the row and
has not booked as spent or given back. `held` of a row is the sum of its chunks, and
`spent + held <= limit` is checked by the database itself with every change. Every change is one
transaction that is on disk before anybody acts on it, and leaves a line in `movement`.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager

from sashizu_core.drawing import Shortage
from sashizu_core.errors import SpawnRefused, UsageError
from sashizu_core.processes import is_gone, this_process
from sashizu_core.types import UNITS

from sashizu_budget.spend_connection import SpendFile
from sashizu_budget.spend_rows import LeaseRow, Rows, as_four, shortage
from sashizu_budget.units import Four, first_asked

__all__ = ["LeaseRow", "SpendStore"]

SHARE = 16
"""What is drawn beyond what is needed: one part in so many of what is left."""


class SpendStore:
    """The rows of leases in the file. Thread-safe."""

    def __init__(self, file: SpendFile) -> None:
        self._file = file

    @contextmanager
    def _change(self) -> Iterator[Rows]:
        with self._file.change() as db:
            yield Rows(db, self._file.now_ns)

    # --- giving -----------------------------------------------------------------------------------

    def give(
        self,
        lease_id: str,
        name: str,
        limits: Sequence[int | None],
        *,
        parent: str | None,
        depth: int,
        expires_ns: int | None,
        terms: str,
        bounds: str = "{}",
    ) -> LeaseRow:
        """Make a row. Below another lease, depth and expiry are cut to what that one allows.

        Raises:
            SpawnRefused: the lease above allows no further level.
            UsageError: the lease above has ended.
        """
        giver = this_process()
        with self._change() as rows:
            if parent is not None:
                above = rows.open_row(parent)
                if above.depth < 1:
                    raise SpawnRefused(
                        "no process is started: its lease may be passed on no further",
                        limit="depth",
                        allowed=0,
                    )
                depth = min(depth, above.depth - 1)
                ends = [ns for ns in (expires_ns, above.expires_ns) if ns is not None]
                expires_ns = min(ends, default=None)
            rows.add_lease(
                (lease_id, parent, name, giver.pid, giver.started),
                (depth, expires_ns, terms, bounds),
                limits,
            )
            share = as_four([limit or 0 for limit in limits])
            rows.note(lease_id, None, "given", share)
            return rows.row(lease_id)

    def settle(self, lease_id: str) -> LeaseRow:
        """End a lease and all below it; what is held of them is charged in full."""
        with self._change() as rows:
            rows.end(lease_id, "settled")
            return rows.row(lease_id)

    # --- drawing ----------------------------------------------------------------------------------

    def redeem(self, lease_id: str) -> tuple[LeaseRow, int]:
        """Make a chunk for this process: the row, and the chunk's number.

        Raises:
            UsageError: there is no such lease, it has ended, or who gave it is gone.
        """
        owner = this_process()
        with self._change() as rows:
            row = rows.open_row(lease_id)
            if is_gone(row.giver):
                raise UsageError(
                    "the lease is of no use any more: the process that gave it is gone"
                )
            rows.reap(lease_id)
            chunk = rows.add_chunk(lease_id, owner)
            rows.note(lease_id, chunk, "redeemed", (0, 0, 0, 0))
            return rows.row(lease_id), chunk

    def draw(
        self, lease_id: str, chunk: int, spent: Four, need: Four, asked: Four
    ) -> tuple[Four, Four] | Shortage:
        """Book what was spent, and draw what is needed and a little more, or nothing.

        `asked` is the whole amount that has to fit, `need` what is missing for it in this process.
        Returns what was drawn, and the part of it that was not needed.
        """
        with self._change() as rows:
            if not rows.book(lease_id, chunk, spent, (0, 0, 0, 0)):
                return Shortage(first_asked(asked), 0, final=True, ended=True)
            rows.expire(lease_id)
            short = shortage(rows.row(lease_id), need, asked)
            if short is not None and not short.ended and rows.reap(lease_id):
                short = shortage(rows.row(lease_id), need, asked)
            if short is not None:
                return short
            row = rows.row(lease_id)
            spare = tuple(
                min(left - wanted, left // SHARE) if left is not None and wanted else 0
                for wanted, left in ((need[i], row.left(i)) for i in range(len(UNITS)))
            )
            drawn = _sum(need, spare)
            rows.hold(lease_id, chunk, drawn)
            rows.note(lease_id, chunk, "drawn", drawn)
            return drawn, as_four(spare)

    def book(self, lease_id: str, chunk: int, spent: Four, back: Four) -> bool:
        """Book what was spent and give back what is not needed; False if the chunk is gone.

        A chunk that is gone was charged in full. What exceeds the chunk is booked all the same, and
        ends the lease where it is limited.
        """
        with self._change() as rows:
            return rows.book(lease_id, chunk, spent, back)

    def leave(self, lease_id: str, chunk: int, spent: Four) -> None:
        """Book what was spent, give back the rest, and be no owner any more."""
        with self._change() as rows:
            if (held := rows.held_by(chunk)) is None:
                return
            back = as_four(tuple(max(0, h - s) for h, s in zip(held, spent, strict=True)))
            rows.book(lease_id, chunk, spent, back)
            rows.drop_chunk(chunk)
            rows.note(lease_id, chunk, "left", back)

    def row(self, lease_id: str) -> LeaseRow:
        """A lease as it is now.

        Raises:
            UsageError: there is none.
        """
        with self._change() as rows:
            rows.expire(lease_id)
            return rows.row(lease_id)

    def close(self) -> None:
        """Close the file."""
        self._file.close()


def _sum(one: Sequence[int], other: Sequence[int]) -> Four:
    return as_four(tuple(a + b for a, b in zip(one, other, strict=True)))
