"""The control socket of a run: other processes of the same user can look, listen and cancel."""

from __future__ import annotations

import json
import logging
import time
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager, suppress
from dataclasses import asdict
from pathlib import Path
from typing import Any

import anyio
from anyio.abc import SocketStream
from anyio.streams.memory import MemoryObjectSendStream

from sashizu_core.approvals import plain_question
from sashizu_core.control.handle import RunHandle, RunInfo
from sashizu_core.control.wire import (
    SUPPORTED,
    read_line,
    same_user,
    send,
    short_path,
    socket_path,
)
from sashizu_core.errors import SashizuError
from sashizu_core.events import Event
from sashizu_core.protocols import Approval
from sashizu_core.redaction import Redactor
from sashizu_core.types import UNITS, BudgetState

__all__ = ["ControlServer"]

logger = logging.getLogger(__name__)

LAST_WORDS_S = 1.0
"""How long a run that has ended waits for who still reads its last events, in seconds."""

MOST_WAITING = 10_000
"""Events that wait for who listens and is slow; one more, and he is left behind."""


class _Feed:
    """A sink that passes events on to who listens on the socket."""

    persistent = False

    def __init__(self) -> None:
        self.listeners: set[MemoryObjectSendStream[Event]] = set()

    def write(self, events: Sequence[Event]) -> None:
        for listener in tuple(self.listeners):
            for event in events:
                try:
                    listener.send_nowait(event)
                except (anyio.WouldBlock, anyio.BrokenResourceError, anyio.ClosedResourceError):
                    # Who cannot keep up loses the feed, never the run, and is told by its end.
                    self.listeners.discard(listener)
                    listener.close()
                    break

    async def durable(self) -> None:
        await anyio.lowlevel.checkpoint()

    def child_handoff(self) -> Mapping[str, str]:
        return {}


