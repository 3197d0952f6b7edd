"""Secrets in what lies beside the record of a machine.

That is conversations that can be continued, and what was typed into `audit sql`. Neither is
evidence, so what is taken out of them is simply gone.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import orjson
from sashizu_core.redaction import Redactor

from sashizu_audit.manifest import replace_file
from sashizu_audit.scanning import Leak
from sashizu_audit.vocabulary import HISTORY

__all__ = ["clean_beside", "leaks_beside"]


def leaks_beside(home: Path, redactor: Redactor) -> Iterator[Leak]:
    """The lines in the state folder `home` that hold secrets, and files that cannot be read."""
    for path in _files(home):
        try:
            for number, line in enumerate(path.read_bytes().split(b"\n"), 1):
                if count := _clean(line, redactor)[1]:
                    yield Leak(str(path), number, "", -1, (), count)
        except FileNotFoundError:
            continue  # its time was over
        except OSError as error:
            yield Leak(str(path), 0, "", -1, (), 0, str(error.strerror or error))


def clean_beside(home: Path, redactor: Redactor) -> int:
    """Put marks in the place of these secrets; returns how many there were. Blocks.

    Raises:
        OSError: a file cannot be read or written.
    """
    total = 0
    for path in _files(home):
        with suppress(FileNotFoundError):
            facts = path.stat()
            lines = [_clean(line, redactor) for line in path.read_bytes().split(b"\n")]
            if count := sum(found for _, found in lines):
                replace_file(path, b"\n".join(line for line, _ in lines))
                os.utime(path, ns=(facts.st_atime_ns, facts.st_mtime_ns))  # its time goes on
                total += count
    return total


def _files(home: Path) -> list[Path]:
    found = [home / HISTORY, *sorted((home / "conversations").glob("*.jsonl"))]
    return [path for path in found if path.is_file() and not path.is_symlink()]


def _clean(line: bytes, redactor: Redactor) -> tuple[bytes, int]:
    """A line without secrets, and how many it had; as JSON where it is some."""
    try:
        value = orjson.loads(line)
    except orjson.JSONDecodeError:
        text, count = redactor.counted(line.decode("utf-8", "surrogateescape"))
        return (text.encode("utf-8", "surrogateescape"), count) if count else (line, 0)
    found = redactor.fields({"line": value})
    count = int(found.get("redactions", 0))
    return (orjson.dumps(found["line"]), count) if count else (line, 0)
