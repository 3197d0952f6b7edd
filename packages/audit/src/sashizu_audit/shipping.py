"""Copies a record to another place as it grows: `audit ship`.

What goes: segments, sealed or not, then the digests of checkpoints, then the newest note; so what
is signed there is there. Tables and kept texts stay. Nothing is sent twice, and what is there and
differs is refused by the far side, see `sashizu_audit.receiving`.

Over a command the two sides speak lines of JSON, files as bytes behind the line that announces
them:

```text
> {"store": "<text of store.json>"}
< {"have": {"sealed/2026-11-20/<writer>.0.jsonl.gz": 8120}}
> {"path": "hot/<writer>.0.jsonl", "offset": 512, "bytes": 300, "sha256": "…"} and 300 bytes
< {"taken": "hot/<writer>.0.jsonl"}
> {"digest": "sealed/2026-11-20/<writer>.0.jsonl.gz"}
< {"sha256": "…"}
< {"refused": "why"}
```
"""

from __future__ import annotations

import getpass
from collections.abc import Iterable, Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path
from typing import IO, Protocol

import orjson
from sashizu_core.errors import RecordError, UsageError
from sashizu_core.events import Event

from sashizu_audit.checkpoints import Digests, read_digests
from sashizu_audit.disk import is_locked
from sashizu_audit.far_side import SILENCE_S, BrokenOff, far_side
from sashizu_audit.receiving import CHUNK, MOST_BYTES, NOTE, Receiver, open_receiver
from sashizu_audit.segments import SegmentFile, find_segments
from sashizu_audit.spool import BRIEF
from sashizu_audit.writer import AuditWriter

__all__ = ["Shipped", "receive", "ship_by_command", "ship_to"]


@dataclass(slots=True)
class Shipped:
    """What was sent now: so many files, and so many bytes of them. `refused` says what was not."""

    files: int
    bytes: int
    refused: list[str]


class _Far(Protocol):
    """The far side."""

    def have(self) -> Mapping[str, int]: ...

    def digest(self, name: str) -> str: ...

    def take(self, name: str, offset: int, digest: str, chunks: Iterable[bytes]) -> None: ...


def ship_to(folder: Path, to: Path, *, check: bool = False) -> Shipped:
    """Send what is new of the record in `folder` to the folder `to`. Blocks.

    With `check` what is there already is compared byte for byte, not by its size.

    Raises:
        RecordError: nothing can be sent; what was sent before stays.
    """
    if to.resolve().is_relative_to(folder.resolve()):
        raise UsageError(f"{str(to)!r} is the record itself, or inside it")
    with open_receiver(to, _store(folder)) as receiver:
        return _ship(folder, receiver, check)


def ship_by_command(
    folder: Path, command: str, *, check: bool = False, silence_s: float = SILENCE_S
) -> Shipped:
    """Send what is new to `sashizu audit receive`, which this command starts. Blocks.

    Raises:
        UsageError: the command cannot be read.
        RecordError: it cannot be started, the far side cannot take anything, or it neither took nor
            said anything for `silence_s` seconds.
    """
    with far_side(command, silence_s) as far:
        far.greet(_store(folder))
        return _ship(folder, far, check)


def _store(folder: Path) -> bytes:
    try:
        return (folder / "store.json").read_bytes()
    except OSError as error:
        raise UsageError(f"there is no record in {str(folder)!r}: {error.strerror}") from error


# --- what is sent ---------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class _Item:
    """A file as it is sent: its name there, and the first `size` bytes of `path`, or `data`."""

    name: str
    size: int
    path: Path | None = None
    data: bytes = b""

    def chunks(self, begin: int, end: int) -> Iterator[bytes]:
        if self.path is None:
            yield self.data[begin:end]
            return
        with self.path.open("rb") as file:
            file.seek(begin)
            while begin < end and (data := file.read(min(CHUNK, end - begin))):
                begin += len(data)
                yield data

    def digest(self) -> str:
        found = sha256()
        for data in self.chunks(0, self.size):
            found.update(data)
        return found.hexdigest()


def _ship(folder: Path, far: _Far, check: bool) -> Shipped:
    try:
        have = far.have()
        if any(have.get(item.name) != item.size for item in _items(folder) if item.name != NOTE):
            _record(folder)  # before anything goes, so that this goes too
        shipped = Shipped(0, 0, [])
        for item in _items(folder):
            try:
                _send(item, far, have.get(item.name, 0), check, shipped)
            except FileNotFoundError:
                continue  # sealed or dropped meanwhile: the next attempt finds what took its place
            except _Refused as error:
                shipped.refused.append(f"{item.name}: {error}")
    except OSError as error:
        raise RecordError(f"the record cannot be sent: {error.strerror or error}") from error
    return shipped