class ControlServer:
    """Serves one run. `feed` is a sink to be added to the run's own.

    `redactor` takes secrets out of the state that is told to who asks for it; events come to the
    feed without any.
    """

    def __init__(
        self, handle: RunHandle, info: RunInfo, home: Path, redactor: Redactor | None = None
    ) -> None:
        self._redactor = redactor if redactor is not None else Redactor()
        self.feed = _Feed()
        self._handle = handle
        self._info = info
        self._folder = home / "runs"
        self._streams: set[anyio.Event] = set()

    @asynccontextmanager
    async def serve(self) -> AsyncIterator[None]:
        """Listen until the block is left; then write down how the run ended."""
        try:
            self._folder.mkdir(mode=0o700, parents=True, exist_ok=True)
            self._save()
        except OSError as error:
            reason = (error.strerror or str(error)).lower()
            raise SashizuError(
                f"the run cannot be noted in {str(self._folder)!r}: {reason}; "
                "SASHIZU_HOME names another folder for state"
            ) from error
        path = socket_path(self._folder, self._info.run_id)
        if not SUPPORTED:
            yield
            return
        try:
            with short_path(path) as short:
                listener = await anyio.create_unix_listener(short, mode=0o600)
            async with listener, anyio.create_task_group() as group:
                group.start_soon(listener.serve, self._answer)
                yield
                await self._last_words()
                group.cancel_scope.cancel()
        finally:
            path.unlink(missing_ok=True)

    def ended(self, status_text: str, success_count: int) -> None:
        self._info.ended_at = time.time()
        self._info.status = status_text
        self._info.success_count = success_count
        try:
            self._save()
        except OSError as error:  # the record has it all the same
            logger.warning("how the run ended cannot be noted for `runs list`: %s", error)

    def _save(self) -> None:
        path = self._folder / f"{self._info.run_id}.json"
        fresh = path.with_suffix(".new")
        fresh.write_text(json.dumps(self._redactor.value(asdict(self._info))), "utf-8")
        fresh.chmod(0o600)
        fresh.replace(path)

    async def _answer(self, stream: SocketStream) -> None:
        async with stream:
            if not same_user(stream):
                return
            try:
                await self._do(await _request(stream), stream)
            except (anyio.BrokenResourceError, anyio.ClosedResourceError, anyio.EndOfStream):
                return  # the peer has left; the run goes on
            except Exception as error:  # a question must not end the run it asks about
                logger.exception("a request on the control socket failed")
                with suppress(anyio.BrokenResourceError, anyio.ClosedResourceError):
                    await send(stream, {"error": f"unexpected {type(error).__name__}"})

    async def _do(self, request: Mapping[str, Any], stream: SocketStream) -> None:
        match request.get("do"):
            case "status":
                questions = {"questions": self._questions()}
                state = {**asdict(self._info), **self._handle.snapshot()}
                root = self._handle.root
                budget = {"budget": _plain_budget(root.state())} if root is not None else {}
                await send(stream, {**self._redactor.value(state), **budget, **questions})
            case "cancel":
                agent_id = request.get("agent_id")
                if agent_id is None:
                    self._handle.cancel("cancelled from outside")
                    found = True
                else:
                    found = self._handle.cancel_agent(str(agent_id))
                await send(stream, {"cancelled": found})
            case "events":
                await self._stream_events(stream)
            case "approve":
                await send(stream, self._approve(request))
            case "nonsense":
                await send(stream, {"error": f"not understood: {request.get('why')}"})
            case other:
                await send(stream, {"error": f"unknown request {other!r}"})

    def _questions(self) -> list[Mapping[str, Any]]:
        """What waits for an answer, without our keys; nothing else is hidden from who decides."""
        approvals = self._handle.approvals
        if approvals is None:
            return []
        plain = json.dumps([plain_question(q) for q in approvals.pending], default=str)
        found: list[Mapping[str, Any]] = json.loads(self._redactor.without_known(plain))
        return found

    def _approve(self, request: Mapping[str, Any]) -> Mapping[str, Any]:
        approvals, answer = self._handle.approvals, request.get("answer")
        if approvals is None:
            return {"error": "this run asks nobody: what needs an answer is denied"}
        if answer not in ("deny", "once", "run"):
            return {"error": f"{answer!r} is no answer: say 'deny', 'once' or 'run'"}
        given = Approval(answer, by="control socket")
        return {"answered": approvals.answer(str(request.get("question")), given)}

    async def _last_words(self) -> None:
        """Let who listens hear the end; nobody who is slow may hold it up for long."""
        for listener in tuple(self.feed.listeners):
            listener.close()
        with anyio.move_on_after(LAST_WORDS_S):
            for heard in tuple(self._streams):
                await heard.wait()

    async def _stream_events(self, stream: SocketStream) -> None:
        listener, arriving = anyio.create_memory_object_stream[Event](MOST_WAITING)
        heard = anyio.Event()
        self.feed.listeners.add(listener)
        self._streams.add(heard)
        try:
            async with listener, arriving:
                await send(stream, {"listening": True})
                async for event in arriving:
                    await send(stream, {"kind": event.kind, **event.fields})
        finally:
            self.feed.listeners.discard(listener)
            self._streams.discard(heard)
            heard.set()


def _plain_budget(state: BudgetState) -> Mapping[str, Mapping[str, int]]:
    """`limits`, `spent` and `held` by unit; of limits only those that there are."""
    limits = {unit: limit for unit in UNITS if (limit := getattr(state.limits, unit)) is not None}
    return {"limits": limits, "spent": asdict(state.spent), "held": asdict(state.held)}


async def _request(stream: SocketStream) -> Mapping[str, Any]:
    """What a peer asks for; whatever cannot be read is a request to hear so."""
    try:
        request = json.loads(await read_line(stream))
    except (ValueError, RecursionError) as error:
        return {"do": "nonsense", "why": str(error)}
    return request if isinstance(request, dict) else {"do": "nonsense", "why": "no JSON object"}
