"""The commands `audit verify` and `audit checkpoint`: whether the record is what was written."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
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

__all__ = ["USAGE", "Sending", "VerifyCommand", "checkpoint_record", "verify_folders"]

_PUBLISH_S = 120.0

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


@dataclass(frozen=True, slots=True)
class Sending:
    """Where a signed note goes, beside standard output, and how it is made.

    `append` is a file elsewhere, `publish` a command that reads it. They come after the checkpoint:
    what fails there takes nothing back.
    """

    append: Path | None = None
    publish: str = ""
    new_key: bool = False
    as_json: bool = False

    def send(self, note: str) -> None:
        """Append the note, then run the command.

        Raises:
            RecordError: the file cannot be written, or the command failed.
        """
        if self.append is not None:
            try:
                with self.append.open("a", encoding="utf-8", newline="\n") as file:
                    file.write(note + "\n")
            except OSError as error:
                raise RecordError(
                    f"the checkpoint was made, but cannot be appended to {str(self.append)!r}: "
                    f"{error.strerror or error}"
                ) from error
        if self.publish:
            _publish(self.publish, note)


def _publish(command: str, note: str) -> None:
    """Run a command with the note on its standard input. There is no shell in between."""
    import subprocess

    from sashizu_audit.command_line import command_words

    try:
        words = command_words(command)
        done = subprocess.run(  # noqa: S603 - who calls us says what to run
            words,
            input=note.encode(),
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            timeout=_PUBLISH_S,
            check=False,
        )
    except (OSError, ValueError, IndexError, subprocess.TimeoutExpired) as error:
        raise RecordError(
            f"the checkpoint was made, but {command!r} could not publish it: {error}"
        ) from error
    if done.returncode:
        said = plain(done.stderr.decode("utf-8", "replace").strip()[-400:])
        raise RecordError(
            f"the checkpoint was made, but {command!r} ended with {done.returncode}: {said}"
        )


def verify_folders(
    folders: Sequence[Path],
    fmt: str,
    key: str | None,
    anchors: list[Path],
    say: Callable[[str], None],
) -> int:
    """Check the records in folders and say what was found; returns the worst exit code.

    Raises:
        UsageError: there is no record, no such key or anchor, or one of these for several records.
    """
    import orjson

    from sashizu_audit.sources import all_different

    if fmt not in ("text", "json"):
        raise UsageError(f"unknown format {fmt!r}; known: text, json")
    if len(folders) > 1 and (key is not None or anchors):
        raise UsageError("--key and --anchor belong to one record: name one with --store")
    all_different(folders)
    reports = [_checked(folder, key, anchors) for folder in folders]
    code = next((code for code in (1, 3, 2) if code in {r.exit_code for r in reports}), 0)
    if fmt == "json":
        told = [{"verdict": _verdict(r), "exit_code": r.exit_code, **asdict(r)} for r in reports]
        several = {"exit_code": code, "records": told}
        found = told[0] if len(told) == 1 else several
        say(orjson.dumps(found, option=orjson.OPT_INDENT_2).decode())
        return code
    for report in reports:
        for line in _lines(report):
            say(line)
    if len(reports) > 1:
        good = sum(not report.exit_code for report in reports)
        say(f"{good} of {len(reports)} records are intact")
    return code


def _checked(folder: Path, key: str | None, anchors: Sequence[Path]) -> RecordReport:
    from sashizu_audit.verify import record_id, verify_record

    public = _public_key(key, record_id(folder))
    notes = [note for path in anchors for note in _notes_in(path)]
    try:
        return verify_record(folder, key=public, anchors=notes)
    except OSError as error:
        raise RecordError(f"the record cannot be read: {error}") from error


def checkpoint_record(
    folder: Path, sending: Sending, say: Callable[[str], None], note: Callable[[str], None]
) -> None:
    """Sign where the record stands, and send the signed note elsewhere.

    Raises:
        UsageError: there is no record.
        RecordError: it cannot be signed, or the note not be sent.
    """
    from sashizu_audit.keys import rotate_key, signer_of
    from sashizu_audit.signing import make_checkpoint
    from sashizu_audit.verify import record_id

    store_id = record_id(folder)
    keys = state_home() / "keys"
    if sending.new_key:
        made, signer = rotate_key(folder, keys, store_id)
    else:
        signer = signer_of(folder, keys, store_id)
        made = make_checkpoint(folder, signer)
    if sending.as_json:
        from sashizu_audit.options import say_json

        say_json({**asdict(made), "key": signer.public.line}, say)
    else:
        say(made.note.rstrip("\n"))
    note(f"checkpoint {made.size}: {made.writers} writers have gone on since the one before")
    note(f"public key: {signer.public.line}")
    if sending.new_key:
        note("this key signs from now on: give it to whoever holds the one before")
    sending.send(made.note)


# --- what is given --------------------------------------------------------------------------------


def _public_key(given: str | None, store_id: str) -> PublicKey | None:
    """The key that was given, as a file or as its line; else the one of this machine, if any."""
    from sashizu_audit.keys import first_key
    from sashizu_audit.notes import PublicKey

    try:
        if given is None:
            return first_key(state_home() / "keys", store_id)
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
