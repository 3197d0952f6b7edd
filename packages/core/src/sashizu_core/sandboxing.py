"""What holds a program: what it may touch, and what a sandbox has to do."""

from __future__ import annotations

import os
from collections.abc import Awaitable, Callable, Mapping, Sequence
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal, Protocol

from anyio.abc import ByteReceiveStream, ByteSendStream, ByteStream

from sashizu_core.errors import SandboxError
from sashizu_core.grants import NetRequest
from sashizu_core.types import Decision

__all__ = [
    "Confinement",
    "NoSandbox",
    "ProcessLimits",
    "Sandbox",
    "SandboxInfo",
    "SandboxedProcess",
    "check_links",
]


@dataclass(frozen=True, slots=True)
class SandboxInfo:
    """What a sandbox really does on this machine.

    `enforced`: everything in a `Confinement` holds. `partial`: `reason` says what does not.
    `none`: it cannot be used, or holds nothing; `reason` says why, `remedy` what a person can do.
    """

    name: str
    kind: Literal["enforced", "partial", "none"]
    reason: str = ""
    remedy: str = ""


@dataclass(frozen=True, slots=True)
class ProcessLimits:
    """What one program and all that it starts may use.

    `cpu_s` in seconds of one process, `memory_bytes` of address space of one process,
    `file_bytes` of one file, `processes` in all, `open_files` of one process.
    """

    cpu_s: int = 600
    memory_bytes: int = 8 * 1024**3
    file_bytes: int = 1024**3
    processes: int = 256
    open_files: int = 1024


@dataclass(frozen=True, slots=True)
class Confinement:
    """What one program may touch, made from the effective permission of its agent.

    All paths are absolute. `cwd` is where it starts. `readable` and `writable` are what was
    granted; `writable` is readable too. `protected` are paths inside of them that stay read-only,
    whether they exist or not; `hidden` are paths inside of them that cannot be read at all.
    `environment` is all that it gets. `judge` decides on every connection; None is no network.
    What is granted in `workspace` is shown only while no symbolic link leads to it.
    `served` are ports of the program's own 127.0.0.1, and who answers connections to them outside;
    a sandbox that gives it no network of its own refuses them.
    """

    cwd: Path
    readable: tuple[Path, ...] = ()
    writable: tuple[Path, ...] = ()
    protected: tuple[Path, ...] = ()
    hidden: tuple[Path, ...] = ()
    environment: Mapping[str, str] = field(default_factory=dict)
    limits: ProcessLimits = ProcessLimits()
    workspace: Path | None = None
    judge: Callable[[NetRequest], Awaitable[Decision]] | None = None
    served: Mapping[int, Callable[[ByteStream], Awaitable[None]]] = field(default_factory=dict)


def check_links(confinement: Confinement) -> None:
    """Refuse a confinement one of whose paths in the workspace has become a symbolic link.

    Sandboxes call it before they show anything: another agent may have put the link there.

    Raises:
        SandboxError: one has.
    """
    workspace = confinement.workspace
    if workspace is None:
        return
    for path in (*confinement.writable, *confinement.readable):
        if path.is_relative_to(workspace) and os.path.realpath(path) != str(path):
            raise SandboxError(
                f"no program is run: {str(path)!r} was granted, and a symbolic link leads there now"
            )


class SandboxedProcess(Protocol):
    """A program in its sandbox. `stdin` is None where nothing is written to it."""

    @property
    def stdin(self) -> ByteSendStream | None: ...

    @property
    def stdout(self) -> ByteReceiveStream: ...

    @property
    def stderr(self) -> ByteReceiveStream: ...

    async def wait(self) -> int:
        """Wait until it has ended; its exit status, or minus the signal that ended it."""
        ...

    def kill(self) -> None:
        """End it and everything that it started, at once."""
        ...


class NoSandbox:
    """Stands where nothing can hold a program: it starts none, and says why."""

    def __init__(self, info: SandboxInfo) -> None:
        self._info = info

    @property
    def info(self) -> SandboxInfo:
        return self._info

    def start(
        self,
        argv: Sequence[str],
        confinement: Confinement,  # noqa: ARG002 - as `Sandbox` has it
        *,
        stdin: bool = False,  # noqa: ARG002
    ) -> AbstractAsyncContextManager[SandboxedProcess]:
        remedy = f"; {self._info.remedy}" if self._info.remedy else ""
        raise SandboxError(f"{argv[0]!r} is not run: {self._info.reason}{remedy}")


class Sandbox(Protocol):
    """Starts programs so that they can touch only what they were given."""

    @property
    def info(self) -> SandboxInfo: ...

    def start(
        self, argv: Sequence[str], confinement: Confinement, *, stdin: bool = False
    ) -> AbstractAsyncContextManager[SandboxedProcess]:
        """Start a program; `argv[0]` is its absolute path.

        On leaving, also by cancellation, the program and everything that it started is dead.

        Raises:
            SandboxError: it cannot be held, or not be started; then nothing ran.
        """
        ...
