"""Runs what was judged: argv by argv, in the sandbox, with pipes of our own."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import AsyncExitStack
from dataclasses import dataclass

import anyio
from anyio.abc import ByteReceiveStream, ByteSendStream
from sashizu_core.sandboxing import Confinement, Sandbox, SandboxedProcess

from sashizu_sandbox.shell.joining import Joint, Target
from sashizu_sandbox.shell.output import Lines, Output
from sashizu_sandbox.shell.programs import Program

__all__ = ["Command", "Ended", "Stage", "run_commands"]

CHUNK_BYTES = 64 * 1024

LAST_LINES_S = 2.0
"""How long to listen for output after a program has ended, in seconds."""

_UNREAD = (-13, 128 + 13)
"""How SIGPIPE shows."""


@dataclass(frozen=True, slots=True)
class Command:
    """One program with its arguments, and what holds it; `argv[0]` is its absolute path."""

    program: Program
    argv: tuple[str, ...]
    confinement: Confinement
    stdout: Target
    stderr: Target


@dataclass(frozen=True, slots=True)
class Stage:
    """Commands that are piped into each other, and how they are joined to what came before."""

    joint: Joint
    commands: tuple[Command, ...]


@dataclass(frozen=True, slots=True)
class Ended:
    """How a list of commands ended: the status of `program`, minus a signal if one ended it."""

    status: int
    program: str


async def run_commands(stages: Sequence[Stage], sandbox: Sandbox, output: Output) -> Ended:
    """Run stage after stage as they are joined; says how the last one ended that ran.

    Raises:
        SandboxError: a program could not be started.
        ToolError: a program is not the one any more that was judged.
    """
    ended = Ended(0, "")
    for stage in stages:
        if (stage.joint == "&&" and ended.status) or (stage.joint == "||" and not ended.status):
            continue
        ended = await _run_stage(stage.commands, sandbox, output)
    return ended


async def _run_stage(commands: Sequence[Command], sandbox: Sandbox, output: Output) -> Ended:
    """Run commands side by side, each reading from the one before it.

    The last that failed says how it ended: a failure is not hidden by who reads its output. That a
    program was ended because nobody read any more is no failure.
    """
    async with AsyncExitStack() as stack:
        running: list[_Running] = []
        for at, command in enumerate(commands):
            command.program.check()
            started = sandbox.start(command.argv, command.confinement, stdin=at > 0)
            running.append(_Running(command, await stack.enter_async_context(started), output))
        async with anyio.create_task_group() as group:
            for at, one in enumerate(running):
                after = running[at + 1].process.stdin if at + 1 < len(running) else None
                group.start_soon(one.pump, after)
            statuses = [await one.process.wait() for one in running]
            # What a program left behind may hold its output open for ever.
            group.cancel_scope.deadline = anyio.current_time() + LAST_LINES_S
    failed = [
        at
        for at, (status, one) in enumerate(zip(statuses, running, strict=True))
        if status and not one.unread and status not in _UNREAD
    ]
    last = failed[-1] if failed else len(commands) - 1
    return Ended(statuses[last] if failed else 0, commands[last].program.name)


@dataclass(slots=True)
class _Running:
    """One program that was started; `unread` says that it was ended because nobody read it."""

    command: Command
    process: SandboxedProcess
    output: Output
    unread: bool = False

    async def pump(self, after: ByteSendStream | None) -> None:
        """Carry what it prints to where it goes, until it prints no more."""
        async with anyio.create_task_group() as group:
            group.start_soon(self._carry, self.process.stdout, self.command.stdout, after)
            group.start_soon(self._carry, self.process.stderr, self.command.stderr, after)
        if after is not None:
            await _close(after)

    async def _carry(
        self, source: ByteReceiveStream, target: Target, after: ByteSendStream | None
    ) -> None:
        lines = Lines(self.output)
        try:
            while data := await _receive(source):
                if target == "out" and after is not None:
                    if not await _sent(after, data):
                        # Closing our end does not close the pipe on every event loop.
                        self.unread = True
                        self.process.kill()
                        return
                elif target != "nowhere":
                    lines.feed(data)
        finally:
            lines.feed(b"", final=True)


async def _receive(source: ByteReceiveStream) -> bytes:
    try:
        return await source.receive(CHUNK_BYTES)
    except (anyio.EndOfStream, anyio.ClosedResourceError, anyio.BrokenResourceError):
        return b""


async def _sent(target: ByteSendStream, data: bytes) -> bool:
    try:
        await target.send(data)
    except (anyio.BrokenResourceError, anyio.ClosedResourceError):
        return False
    return True


async def _close(target: ByteSendStream) -> None:
    try:
        await target.aclose()
    except (anyio.BrokenResourceError, OSError):
        return  # its reader is gone already
