"""Runs that are kept however old they are: `holds.json`, and the record says who held them.

While somebody prunes, holds stay as they are: else a run would be called held and be dropped.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from time import time_ns

import orjson
from pydantic import BaseModel, ConfigDict, ValidationError
from sashizu_core.errors import RecordError, UsageError
from sashizu_core.events import Event
from sashizu_core.redaction import Redactor

from sashizu_audit.disk import locked
from sashizu_audit.manifest import replace_file
from sashizu_audit.spool import BRIEF
from sashizu_audit.writer import AuditWriter

__all__ = ["HeldRun", "Hold", "change_hold", "clean_reasons", "keeping_holds", "read_holds"]

_NAME = "holds.json"
_WAIT_S = 5.0
"""Seconds that who changes a hold waits for another one who does."""


class _Row(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)
    since_ns: int
    actor: str
    reason: str
    texts: tuple[str, ...] = ()


class _File(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)
    runs: dict[str, _Row]


@dataclass(frozen=True, slots=True)
class Hold:
    """That a run is kept: since when (Unix nanoseconds), by whom, and why.

    `texts` are the digests of kept texts that it names.
    """

    since_ns: int
    actor: str
    reason: str
    texts: tuple[str, ...] = ()


def read_holds(folder: Path) -> Mapping[str, Hold]:
    """The runs that are held, by id.

    Raises:
        RecordError: what is there cannot be read, so that nobody knows what has to be kept.
    """
    path = folder / _NAME
    try:
        found = _File.model_validate_json(path.read_bytes())
    except FileNotFoundError:
        return {}
    except (OSError, ValidationError) as error:
        raise RecordError(
            f"{str(path)!r} cannot be read, so nobody knows which runs have to be kept: {error}. "
            "Mend or remove it; the record tells of every hold (config.changed)"
        ) from error
    return {
        run: Hold(row.since_ns, row.actor, row.reason, row.texts) for run, row in found.runs.items()
    }


@contextmanager
def keeping_holds(folder: Path, *, wait_s: float = 0.0) -> Iterator[None]:
    """Have nobody else change holds, or prune, while the block runs.

    Raises:
        RecordError: somebody does, and has not ended after `wait_s` seconds.
        OSError: the lock cannot be made.
    """
    with locked(folder / "holds.lock", wait_s) as mine:
        if not mine:
            raise RecordError(
                "another process is pruning this record, or changes what is held; nothing was "
                "done, try again when it has ended"
            )
        yield


@dataclass(frozen=True, slots=True)
class HeldRun:
    """What is on record of a run when it is held: whether anything is, and its texts' digests."""

    there: bool = True
    texts: Collection[str] = ()


def change_hold(
    folder: Path,
    run_id: str,
    actor: str,
    *,
    reason: str = "",
    held: bool,
    look: Callable[[], HeldRun] = HeldRun,
    wait_s: float = _WAIT_S,
) -> bool:
    """Hold a run, or let it go; returns whether anything changed. It is on record before it counts.

    `look` says what is on record of the run, asked when nobody can drop it any more. What it has
    of texts is added also to a run that is held already. Blocks.

    Raises:
        UsageError: the run was dropped meanwhile.
        RecordError: it cannot be recorded or written, or somebody is pruning.
    """
    try:
        with keeping_holds(folder, wait_s=wait_s):
            holds = dict(read_holds(folder))
            before = holds.pop(run_id, None)
            if before is None and not held:
                return False
            if held:
                found = look()
                if not found.there:
                    raise UsageError(f"the run {run_id} was dropped meanwhile: it cannot be held")
                now = before or Hold(time_ns(), actor, reason)
                holds[run_id] = replace(now, texts=tuple(sorted({*now.texts, *found.texts})))
            changed = (before is not None) != held
            if changed:
                _record(folder, run_id, actor, reason, held)
            _write(folder, holds)
    except OSError as error:
        raise RecordError(f"the hold cannot be written: {error.strerror or error}") from error
    return changed


def clean_reasons(folder: Path, redactor: Redactor, *, dry_run: bool = False) -> int:
    """Take secrets out of the reasons of holds, or count them; returns how many there are. Blocks.

    Raises:
        RecordError: holds cannot be read, or somebody is pruning.
        OSError: they cannot be written.
    """
    if dry_run:
        return sum(redactor.counted(hold.reason)[1] for hold in read_holds(folder).values())
    with keeping_holds(folder, wait_s=_WAIT_S):
        holds = read_holds(folder)
        clean = {run: redactor.counted(hold.reason) for run, hold in holds.items()}
        count = sum(found for _, found in clean.values())
        if count:
            _write(folder, {r: replace(h, reason=clean[r][0]) for r, h in holds.items()})
    return count


def _write(folder: Path, holds: Mapping[str, Hold]) -> None:
    told = {"runs": {run: asdict(hold) for run, hold in sorted(holds.items())}}
    replace_file(folder / _NAME, orjson.dumps(told, option=orjson.OPT_INDENT_2) + b"\n")


def _record(folder: Path, run_id: str, actor: str, reason: str, held: bool) -> None:
    attrs = {"hold": run_id, "held": held, "reason": reason}
    fields = {"actor": actor, "run_id": run_id, "attrs": attrs}
    with AuditWriter(folder, options=BRIEF) as writer:
        writer.write([Event("config.changed", fields)])
        writer.flush()