class _Refused(Exception):
    """The far side does not take a file; others may go."""


def _send(item: _Item, far: _Far, there: int, check: bool, shipped: Shipped) -> None:
    grows = item.name.startswith("hot/")
    if item.name != NOTE and there == item.size:
        if check and far.digest(item.name) != item.digest():
            raise _Refused("it is there already, and is another one")
        return
    if item.name == NOTE and there and far.digest(item.name) == item.digest():
        return
    if grows and there > item.size:
        raise _Refused("more of it is there than here: lines were cut off here")
    if not grows and there and item.name != NOTE:
        raise _Refused("it is there already, and is another one")
    offset = there if grows else 0
    try:
        far.take(item.name, offset, item.digest(), item.chunks(offset, item.size))
    except RecordError as error:
        if isinstance(error, BrokenOff):
            raise
        raise _Refused(str(error)) from error
    shipped.files += 1
    shipped.bytes += item.size - offset


def _items(folder: Path) -> Iterator[_Item]:
    """All that goes, in the order in which it has to."""
    digests = read_digests(folder)  # before the segments: what they know of is then among these
    for file in reversed(find_segments(folder)):  # children came later than their parents
        with suppress(FileNotFoundError):
            if size := file.path.stat().st_size if file.sealed else _whole_lines(file):
                yield _Item(file.path.relative_to(folder).as_posix(), size, file.path)
    yield from _signed(digests)


def _signed(digests: Digests) -> Iterator[_Item]:
    for number, leaf in enumerate(digests.leaves):
        if number in digests.missing:
            raise RecordError(
                f"checkpoint {number + 1} is missing; `sashizu audit verify` tells more"
            )
        yield _Item(f"checkpoints/{number:06}.json", len(leaf), data=leaf)
        if note := digests.changes.get(number, "").encode():
            yield _Item(f"checkpoints/{number:06}.note", len(note), data=note)
    if note := digests.note.encode():
        yield _Item(NOTE, len(note), data=note)


def _whole_lines(file: SegmentFile) -> int:
    """How many bytes of a segment that is being written are whole lines; of others, all."""
    size = file.path.stat().st_size
    if size and not is_locked(file.path):
        return file.path.stat().st_size
    with file.path.open("rb") as lines:
        while size:
            begin = max(0, size - CHUNK)
            lines.seek(begin)
            last = lines.read(size - begin).rfind(b"\n")
            if last >= 0:
                return begin + last + 1
            size = begin
    return 0


def _record(folder: Path) -> None:
    fields = {"actor": f"user:{getpass.getuser()}", "status": "ok", "attrs": {"format": "ship"}}
    with AuditWriter(folder, options=BRIEF) as writer:
        writer.write([Event("audit.exported", fields)])
        writer.flush()


# --- the far side ---------------------------------------------------------------------------------


def receive(folder: Path, questions: IO[bytes], answers: IO[bytes]) -> None:
    """Be the far side: take what comes in, until it ends. Blocks."""

    def say(message: Mapping[str, object]) -> None:
        answers.write(orjson.dumps(message) + b"\n")
        answers.flush()

    try:
        with open_receiver(folder, _greeting(questions)) as receiver:
            say({"have": receiver.have()})
            while line := questions.readline(CHUNK):
                say(_answered(receiver, line, questions))
    except RecordError as error:
        say({"refused": str(error)})
        raise


def _greeting(questions: IO[bytes]) -> bytes:
    try:
        return str(orjson.loads(questions.readline(CHUNK))["store"]).encode()
    except (orjson.JSONDecodeError, KeyError, TypeError):
        raise RecordError("what came in is no shipment of a record") from None


def _answered(receiver: Receiver, line: bytes, questions: IO[bytes]) -> dict[str, object]:
    try:
        asked = orjson.loads(line)
        if "digest" in asked:
            return {"sha256": receiver.digest(str(asked["digest"]))}
        name, digest = str(asked["path"]), str(asked["sha256"])
        offset, size = int(asked["offset"]), int(asked["bytes"])
    except (orjson.JSONDecodeError, KeyError, TypeError, ValueError):
        raise RecordError("what came in is no shipment of a record") from None
    if not 0 <= size <= MOST_BYTES or offset < 0:
        raise RecordError(f"{name[:80]!r} is too long")
    chunks = _incoming(questions, size)
    try:
        receiver.take(name, offset, digest, chunks)
    except RecordError as error:
        for _ in chunks:  # what follows is the next message
            pass
        return {"refused": str(error)}
    return {"taken": name}


def _incoming(questions: IO[bytes], size: int) -> Iterator[bytes]:
    while size:
        data = questions.read(min(CHUNK, size))
        if not data:
            raise RecordError("the shipment broke off")
        size -= len(data)
        yield data
