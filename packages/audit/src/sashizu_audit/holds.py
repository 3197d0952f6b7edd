"""Runs that are kept however old they are: `holds.json`, and the record says who held them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from time import time_ns

import orjson
from pydantic import BaseModel, ConfigDict, ValidationError
from sashizu_core.errors import RecordError
from sashizu_core.events import Event

from sashizu_audit.manifest import replace_file
from sashizu_audit.writer import AuditWriter

__all__ = ["Hold", "change_hold", "read_holds"]

_NAME = "holds.json"


class _Row(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)
    since_ns: int
    actor: str
    reason: str


class _File(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)
    runs: dict[str, _Row]


@dataclass(frozen=True, slots=True)
class Hold:
    """That a run is kept: since when (Unix nanoseconds), by whom, and why."""

    since_ns: int
    actor: str
    reason: str


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
    return {run: Hold(row.since_ns, row.actor, row.reason) for run, row in found.runs.items()}


def change_hold(folder: Path, run_id: str, actor: str, *, reason: str = "", held: bool) -> bool:
    """Hold a run, or let it go; returns whether anything changed. It is on record before it counts.

    Raises:
        RecordError: it cannot be recorded or written.
    """
    holds = dict(read_holds(folder))
    if (run_id in holds) == held:
        return False
    if held:
        holds[run_id] = Hold(time_ns(), actor, reason)
    else:
        del holds[run_id]
    attrs = {"hold": run_id, "held": held, "reason": reason}
    try:
        with AuditWriter(folder) as writer:
            writer.write(
                [Event("config.changed", {"actor": actor, "run_id": run_id, "attrs": attrs})]
            )
            writer.flush()
        told = {"runs": {run: asdict(hold) for run, hold in sorted(holds.items())}}
        replace_file(folder / _NAME, orjson.dumps(told, option=orjson.OPT_INDENT_2) + b"\n")
    except OSError as error:
        raise RecordError(f"the hold cannot be written: {error.strerror or error}") from error
    return True
