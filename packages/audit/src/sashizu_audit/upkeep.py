"""Looks after a record while a process writes it: seals what has ended, and signs each hour.

A thread looks now and then; a program of its own does the work, so that the process that writes
loads no database and waits for nothing. Both end with the writer.
"""

from __future__ import annotations

import logging
import re
import subprocess
import sys
import threading
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from sashizu_core.home import state_home

from sashizu_audit.settings import AuditSettings
from sashizu_audit.writer_lines import SYSTEM_CLOCK, Clock

__all__ = ["LOOK_S", "Program", "Task", "Upkeep", "Work", "is_silent", "much_waits", "start_upkeep"]

LOOK_S = 60.0
"""Seconds between two looks, and how long what has ended waits for what may follow it."""

SIGN_S = 3600.0
"""Seconds after which a checkpoint is made though nothing happened: then silence is signed."""

Task = Literal["seal", "sign"]
Work = Callable[[Path, Sequence[Task]], str]
"""Does what is due in the record in a folder; returns what failed, or an empty text. Blocks."""

_MIB = 1024 * 1024
_MANY = 64
"""So many small segments make queries slow, whatever their size."""

_GRACE_S = 5.0
"""Seconds that work under way gets when the writer ends; broken off, the next attempt goes on."""

_SMALL = 64 * 1024
_KIND = re.compile(rb'"seq":\d{1,19},"kind":"([a-z_.]+)"')
_OWN = (b"writer.", b"audit.sealed", b"audit.checkpointed")
"""Beginnings of kinds that upkeep itself writes."""

_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class _Waiting:
    """A segment whose writer has ended, and since when, in Unix nanoseconds."""

    path: Path
    size: int
    since_ns: int


def much_waits(settings: AuditSettings) -> bool:
    """Whether so much waits to be sealed that whoever ends should do it."""
    return _is_much(settings, _waiting(settings.folder))


def is_silent(folder: Path, clock: Clock = SYSTEM_CLOCK) -> bool:
    """Whether the newest checkpoint is so old that the next is due.

    Raises:
        OSError: it cannot be looked at.
    """
    try:
        made_ns = (folder / "checkpoints" / "checkpoint").stat().st_mtime_ns
    except FileNotFoundError:
        return True
    return clock.wall_ns() - made_ns >= SIGN_S * 1e9


class Upkeep:
    """Looks whether something is due for the record `store_id`, and has it done.

    `wait` waits so many seconds and says whether that was the end.
    """

    def __init__(
        self,
        settings: AuditSettings,
        store_id: str,
        work: Work,
        wait: Callable[[float], bool],
        clock: Clock = SYSTEM_CLOCK,
    ) -> None:
        self._settings = settings
        self._store_id = store_id
        self._work = work
        self._wait = wait
        self._clock = clock
        self._told = ""

    def run(self) -> None:
        """Look again and again, until `wait` says that it is enough. Blocks."""
        while not self._wait(LOOK_S):
            try:
                tasks = self.due()
                failed = self._work(self._settings.folder, tasks) if tasks else ""
            except OSError as error:
                failed = str(error)
            if failed and failed != self._told:
                _log.warning("the record is not looked after: %s", failed)
            self._told = failed

    def due(self) -> list[Task]:
        """What there is to do now.

        Raises:
            OSError: the record cannot be looked at.
        """
        tasks: list[Task] = []
        if self._settings.seal_mib:
            found = _waiting(self._settings.folder)
            if _is_much(self._settings, found) or any(self._is_ripe(one) for one in found):
                tasks.append("seal")
        if self._is_silent():
            tasks.append("sign")
        return tasks

    def _is_ripe(self, one: _Waiting) -> bool:
        if self._clock.wall_ns() - one.since_ns < LOOK_S * 1e9:
            return False
        return not _is_own(one)

    def _is_silent(self) -> bool:
        """Whether nothing was signed for long, and there is a key to do it with."""
        if not (state_home() / "keys" / f"{self._store_id}.pem").exists():
            return False
        return is_silent(self._settings.folder, self._clock)


def start_upkeep(settings: AuditSettings, store_id: str) -> Callable[[], None]:
    """Begin to look after a record; what is returned ends it, and blocks until it has ended."""
    enough, program = threading.Event(), Program()
    upkeep = Upkeep(settings, store_id, program, enough.wait)
    thread = threading.Thread(target=upkeep.run, name="sashizu-upkeep", daemon=True)
    thread.start()

    def stop() -> None:
        enough.set()
        thread.join(_GRACE_S)
        if thread.is_alive():
            program.end()
            thread.join()

    return stop


class Program:
    """Does the work in a program of its own."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._process: subprocess.Popen[bytes] | None = None
        self._ended = False

    def __call__(self, folder: Path, tasks: Sequence[Task]) -> str:
        words = [sys.executable, "-P", "-m", "sashizu_audit.upkeep_program", str(folder), *tasks]
        with self._lock:
            if self._ended:
                return ""
            self._process = subprocess.Popen(  # noqa: S603 - our own program
                words,
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                stderr=subprocess.PIPE,
            )
        _, said = self._process.communicate()
        if self._process.returncode == 0 or self._ended:
            return ""
        return said.decode("utf-8", "replace").strip()[-400:] or "it was killed"

    def end(self) -> None:
        """Break it off."""
        with self._lock:
            self._ended = True
            if self._process is not None:
                self._process.kill()


def _waiting(folder: Path) -> list[_Waiting]:
    from sashizu_audit.disk import is_locked
    from sashizu_audit.layout import segment_paths

    found = []
    for path in segment_paths(folder):
        with suppress(OSError):
            facts = path.stat()
            if facts.st_size and not is_locked(path):
                found.append(_Waiting(path, facts.st_size, facts.st_mtime_ns))
    return found


def _is_much(settings: AuditSettings, found: Sequence[_Waiting]) -> bool:
    return len(found) >= _MANY or sum(one.size for one in found) >= settings.seal_mib * _MIB


def _is_own(one: _Waiting) -> bool:
    """Whether a segment tells of upkeep alone: to seal it would only make another one."""
    if one.size > _SMALL:
        return False
    try:
        kinds = [_KIND.search(line) for line in one.path.read_bytes().splitlines()]
    except FileNotFoundError:
        return True  # sealed meanwhile
    return all(kind is not None and kind[1].startswith(_OWN) for kind in kinds)
