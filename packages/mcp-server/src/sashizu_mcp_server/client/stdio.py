"""A server as a program in the sandbox of its agent, spoken to by lines of JSON."""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager

import anyio
from anyio.abc import ByteReceiveStream, ByteSendStream, ObjectReceiveStream, ObjectSendStream
from mcp.shared.message import SessionMessage
from mcp_types import jsonrpc_message_adapter
from sashizu_core.sandboxing import Confinement, Sandbox, SandboxedProcess

from sashizu_mcp_server.client.faults import BadReply, ReplyTooLarge, ServerGone
from sashizu_mcp_server.client.life import Life
from sashizu_mcp_server.client.words import clean_line

__all__ = ["MOST_MESSAGE_BYTES", "TOO_LARGE", "Streams", "stdio_streams"]

MOST_MESSAGE_BYTES = 8 * 1024 * 1024
"""Of one message of a server."""

TOO_LARGE = "more bytes than are taken"
"""What stands in an error of the library where we cut a message."""

MOST_BAD_LINES = 200
"""Lines that are no message, in one life: programs print a greeting, or a log."""

WORDS_BYTES = 4096
"""How much of what a server wrote to its standard error is remembered, the last of it."""

WAITING = 64
"""Messages that may wait to be written, so that nobody waits to say that nobody waits."""

PARTING_S = 2.0
"""How long a server may take to end when nobody speaks to it any more, in seconds."""

STATUS_S = 1.0

CHUNK_BYTES = 64 * 1024

Streams = tuple[ObjectReceiveStream[SessionMessage | Exception], ObjectSendStream[SessionMessage]]

_ENDED = (anyio.EndOfStream, anyio.ClosedResourceError, anyio.BrokenResourceError)


@asynccontextmanager
async def stdio_streams(
    life: Life, sandbox: Sandbox, argv: Sequence[str], confinement: Confinement
) -> AsyncIterator[Streams]:
    """Start a server; on leaving, it and everything that it started is dead.

    Raises:
        SandboxError: it cannot be held, or not be started.
    """
    async with sandbox.start(argv, confinement, stdin=True) as process:
        talk = _Talk(life, process)
        try:
            async with anyio.create_task_group() as group:
                group.start_soon(talk.hear)
                group.start_soon(talk.say)
                group.start_soon(talk.overhear)
                try:
                    yield talk.heard, talk.to_say
                finally:
                    with anyio.move_on_after(PARTING_S, shield=True):
                        await talk.part()
                    group.cancel_scope.cancel()
        finally:
            talk.close()


class _Talk:
    """The three pipes of one server."""

    def __init__(self, life: Life, process: SandboxedProcess) -> None:
        self._life = life
        self._process = process
        self._hears, self.heard = anyio.create_memory_object_stream[SessionMessage | Exception](0)
        self.to_say, self._says = anyio.create_memory_object_stream[SessionMessage](WAITING)
        self._words = bytearray()
        self._silent = anyio.Event()
        self._bad = 0

    async def part(self) -> None:
        """Say nothing any more, and wait until it has ended."""
        await self.to_say.aclose()
        await self._process.wait()

    def close(self) -> None:
        for stream in (self._hears, self.heard, self.to_say, self._says):
            stream.close()

    async def say(self) -> None:
        stdin = self._process.stdin
        assert stdin is not None
        try:
            async with self._says, stdin:
                async for item in self._says:
                    text = item.message.model_dump_json(by_alias=True, exclude_unset=True)
                    await _send(stdin, text.encode() + b"\n")
        except (*_ENDED, OSError):
            how = await self._how_it_ended("does not listen any more")
            self._life.end(ServerGone(self._life.server, how))

    async def overhear(self) -> None:
        """Remember the last of what it writes beside the protocol, and let none of it pile up."""
        try:
            while True:
                self._words += await self._process.stderr.receive(CHUNK_BYTES)
                del self._words[:-WORDS_BYTES]
        except (*_ENDED, OSError):
            return
        finally:
            self._silent.set()

    async def hear(self) -> None:
        async with self._hears:
            try:
                await self._lines(self._process.stdout)
            except (anyio.ClosedResourceError, anyio.BrokenResourceError, OSError):
                return  # nobody hears it any more

    async def _lines(self, stdout: ByteReceiveStream) -> None:
        rest = bytearray()
        while True:
            try:
                data = await stdout.receive(CHUNK_BYTES)
            except anyio.EndOfStream:
                if self._life.fault is None:  # before the stream ends, so that whoever waits knows
                    how = await self._how_it_ended("closed its output")
                    self._life.fault = ServerGone(self._life.server, how)
                return
            if b"\n" in data:
                first, *lines = data.split(b"\n")
                rest += first
                lines.insert(0, bytes(rest))
                rest = bytearray(lines.pop())
                for line in lines:
                    if not await self._take(line):
                        return
            else:
                rest += data
            if len(rest) > MOST_MESSAGE_BYTES:
                self._end_too_large()
                return

    def _end_too_large(self) -> None:
        why = f"said more than {MOST_MESSAGE_BYTES} bytes in one message"
        self._life.end(ReplyTooLarge(self._life.server, why))

    async def _take(self, line: bytes) -> bool:
        """Hand on one line; False where there is no more talking to it."""
        if len(line) > MOST_MESSAGE_BYTES:
            self._end_too_large()
            return False
        if not line.strip():
            return True
        try:
            message = jsonrpc_message_adapter.validate_json(line, by_name=False)
        except (ValueError, RecursionError):
            self._bad += 1
            if self._bad <= MOST_BAD_LINES:
                return True
            why = f"wrote more than {MOST_BAD_LINES} lines that are no message"
            self._life.end(BadReply(self._life.server, why))
            return False
        await self._hears.send(SessionMessage(message))
        return True

    async def _how_it_ended(self, otherwise: str) -> str:
        status: int | None = None
        with anyio.move_on_after(STATUS_S):
            status = await self._process.wait()
            await self._silent.wait()  # its last words may still lie in the pipe
        words = clean_line(self._words.decode("utf-8", "replace"), WORDS_BYTES)[-300:]
        ended = otherwise if status is None else f"ended with status {status}"
        return f"{ended}: {words}" if words else ended


async def _send(stdin: ByteSendStream, data: bytes) -> None:
    await stdin.send(data)
