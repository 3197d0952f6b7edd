"""What `audit doctor` looks at. Every check answers; none raises, and none changes anything."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from time import time
from typing import Literal

import orjson
from sashizu_core.errors import SashizuError

from sashizu_audit.checkpoints import read_digests
from sashizu_audit.confining import landlock_version
from sashizu_audit.disk import free_bytes, is_locked
from sashizu_audit.holds import read_holds
from sashizu_audit.jailed_store import JailedStore
from sashizu_audit.layout import FORMAT
from sashizu_audit.manifest import read_manifest
from sashizu_audit.segments import hot_segments, sealed_segments
from sashizu_audit.settings import AuditSettings
from sashizu_audit.usage import measure
from sashizu_audit.verify import record_id

__all__ = ["Checked", "examine"]

_MIB = 1024 * 1024
_BEGINNING_S = 60.0
_LONG_DAYS = 7
_SILENT_S = 2 * 3600.0
"""A checkpoint older than this is missed where somebody writes who makes one every hour."""
_LITTLE = 256 * _MIB
_MANY = 256

State = Literal["ok", "notice", "problem"]


@dataclass(frozen=True, slots=True)
class Checked:
    """What one check found: `ok`, `notice` (worth doing something) or `problem`."""

    check: str
    state: State
    text: str


def examine(folder: Path, settings: AuditSettings, keys: Path) -> list[Checked]:
    """Look at everything; `keys` is the folder of signing keys. Blocks."""
    if not (folder / "store.json").exists():
        if (folder / "hot").exists() or (folder / "sealed").exists():
            text = f"{folder} holds files of a record without its store.json: take it from a copy"
            return [Checked("record", "problem", text)]
        return [Checked("record", "notice", f"there is none in {folder}: the first run begins it")]
    found = []
    for check in (_folder, _store, _room, _hot, _tables, _checkpoints, _key, _holds, _age, _jail):
        try:
            found += list(check(_Place(folder, settings, keys)))
        except (OSError, SashizuError, ValueError) as error:
            found.append(Checked(check.__name__.strip("_"), "problem", str(error)))
    return found


@dataclass(frozen=True, slots=True)
class _Place:
    folder: Path
    settings: AuditSettings
    keys: Path


def _folder(at: _Place) -> Iterator[Checked]:
    open_to_others = [
        path.name
        for path in (
            at.folder,
            *(at.folder / name for name in ("hot", "sealed", "parquet", "blobs")),
        )
        if os.name == "posix" and path.exists() and path.stat().st_mode & 0o077
    ]
    if open_to_others:
        told = ", ".join(open_to_others)
        yield Checked("folder", "problem", f"others can look into {told}: chmod 700")
    else:
        yield Checked("folder", "ok", f"{at.folder}, for its owner alone")


def _store(at: _Place) -> Iterator[Checked]:
    try:
        found = orjson.loads((at.folder / "store.json").read_bytes())
        number, store_id = found["format"], found["store_id"]
    except (orjson.JSONDecodeError, KeyError, TypeError) as error:
        yield Checked("store", "problem", f"store.json is not that of a record: {error}")
        return
    if number != FORMAT:
        yield Checked("store", "problem", f"format {number!r}, and this version knows {FORMAT}")
    else:
        yield Checked("store", "ok", f"{store_id}, format {number}")


def _room(at: _Place) -> Iterator[Checked]:
    free, used = free_bytes(at.folder), measure(at.folder).total
    quota = at.settings.quota_mib * _MIB
    text = f"takes {used // _MIB} MiB"
    if quota:
        text += f" of {at.settings.quota_mib}"
    text += f"; the disk has {free // _MIB} MiB left"
    state: State = "ok"
    if quota and used >= quota:
        state, text = (
            "problem",
            text + "; no run is taken: `sashizu audit prune`, or more quota_mib",
        )
    elif free < _LITTLE or (quota and used >= 0.8 * quota):
        state = "notice"
    yield Checked("room", state, text)
    if at.settings.ballast_mib and not (at.folder / "ballast").exists():
        yield Checked(
            "ballast", "notice", "none: given up on a full disk, or not made yet; the next run does"
        )


def _hot(at: _Place) -> Iterator[Checked]:
    living = dead = empty = waiting = 0
    for file in hot_segments(at.folder).values():
        try:
            facts = file.path.stat()
        except FileNotFoundError:
            continue
        if facts.st_size == 0:
            empty += time() - facts.st_mtime > _BEGINNING_S
        elif is_locked(file.path):
            living += 1
        else:
            dead += 1
            waiting += facts.st_size
    text = f"{living} being written, {dead} wait to be sealed ({waiting // _MIB} MiB)"
    much = dead > _MANY or waiting > max(1, at.settings.seal_mib) * _MIB
    yield Checked(
        "hot", "notice" if much else "ok", text + ("; `sashizu audit seal`" if much else "")
    )
    if empty:
        yield Checked(
            "empty", "notice", f"{empty} empty: writers that died before their first event"
        )


def _tables(at: _Place) -> Iterator[Checked]:
    manifest = read_manifest(at.folder)
    if manifest.fault:
        text = f"sealed.json cannot be understood: {manifest.fault}; `sashizu audit rebuild`"
        yield Checked("tables", "problem", text)
        return
    sealed = sealed_segments(at.folder)
    there = {table.path for table in manifest.tables if (at.folder / table.path).exists()}
    covered = sum(one.table in there for one in manifest.segments)
    gone = [one.path for one in manifest.segments if one.key not in sealed]
    if gone:
        text = f"{len(gone)} sealed segments are gone, such as {gone[0]}; `sashizu audit verify`"
        yield Checked("sealed", "problem", text)
    if covered < len(sealed):
        text = f"{len(sealed) - covered} of {len(sealed)} segments are in none, so queries are slow"
        yield Checked("tables", "notice", f"{text}: `sashizu audit rebuild`")
    else:
        yield Checked("tables", "ok", f"{len(there)} hold all {len(sealed)} sealed segments")


def _checkpoints(at: _Place) -> Iterator[Checked]:
    digests = read_digests(at.folder)
    if digests.missing:
        text = f"number {digests.missing[0] + 1} is missing; `sashizu audit verify` tells more"
        yield Checked("checkpoints", "problem", text)
        return
    if not digests.leaves:
        text = "none, so lines cut off at an end would not be noticed: `sashizu audit checkpoint`"
        yield Checked("checkpoints", "notice", text)
        return
    try:
        made = int(orjson.loads(digests.leaves[-1])["made_ns"])
    except (orjson.JSONDecodeError, KeyError, TypeError, ValueError):
        yield Checked("checkpoints", "problem", "the newest is no digest; `sashizu audit verify`")
        return
    age_s = time() - made / 1e9
    days, hours = int(age_s // 86_400), int(age_s // 3600)
    text = f"{len(digests.leaves)}, the newest {f'{days} days' if days else f'{hours} hours'} old"
    late = days > _LONG_DAYS
    if age_s > _SILENT_S and _one_should_sign(at):
        late = True
        text += "; somebody has been writing for long, and signs every hour: its log says why not"
    yield Checked("checkpoints", "notice" if late else "ok", text)


def _one_should_sign(at: _Place) -> bool:
    """Whether a writer that looks after the record has been at work for long enough."""
    if not (at.keys / f"{record_id(at.folder)}.pem").exists():
        return False
    before_ms = (time() - _SILENT_S) * 1000
    return any(
        int(file.writer_id.replace("-", "")[:12], 16) < before_ms and is_locked(file.path)
        for file in hot_segments(at.folder).values()
    )


def _key(at: _Place) -> Iterator[Checked]:
    store_id = record_id(at.folder)
    path = at.keys / f"{store_id}.pem"
    if not path.exists():
        yield Checked("key", "ok", "none on this machine")
    elif os.name == "posix" and path.stat().st_mode & 0o077:
        yield Checked("key", "problem", f"others can read {path}: make a new one, and chmod 600")
    elif (at.keys / f"{store_id}.evolves").exists():
        text = "it changes with every checkpoint: keep the first public half and the notes"
        yield Checked("key", "ok", f"{path}: {text} elsewhere")
    else:
        yield Checked("key", "ok", f"{path}: keep its public half and the notes elsewhere")


def _jail(at: _Place) -> Iterator[Checked]:
    """What holds the SQL of others beside our own checks."""
    with JailedStore(at.folder) as store:
        store.query("SELECT 1", limit=1)
        held = store.held
    if held:
        text = f"unsupported: {held}; queries are held by two layers instead of three"
        yield Checked("jail", "notice", text)
    else:
        yield Checked("jail", "ok", f"queries run under Landlock, version {landlock_version()}")


def _holds(at: _Place) -> Iterator[Checked]:
    yield Checked("holds", "ok", f"{len(read_holds(at.folder))} runs are held")


def _age(at: _Place) -> Iterator[Checked]:
    days: Sequence[str] = sorted({file.day for file in sealed_segments(at.folder).values()})
    before = datetime.fromtimestamp(time(), UTC).date() - timedelta(days=at.settings.keep_days)
    old = [day for day in days if date.fromisoformat(day) < before]
    if old:
        text = f"{len(old)} days are older than the {at.settings.keep_days} of keep_days"
        yield Checked("age", "notice", f"{text}: `sashizu audit prune`")
    else:
        yield Checked("age", "ok", f"sealed from {days[0]} on" if days else "nothing is sealed")
