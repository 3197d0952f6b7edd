"""The commands `audit verify` and `audit checkpoint`: whether the record is what was written."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

import typer
from sashizu_core.errors import RecordError, UsageError
from sashizu_core.home import state_home
from typer.core import TyperCommand

from sashizu_audit.options import plain

if TYPE_CHECKING:
    from sashizu_audit.dropped import PruningTold
    from sashizu_audit.notes import Checkpoint, PublicKey
    from sashizu_audit.verify import RecordReport, WriterReport

__all__ = ["USAGE", "VerifyCommand", "checkpoint_record", "verify_folder"]

USAGE = 64
"""What `verify` ends with when it was called wrongly: its other codes are verdicts."""


class VerifyCommand(TyperCommand):
    """Ends with 64 where its words cannot be meant; 2 is a verdict."""

    def make_context(self, *args: Any, **kwargs: Any) -> Any:
        try:
            return super().make_context(*args, **kwargs)
        except typer.TyperException as error:
            raise _misused(UsageError(error.format_message())) from error

    def invoke(self, ctx: Any) -> Any:
        try:
            return super().invoke(ctx)
        except UsageError as error:
            raise _misused(error) from error.__cause__


def _misused(error: UsageError) -> UsageError:
    error.exit_code = USAGE
    return error


def verify_folder(
    folder: Path, fmt: str, key: str | None, anchors: list[Path], say: Callable[[str], None]
) -> int:
    """Check the record in a folder and say what was found; returns the exit code.

    Raises:
        UsageError: there is no record, or no such key or anchor.
    """
    import orjson

    from sashizu_audit.verify import record_id, verify_record

    if fmt not in ("text", "json"):
        raise UsageError(f"unknown format {fmt!r}; known: text, json")
    store_id = record_id(folder)
    public = _public_key(key, store_id)
    notes = [note for path in anchors for note in _notes_in(path)]
    try:
        report = verify_record(folder, key=public, anchors=notes)
    except OSError as error:
        raise RecordError(f"the record cannot be read: {error}") from error
    if fmt == "json":
        found = {"verdict": _verdict(report), "exit_code": report.exit_code, **asdict(report)}
        say(orjson.dumps(found, option=orjson.OPT_INDENT_2).decode())
    else:
        for line in _lines(report):
            say(line)
    return report.exit_code


def checkpoint_record(
    folder: Path, append: Path | None, say: Callable[[str], None], note: Callable[[str], None]
) -> None:
    """Sign where the record stands; `append` is a file elsewhere that gets the signed note as well.

    Raises:
        UsageError: there is no record.
        RecordError: it cannot be signed, or the note not be appended.
    """
    from sashizu_audit.notes import open_signer
    from sashizu_audit.signing import make_checkpoint
    from sashizu_audit.verify import record_id

    signer = open_signer(state_home() / "keys", record_id(folder))
    made = make_checkpoint(folder, signer)
    if append is not None:
        try:
            with append.open("a", encoding="utf-8", newline="\n") as file:
                file.write(made.note + "\n")
        except OSError as error:
            raise RecordError(
                f"the checkpoint was made, but cannot be appended to {str(append)!r}: "
                f"{error.strerror or error}"
            ) from error
    say(made.note.rstrip("\n"))
    note(f"checkpoint {made.size}: {made.writers} writers have gone on since the one before")
    note(f"public key: {signer.public.line}")


# --- what is given --------------------------------------------------------------------------------


def _public_key(given: str | None, store_id: str) -> PublicKey | None:
    """The key that was given, as a file or as its line; else the one of this machine, if any."""
    from sashizu_audit.notes import PublicKey

    try:
        if given is None:
            path = state_home() / "keys" / f"{store_id}.pub"
            return PublicKey.parse(path.read_text("utf-8")) if path.exists() else None
        is_line = "+" in given and not Path(given).is_file()
        return PublicKey.parse(given if is_line else Path(given).read_text("utf-8"))
    except (OSError, UnicodeError) as error:
        raise UsageError(f"the key cannot be read: {error}") from error


def _notes_in(path: Path) -> list[Checkpoint]:
    from sashizu_audit.notes import read_notes

    try:
        notes = read_notes(path.read_text("utf-8"))
    except (OSError, UnicodeError) as error:
        raise UsageError(f"the anchor cannot be read: {error}") from error
    if not notes:
        raise UsageError(f"{str(path)!r} holds no signed note of a checkpoint")
    return notes


# --- what is said ---------------------------------------------------------------------------------

_VERDICTS = {
    0: "intact",
    1: "damaged: the record is not what was written",
    2: "torn: a crash left half a line, nothing else is amiss",
    3: "unchecked: what would tell is missing",
}
_MOST_LINES = 20


def _verdict(report: RecordReport) -> str:
    return _VERDICTS[report.exit_code].partition(":")[0]


def _lines(report: RecordReport) -> list[str]:
    lines = [f"record {plain(report.store_id)}"]
    for writer in report.writers:
        lines.append(f"writer {writer.writer_id}: {_state(writer)}")
        lines += _finding_lines(writer.findings)
    lines.append(_signed(report.signed))
    lines += _finding_lines(report.findings)
    lines += [f"pruned: {_pruned(told)}" for told in report.prunings]
    if report.redacted:
        lines.append(f"redacted: {report.redacted} {'line' if report.redacted == 1 else 'lines'}")
    counts = Counter(writer.verdict for writer in report.writers)
    told = ", ".join(f"{count} {verdict}" for verdict, count in sorted(counts.items()))
    lines.append(f"{report.events} events, {len(report.writers)} writers: {told or 'none'}")
    lines.append(_VERDICTS[report.exit_code])
    return lines


def _signed(count: int) -> str:
    if count:
        return f"checkpoints: {count}, under a signature that was checked"
    return "checkpoints: none that is signed, so lines cut off at an end would not be noticed"


def _pruned(told: PruningTold) -> str:
    days = f"{told.first_day} to {told.last_day}"
    when = f"by checkpoint {told.digest + 1}, on {told.made}"
    return f"{told.events} events in {told.segments} segments of {days}, {when}"


def _state(writer: WriterReport) -> str:
    if writer.verdict in ("missing", "pruned"):
        return writer.verdict
    files = f"{writer.segments} {'file' if writer.segments == 1 else 'files'}"
    how = "being written" if writer.alive else "closed" if writer.closed else "not closed"
    return f"{writer.verdict}, {writer.events} events in {files}, {how}"


def _finding_lines(findings: Any) -> list[str]:
    lines = []
    for finding in findings[:_MOST_LINES]:
        place = f"{finding.file}:{finding.line}" if finding.line else finding.file
        lines.append(f"  {plain(place)}: {plain(finding.reason)}")
    if len(findings) > _MOST_LINES:
        lines.append(f"  and {len(findings) - _MOST_LINES} more")
    return lines
