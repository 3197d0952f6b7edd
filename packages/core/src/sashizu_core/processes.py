"""Which process owns what it drew, and whether that process is still there.

A process is its number and when it started, so that a number that is used again names nobody else.
"""

from __future__ import annotations

import os
import subprocess
import sys
from dataclasses import dataclass
from functools import cache
from pathlib import Path

__all__ = ["Owner", "is_gone", "this_process"]


@dataclass(frozen=True, slots=True)
class Owner:
    """A process. `started` tells processes of one number apart, empty where it is not known."""

    pid: int
    started: str


def this_process() -> Owner:
    """The process that asks."""
    return _this(os.getpid())


@cache
def _this(pid: int) -> Owner:
    return Owner(pid, _started(pid) or "")


def is_gone(owner: Owner) -> bool:
    """Whether a process has ended, as far as that can be told; in doubt it has not."""
    if owner == this_process():
        return False
    if not owner.started:
        return False
    if not _comparable(owner.started):
        return False  # of another boot or container, whose numbers mean nothing here
    return _started(owner.pid) != owner.started


if sys.platform == "linux":

    @cache
    def _machine() -> str:
        """The boot and the space of process numbers."""
        boot = Path("/proc/sys/kernel/random/boot_id").read_text("ascii").strip()
        return f"{boot}/{os.stat('/proc/self/ns/pid').st_ino}"  # noqa: PTH116 - not followed twice

    def _started(pid: int) -> str | None:
        """When a process started, None where there is none; proc(5), field 22."""
        try:
            text = Path(f"/proc/{pid}/stat").read_text("ascii", "replace")
        except OSError:
            return None
        fields = text.rpartition(")")[2].split()
        state, ticks = fields[0], fields[19]
        return None if state in ("Z", "X") else f"{_machine()}/{ticks}"

    def _comparable(started: str) -> bool:
        """Of this boot and this space of numbers; another boot is told by the caller's `!=`."""
        boot, space = _machine().split("/")
        theirs = started.split("/")
        return theirs[0] != boot or theirs[1] == space

else:

    def _started(pid: int) -> str | None:
        """When a process started, as the system's own tool says it."""
        if sys.platform == "win32":
            script = f"(Get-Process -Id {pid}).StartTime.ToFileTimeUtc()"
            command = ["powershell", "-NoProfile", "-NonInteractive", "-Command", script]
        else:
            command = ["ps", "-o", "lstart=", "-p", str(pid)]
        try:
            found = subprocess.run(  # noqa: S603 - a number is all that varies
                command, capture_output=True, text=True, check=False, timeout=10
            )
        except (OSError, subprocess.TimeoutExpired):
            return ""
        return found.stdout.strip() or None

    def _comparable(started: str) -> bool:
        return bool(started)
