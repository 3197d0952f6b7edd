"""The process inside the jail: reads questions, answers them, and can do nothing else.

Started as `python -P -m sashizu_audit.jail_child`. Its first line of input names the folders of the
records; it answers with what holds it. Then each line is a question, answered with one line. It
ends with its input, or when nothing was asked for a while.
"""

from __future__ import annotations

import os
import signal
import sys
from pathlib import Path
from typing import Any, BinaryIO

from sashizu_core.errors import SashizuError, UsageError

from sashizu_audit.confining import confine, stand_alone
from sashizu_audit.jail_wire import decode_cell, dump, encode_cell, load
from sashizu_audit.store import AuditStore, prepare

__all__ = ["main"]

IDLE_S = 120
"""Seconds without a question after which it ends."""


def main() -> None:
    """Be the process inside the jail."""
    questions, answers = sys.stdin.buffer, sys.stdout.buffer
    folders = [Path(name) for name in load(questions.readline())["folders"]]
    prepare()  # what is loaded later could not be read any more
    stand_alone()
    _say(answers, {"held": confine(folders)})
    store = AuditStore(*folders)
    while line := _next_line(questions):
        _say(answers, _answer(store, load(line)))


def _next_line(questions: BinaryIO) -> bytes:
    if hasattr(signal, "alarm"):
        signal.alarm(IDLE_S)  # its default is to end the process
    line = questions.readline()
    if hasattr(signal, "alarm"):
        signal.alarm(0)
    return line


def _say(answers: BinaryIO, message: dict[str, object]) -> None:
    answers.write(dump(message))
    answers.flush()


def _answer(store: AuditStore, asked: dict[str, Any]) -> dict[str, object]:
    if "columns" in asked:
        return {"columns": store.columns()}
    params = decode_cell(asked["params"])
    assert isinstance(params, dict | list)
    try:
        rows = store.query(asked["sql"], params, limit=asked["limit"], timeout_s=asked["timeout_s"])
    except UsageError as error:
        return {"misused": str(error)}
    except SashizuError as error:
        return {"failed": str(error)}
    return {
        "columns": rows.columns,
        "types": rows.types,
        "rows": [[encode_cell(cell) for cell in row] for row in rows.rows],
        "truncated": rows.truncated,
    }


if __name__ == "__main__":
    try:
        main()
    except BrokenPipeError:
        os._exit(0)  # nobody waits for an answer any more
