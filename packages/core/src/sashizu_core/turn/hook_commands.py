"""Starts the command of a hook, tells it what happened, and hears it to its end."""

from __future__ import annotations

import os
from dataclasses import replace
from pathlib import Path
from typing import Any

import anyio

from sashizu_core.reactions import Reaction
from sashizu_core.reactions.book import ReactionBook
from sashizu_core.reactions.said import Said, read_said
from sashizu_core.sandboxing import Confinement, Sandbox, SandboxedProcess

__all__ = ["SHELL", "answered", "held"]

OUTPUT_BYTES = 64 * 1024
"""Bytes of each stream of a command that are kept; the others are read and dropped."""

SHELL = "/bin/sh"

_IN_FOLDER = 'cd -- "$0" 2>/dev/null; exec /bin/sh -c "$1"'
_ANYWHERE = Path("/")

_SURROUNDINGS = {
    "HOME": "/tmp",  # noqa: S108 - its own: what is there is gone when it ends
    "LANG": "C.UTF-8",
    "NO_COLOR": "1",
    "PATH": "/usr/local/bin:/usr/bin:/bin",
}


def held(made: Confinement, book: ReactionBook) -> Confinement:
    """What holds a command: its agent's confinement, read-only, without a network."""
    if not book.settings.write:
        made = replace(made, readable=(*made.writable, *made.readable), writable=(), protected=())
    surroundings = {**_SURROUNDINGS, "CLAUDE_PROJECT_DIR": os.fspath(book.root)}
    return replace(
        made,
        cwd=_ANYWHERE,
        environment={**made.environment, **surroundings},
        judge=None,
    )


async def answered(
    sandbox: Sandbox, confinement: Confinement, reaction: Reaction, payload: str, workspace: Path
) -> Said:
    """Start a command, tell it what happened, and hear it to its end.

    Raises:
        SandboxError: it cannot be held, or not be started.
    """
    out, err = bytearray(), bytearray()
    # Of a workspace that its agent reads in parts only, the root is shown as a way to them alone.
    argv = (SHELL, "-c", _IN_FOLDER, os.fspath(workspace), reaction.command)
    async with (
        sandbox.start(argv, confinement, stdin=True) as process,
        anyio.create_task_group() as group,
    ):
        group.start_soon(_read, process.stdout, out)
        group.start_soon(_read, process.stderr, err)
        group.start_soon(_tell, process, payload.encode("utf-8", "surrogatepass"))
        status = await process.wait()
    text, complaint = (bytes(data).decode("utf-8", "replace") for data in (out, err))
    return read_said(reaction, status, text, complaint)


async def _tell(process: SandboxedProcess, data: bytes) -> None:
    if process.stdin is None:
        return
    try:
        await process.stdin.send(data)
        await process.stdin.aclose()
    except (anyio.BrokenResourceError, anyio.ClosedResourceError, OSError):
        return  # it does not want to know


async def _read(stream: Any, into: bytearray) -> None:
    try:
        async for part in stream:
            into += part[: OUTPUT_BYTES - len(into)]
    except (anyio.BrokenResourceError, anyio.ClosedResourceError, OSError):
        return
