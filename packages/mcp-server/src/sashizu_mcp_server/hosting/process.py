"""One server that was started for one agent, spoken to by lines of JSON."""

from __future__ import annotations

import logging
import os
import sys
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from typing import Any

import anyio
from anyio.abc import Process, TaskGroup
from pydantic_core import from_json, to_json
from sashizu_core.errors import SashizuError
from sashizu_core.handoff import LEASE_VARIABLE, TRACE_VARIABLE
from sashizu_core.protocols import Approver, Question
from sashizu_core.settings import Settings

from sashizu_mcp_server.client.words import clean_line
from sashizu_mcp_server.server.leased import APPROVALS, QUESTIONS, handed_settings

__all__ = ["AgentProcess", "agent_process"]

logger = logging.getLogger(__name__)

VERSION = "2025-11-25"

MOST_BYTES = 64 * 1024 * 1024
"""Of one message: reports hold those of all agents below."""

WORDS_BYTES = 4096

CHUNK_BYTES = 64 * 1024

PARTING_S = 5.0
"""How long a process may take to end when nobody speaks to it any more, in seconds."""


class AgentProcess:
    """A server that is starting or has started. `ready` once it has answered."""

    def __init__(self, process: Process, group: TaskGroup) -> None:
        self.approver: Approver | None = None
        self._process = process
        self._group = group
        self._waiting: dict[int, _Answer] = {}
        self._last = 0
        self._words = bytearray()
        self._ended = anyio.Event()
        self._quiet = anyio.Event()

    @property
    def ended(self) -> bool:
        """Whether it says nothing any more."""
        return self._ended.is_set()

    def kill(self) -> None:
        with suppress(ProcessLookupError):
            self._process.kill()

    async def greet(self, settings: Settings) -> None:
        """Tell it the settings, and shake hands.

        Raises:
            SashizuError: it ended instead.
        """
        await self._put(handed_settings(settings))
        about = {"name": "sashizu", "version": "1"}
        await self.ask(
            "initialize",
            {"protocolVersion": VERSION, "capabilities": {"elicitation": {}}, "clientInfo": about},
        )
        await self._send({"jsonrpc": "2.0", "method": "notifications/initialized"})

    async def call(
        self, tool: str, arguments: Mapping[str, Any], meta: Mapping[str, Any]
    ) -> Mapping[str, Any]:
        """Call a tool; returns its structured content.

        Raises:
            SashizuError: it answered with an error, or ended.
        """
        params = {"name": tool, "arguments": arguments, "_meta": meta}
        result = await self.ask("tools/call", params)
        if result.get("isError") or not isinstance(result.get("structuredContent"), dict):
            texts = [part.get("text", "") for part in result.get("content", ())]
            raise SashizuError(" ".join(texts) or "the process of the agent gave no answer")
        content: Mapping[str, Any] = result["structuredContent"]
        return content

    async def ask(self, method: str, params: Mapping[str, Any]) -> Mapping[str, Any]:
        """Ask something and wait for the result.

        Raises:
            SashizuError: it answered with an error, or ended.
        """
        self._last += 1
        answer = self._waiting[self._last] = _Answer()
        try:
            if self._ended.is_set():
                raise SashizuError(await self._how_it_ended())
            await self._send(
                {"jsonrpc": "2.0", "id": self._last, "method": method, "params": params}
            )
            await answer.here.wait()
        finally:
            self._waiting = {k: v for k, v in self._waiting.items() if v is not answer}
        if answer.frame is None:
            raise SashizuError(await self._how_it_ended())
        result = answer.frame.get("result")
        if not isinstance(result, dict):
            error = str(answer.frame.get("error"))[:500]
            raise SashizuError(f"the process of the agent answered {error}")
        return result

    async def _send(self, frame: Mapping[str, Any]) -> None:
        await self._put(to_json(frame) + b"\n")

    async def _put(self, line: bytes) -> None:
        assert self._process.stdin is not None
        try:
            await self._process.stdin.send(line)
        except (OSError, anyio.BrokenResourceError, anyio.ClosedResourceError):
            raise SashizuError(await self._how_it_ended()) from None

    # --- what it says -----------------------------------------------------------------------------

    async def hear(self) -> None:
        """Take its answers until it ends."""
        assert self._process.stdout is not None
        rest = bytearray()
        try:
            while len(rest) <= MOST_BYTES:
                rest += await self._process.stdout.receive(CHUNK_BYTES)
                *lines, last = bytes(rest).split(b"\n") if b"\n" in rest[-CHUNK_BYTES:] else (rest,)
                rest = bytearray(last)
                for line in lines:
                    self._take(bytes(line))
        except (anyio.EndOfStream, anyio.BrokenResourceError, anyio.ClosedResourceError):
            pass
        finally:
            self._ended.set()
            for answer in self._waiting.values():
                answer.here.set()

    def _take(self, line: bytes) -> None:
        try:
            frame = from_json(line)
        except ValueError:
            return
        if isinstance(frame, dict) and frame.get("method") == "elicitation/create":
            self._group.start_soon(self._answer, frame)
        elif isinstance(frame, dict) and "method" not in frame:
            number = frame.get("id")
            answer = self._waiting.get(number) if isinstance(number, int) else None
            if answer is not None:
                answer.frame = frame
                answer.here.set()

    async def _answer(self, frame: dict[str, Any]) -> None:
        """Put a question of the agent there."""
        content: Mapping[str, Any] = {"answer": "deny", "reason": "nobody can be asked"}
        if self.approver is not None:
            try:
                question = QUESTIONS.validate_json(frame["params"]["message"])
            except (ValueError, KeyError, TypeError):
                content = {"answer": "deny", "reason": "the question is none"}
            else:
                content = await self._asked(self.approver, question)
        result = {"action": "accept", "content": content}
        with suppress(SashizuError):  # it has ended: nobody waits for the answer
            await self._send({"jsonrpc": "2.0", "id": frame.get("id"), "result": result})

    async def _asked(self, approver: Approver, question: Question) -> Mapping[str, Any]:
        try:
            content: Mapping[str, Any] = APPROVALS.dump_python(await approver.ask(question))
        except Exception as error:
            logger.exception("a question of an agent could not be put")
            return {"answer": "deny", "reason": f"whoever is asked failed: {error}"}
        return content

    async def overhear(self) -> None:
        """Remember the last of what it writes beside the protocol."""
        assert self._process.stderr is not None
        try:
            while True:
                self._words += await self._process.stderr.receive(CHUNK_BYTES)
                del self._words[:-WORDS_BYTES]
        except (anyio.EndOfStream, anyio.BrokenResourceError, anyio.ClosedResourceError):
            pass
        finally:
            self._quiet.set()

    async def _how_it_ended(self) -> str:
        status: int | None = None
        with anyio.move_on_after(1.0):
            status = await self._process.wait()
            await self._quiet.wait()
        how = "answers no more" if status is None else f"ended with status {status}"
        words = clean_line(self._words.decode("utf-8", "replace"), WORDS_BYTES)[-300:]
        return f"the process of the agent {how}{f': {words}' if words else ''}"

    async def part(self) -> None:
        """Say nothing any more, and see it end; kill it if it does not."""
        process = self._process
        assert process.stdin is not None
        with suppress(OSError, anyio.BrokenResourceError, anyio.ClosedResourceError):
            await process.stdin.aclose()
        with anyio.move_on_after(PARTING_S):
            await process.wait()
            return
        self.kill()
        await process.wait()


