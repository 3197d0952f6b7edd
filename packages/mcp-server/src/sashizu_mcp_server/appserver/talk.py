"""One conversation: messages are answered one after the other, by the agent `general`."""

from __future__ import annotations

from collections import deque
from collections.abc import Awaitable, Callable, Mapping
from pathlib import Path
from typing import Any

import anyio
import anyio.to_thread
from anyio.abc import TaskGroup
from sashizu_core import delegate_parallel
from sashizu_core.control import RunHandle
from sashizu_core.errors import SashizuError
from sashizu_core.home import state_home
from sashizu_core.operator_policy import OperatorPolicy
from sashizu_core.protocols import Approver
from sashizu_core.runtime.conversation import Conversation, save_conversation
from sashizu_core.types import AgentReport, RunReport, Task, Usage

from sashizu_mcp_server.server.ceiling import bounded
from sashizu_mcp_server.server.service import Service

__all__ = ["AGENT", "Talk", "began"]

AGENT = "general"

MOST_WAITING = 100
"""Messages of one conversation that wait for an answer."""

Tell = Callable[[str, Mapping[str, Any]], Awaitable[None]]
"""Tells listeners of an event: its type, and what belongs to it."""

_READ_ONLY = OperatorPolicy(fs_write=(), exec=(), net=(), source="the client's sandbox read-only")


async def began(model: str) -> tuple[str, Path]:
    """A new conversation, kept without a message: its id and its file.

    Raises:
        SashizuError: it cannot be kept.
    """
    new = Conversation(Conversation.new_id(), AGENT, model, (), Usage(requests=0))
    home = state_home()
    kept = await anyio.to_thread.run_sync(save_conversation, home, new)
    return kept.id, home / "conversations" / f"{kept.id}.jsonl"


class Talk:
    """A conversation while the server lives. `approver` is None where nobody is asked."""

    def __init__(
        self,
        service: Service,
        group: TaskGroup,
        conversation_id: str,
        tell: Tell,
        *,
        read_only: bool,
        approver: Approver | None,
    ) -> None:
        self._service = service
        self._group = group
        self._id = conversation_id
        self._tell = tell
        self._policy = _READ_ONLY if read_only else OperatorPolicy()
        self._approver = approver
        self._waiting: deque[str] = deque()
        self._handle: RunHandle | None = None
        self._at_work = False
        self._interrupted = False
        self._over = anyio.Event()

    def say(self, text: str) -> None:
        """Have a message answered, after those before it.

        Raises:
            SashizuError: too many wait.
        """
        if len(self._waiting) >= MOST_WAITING:
            raise SashizuError(f"{MOST_WAITING} messages wait for an answer already")
        self._waiting.append(text)
        if not self._at_work:
            self._at_work = True
            self._over = anyio.Event()
            self._group.start_soon(self._answer_all)

    async def interrupt(self) -> None:
        """End the turn, and forget messages that wait; returns when it has ended."""
        self._waiting.clear()
        if not self._at_work:
            return
        self._interrupted = True
        if self._handle is not None:
            self._handle.cancel("interrupted")
        await self._over.wait()

    async def _answer_all(self) -> None:
        try:
            while self._waiting:
                self._interrupted = False
                await self._turn(self._waiting.popleft())
        finally:
            self._at_work = False
            self._over.set()

    async def _turn(self, text: str) -> None:
        sending, deltas = anyio.create_memory_object_stream[str](10_000)

        def on_text(agent_id: str, piece: str) -> None:  # noqa: ARG001 - there is one agent
            try:
                sending.send_nowait(piece)
            except anyio.WouldBlock:
                return  # the whole message comes at the end

        await self._tell("task_started", {})
        report: RunReport | None = None
        try:
            async with anyio.create_task_group() as group:
                group.start_soon(self._stream, deltas)
                with sending:
                    report = await self._run(text, on_text)
        except SashizuError as error:
            await self._failed(str(error))
            return
        except BaseExceptionGroup as group_error:
            found = group_error.subgroup(SashizuError)
            if found is None:
                raise
            await self._failed(str(found.exceptions[0]))
            return
        if report is not None:
            await self._concluded(report.results[0])

    async def _run(self, text: str, on_text: Callable[[str, str], None]) -> RunReport:
        def begun(handle: RunHandle) -> None:
            self._handle = handle
            if self._interrupted:
                handle.cancel("interrupted")

        options = self._service.run_options()
        return await delegate_parallel(
            [Task(AGENT, text)],
            **options,
            settings=bounded(self._service.settings, self._policy),
            approver=self._approver,
            continue_conversation=self._id,
            on_text=on_text,
            on_start=begun,
        )

    async def _stream(self, deltas: Any) -> None:
        with deltas:
            async for piece in deltas:
                await self._tell("agent_message_delta", {"delta": piece})

    async def _concluded(self, result: AgentReport) -> None:
        self._handle = None
        usage = result.usage
        if result.answer:
            await self._tell("agent_message", {"message": result.answer})
        used = {"input_tokens": usage.input_tokens, "output_tokens": usage.output_tokens}
        total = {**used, "total_tokens": usage.tokens}
        await self._tell("token_count", {"info": {"last_token_usage": total}})
        if self._interrupted:
            await self._tell("turn_aborted", {"reason": "interrupted"})
            return
        if not result.ok:
            await self._tell("error", {"message": result.error})
        await self._tell("task_complete", {"last_agent_message": result.answer or None})

    async def _failed(self, message: str) -> None:
        self._handle = None
        await self._tell("error", {"message": self._service.redactor.text(message)})
        await self._tell("task_complete", {"last_agent_message": None})
