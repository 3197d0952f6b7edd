"""Who writes: what the first line of a segment says about its process."""

from __future__ import annotations

import os
import socket
import sys
from functools import cache
from hashlib import sha256
from importlib.metadata import version
from pathlib import Path
from typing import Any

__all__ = ["process_facts"]


def process_facts() -> dict[str, Any]:
    """Host, boot, process and program. What the system does not tell is left out.

    `process_started` is in clock ticks after boot (proc(5), field 22 of `/proc/pid/stat`); together
    with `boot_id` and `pid` it names a process for ever. `argv_sha256` is over the arguments, each
    followed by a NUL: arguments may hold prompts, so they are not recorded themselves.
    """
    arguments = b"".join(os.fsencode(argument) + b"\0" for argument in sys.argv)
    facts = {
        "host": socket.gethostname(),
        "boot_id": _first_line(Path("/proc/sys/kernel/random/boot_id")),
        "pid": os.getpid(),
        "process_started": _process_started(),
        "argv_sha256": sha256(arguments).hexdigest(),
        "python": ".".join(map(str, sys.version_info[:3])),
        "version": _own_version(),
    }
    return {name: fact for name, fact in facts.items() if fact is not None}


@cache
def _own_version() -> str:
    return version("sashizu-audit")


def _first_line(path: Path) -> str | None:
    try:
        return path.read_text(encoding="ascii").strip()
    except (OSError, ValueError):
        return None


def _process_started() -> int | None:
    stat = _first_line(Path("/proc/self/stat"))
    # The second field is the program's name in parentheses, and may itself hold some.
    return int(stat.rpartition(")")[2].split()[19]) if stat else None
