"""What runs that go on from a record print, and how they are asked for."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from sashizu_cli import render
from sashizu_cli.exits import FAILED, INTERRUPTED, OK, exit_code
from sashizu_cli.outfile import OutFile
from sashizu_cli.reports import print_report

if TYPE_CHECKING:
    from sashizu_core.repeating import WentOn

__all__ = ["LEFT_OUT", "here", "told"]

LEFT_OUT = frozenset({"jobs", "model", "isolation", "rebalance"})
"""What the record says of a run, and not the command line."""


def here() -> Path:
    """The folder whose settings are in force."""
    return Path.cwd()


def told(found: WentOn, file: OutFile | None, *, to_stderr: bool, interrupted: bool) -> int:
    """Print what came of it, and what nobody knows; returns the exit code."""
    for doubt in found.doubts:
        render.warning(
            f"{doubt.agent}, step {doubt.step}: whether {doubt.tool!r} was done before the "
            "interruption is not known"
        )
    for text in (*found.lacks, *found.report.warnings):
        render.warning(text)
    if file is not None:
        file.write(_document(found))
    if found.supervision is not None:
        from sashizu_cli.supervised import print_supervision

        print_supervision(found.supervision, to_stderr=to_stderr)
    else:
        print_report(found.report, to_stderr=to_stderr)
    render.hint(f"went on from run {found.goes_on_from}")
    if interrupted:
        return INTERRUPTED
    if found.supervision is not None and found.supervision.ok:
        return OK
    code = exit_code(found.report.results)
    return code if found.supervision is None else code or FAILED


def _document(found: WentOn) -> str:
    if found.supervision is not None:
        from sashizu_cli.supervised import supervision_text

        return supervision_text(found.supervision) + "\n"
    from sashizu_cli.document import document_text

    return document_text(found.report)
