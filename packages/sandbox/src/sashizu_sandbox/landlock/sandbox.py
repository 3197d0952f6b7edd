"""The partial sandbox that is made by Landlock."""

from __future__ import annotations

import json
import os
import platform
import sys
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import replace
from pathlib import Path

import anyio
from sashizu_core.errors import SandboxError
from sashizu_core.sandboxing import Confinement, SandboxedProcess, SandboxInfo

from sashizu_sandbox.bubblewrap.kernel import memory_file
from sashizu_sandbox.landlock import becoming
from sashizu_sandbox.landlock.rules import RIGHTS_OF_A_FILE, rules_of
from sashizu_sandbox.plain import child
from sashizu_sandbox.seccomp.numbers import ARCHITECTURES
from sashizu_sandbox.seccomp.program import build_program
from sashizu_sandbox.streams import PipeReader, PipeWriter

__all__ = ["Landlock", "open_landlock", "probe_landlock"]

NAME = "landlock"

NEEDED_VERSION = 6

_LIMITS = {
    "RLIMIT_CPU": "cpu_s",
    "RLIMIT_AS": "memory_bytes",
    "RLIMIT_FSIZE": "file_bytes",
    "RLIMIT_NOFILE": "open_files",
}

_REASON = (
    "it holds files, connections and signals; not how many processes there are, nor Unix sockets "
    "that have a path, nor memory that is shared by number. There is no network, no /proc and no "
    "/tmp, and no file can be made beside a protected or hidden one"
)


def probe_landlock() -> SandboxInfo:
    """What Landlock can do here."""
    version = becoming.best_version()
    if version < NEEDED_VERSION:
        found = f"version {version}" if version else "none"
        reason = (
            f"Landlock of version {NEEDED_VERSION} is needed (Linux 6.12), and there is {found}"
        )
        return SandboxInfo(NAME, "none", reason)
    if os.geteuid() == 0:
        reason = "what root starts is held by no limits without namespaces"
        return SandboxInfo(NAME, "none", reason, "start sashizu as an ordinary user")
    if platform.machine() not in ARCHITECTURES:
        return SandboxInfo(NAME, "none", f"no filter of system calls for {platform.machine()!r}")
    return SandboxInfo(NAME, "partial", _REASON)


@asynccontextmanager
async def open_landlock() -> AsyncIterator[Landlock]:
    """Open the sandbox.

    Raises:
        SandboxError: it cannot be used here.
    """
    info = probe_landlock()
    if info.kind == "none":
        raise SandboxError(info.reason)
    yield Landlock(info)


class Landlock:
    """Starts programs that can open only what was granted."""

    def __init__(self, info: SandboxInfo) -> None:
        self._info = info
        self._filter = build_program(ARCHITECTURES[platform.machine()], families=("unix",)).hex()

    @property
    def info(self) -> SandboxInfo:
        return self._info

    @asynccontextmanager
    async def start(
        self, argv: Sequence[str], confinement: Confinement, *, stdin: bool = False
    ) -> AsyncIterator[SandboxedProcess]:
        if confinement.judge is not None or confinement.served:
            raise SandboxError(
                "a program that may connect to something needs the bubblewrap sandbox"
            )
        if not argv or not argv[0].startswith("/") or not os.access(argv[0], os.X_OK):
            raise SandboxError(f"{argv[0] if argv else ''!r} is not the absolute path of a program")
        description = memory_file(self._request(argv, confinement))
        told, tell = os.pipe()
        lifeline, life = os.pipe()
        ready = PipeReader(told)
        keeper = PipeWriter(life)  # closed, it ends the program: also if we are killed
        given = [description, tell, lifeline]
        helper = [sys.executable, "-I", "-S", becoming.__file__, *map(str, given)]
        bare = replace(confinement, environment={})
        try:
            async with child(
                helper, bare, stdin=stdin, pass_fds=tuple(given), end=keeper.close
            ) as process:
                while given:
                    os.close(given.pop())
                await _changed(ready)
                yield process
        finally:
            ready.close()
            keeper.close()
            for fd in given:
                os.close(fd)

    def _request(self, argv: Sequence[str], confinement: Confinement) -> bytes:
        request = {
            "argv": list(argv),
            "environment": dict(confinement.environment),
            "rules": [rule for rule in rules_of(confinement) if Path(rule[0]).exists()],
            "of_a_file": RIGHTS_OF_A_FILE,
            "filter": self._filter,
            "limits": {name: getattr(confinement.limits, of) for name, of in _LIMITS.items()},
        }
        return json.dumps(request).encode()


async def _changed(ready: PipeReader) -> None:
    """Wait until the program has taken the place of what prepared it.

    Raises:
        SandboxError: it could not.
    """
    try:
        said = await ready.receive()
    except anyio.EndOfStream:
        return
    raise SandboxError(f"the program could not be held: {said.decode('utf-8', 'replace')}")