class _Answer:
    __slots__ = ("frame", "here")

    def __init__(self) -> None:
        self.frame: dict[str, Any] | None = None
        self.here = anyio.Event()


@asynccontextmanager
async def agent_process(root: Path) -> AsyncIterator[AgentProcess]:
    """Start a server for one agent; when the block ends it has ended.

    It is in a session of its own, so that it hears nothing of a terminal's signals: whoever has
    them here says what is to become of it.

    Raises:
        SashizuError: it cannot be started.
    """
    environment = {
        name: value
        for name, value in os.environ.items()
        if name not in (LEASE_VARIABLE, TRACE_VARIABLE)
    }
    # Without -P the folder would be where Python looks for modules first, and whoever may write it
    # would choose what runs here.
    command = [sys.executable, "-P", "-m", "sashizu_mcp_server.startup.front", "--leased"]
    try:
        process = await anyio.open_process(
            command, cwd=root, env=environment, start_new_session=True
        )
    except OSError as error:
        raise SashizuError(f"the process of an agent cannot be started: {error}") from error
    try:
        async with anyio.create_task_group() as group:
            agent = AgentProcess(process, group)
            group.start_soon(agent.hear)
            group.start_soon(agent.overhear)
            try:
                yield agent
            finally:
                with anyio.CancelScope(shield=True):
                    await agent.part()
                group.cancel_scope.cancel()
    finally:
        with anyio.CancelScope(shield=True):
            await process.aclose()
