"""One client over stdin and stdout.

Calls of tools are handled here, first requests are answered from what is prepared, and everything
else goes through the protocol's library, which is imported when the first such frame comes.
"""

from __future__ import annotations

import logging
import os
from collections.abc import Mapping
from typing import Any

import anyio
from anyio.abc import TaskGroup
from pydantic_core import from_json, to_json

from sashizu_mcp_server.server.bridge import Bridge
from sashizu_mcp_server.server.caller import Answer
from sashizu_mcp_server.server.results import ToolAnswer
from sashizu_mcp_server.server.service import Service
from sashizu_mcp_server.server.wire import LineReader, LineWriter
from sashizu_mcp_server.startup.answers import CAPABILITIES_KEY, modern_envelope
from sashizu_mcp_server.startup.front import Opening
from sashizu_mcp_server.startup.prepared import Prepared

__all__ = ["Connection"]

logger = logging.getLogger(__name__)

GOODBYE_S = 3.0
"""How long calls may take to be answered after the client has closed its side, in seconds."""

_CHANGED = b'{"jsonrpc":"2.0","method":"notifications/tools/list_changed"}\n'


class Connection:
    """The one client of a server on stdio. `quiet_since` is when it last said something."""

    def __init__(
        self,
        service: Service,
        opening: Opening,
        *,
        stdin: int = 0,
        stdout: int = 1,
        server_info: Mapping[str, Any],
    ) -> None:
        self._service = service
        self._first = opening.first
        self._reader = LineReader(stdin, opening.frames, opening.rest)
        self._writer = LineWriter(stdout)
        self._info = server_info
        self._calls: dict[Any, anyio.CancelScope] = {}
        self._asked: dict[str, _Question] = {}
        self._notes = [to_json(note) for note in opening.first.notes] if opening.first else []
        self._bridge: Bridge | None = None
        self.quiet_since = anyio.current_time()

    @property
    def busy(self) -> bool:
        """Whether a call is at work."""
        return bool(self._calls)

    async def serve(self) -> None:
        """Serve until the client closes its side; calls have then ended, or were cancelled."""
        async with anyio.create_task_group() as group:
            self._bridge = Bridge(self._service, group, self._writer.send, self._tools_differ)
            async with anyio.create_task_group() as calls:
                async for line in self._reader:
                    self.quiet_since = anyio.current_time()
                    if line.strip():
                        await self._take(line, calls)
                    if self._writer.broken:
                        break
                for question in self._asked.values():
                    question.end(None)
                calls.cancel_scope.deadline = anyio.current_time() + GOODBYE_S
            self._bridge.close()
            group.cancel_scope.cancel()

    async def renewed(self, prepared: Prepared) -> None:
        """Answer with these from now on, and tell the client to ask for the tools again."""
        if self._first is not None:
            self._first.prepared = prepared
        await self._tools_differ()

    async def _tools_differ(self) -> None:
        if self._first is None or not self._first.modern:  # that era is told what it asked for
            await self._writer.send(_CHANGED)

    # --- frames -----------------------------------------------------------------------------------

    async def _take(self, line: bytes, group: TaskGroup) -> None:
        try:
            frame = from_json(line)
        except ValueError:
            return await self._to_library(line)
        if not isinstance(frame, dict) or self._first is None:
            return await self._to_library(line)
        method = frame.get("method")
        if method is None and frame.get("id") in self._asked:
            return self._asked[frame["id"]].end(frame)
        if method == "notifications/cancelled" and self._cancelled(frame.get("params")):
            return None
        if method == "tools/call" and not self._is_librarys() and (call := self._call(frame)):
            group.start_soon(self._run, *call)
            return None
        answer = None if self._is_librarys() else self._first.answer(frame)
        if answer:
            return await self._writer.send(answer)
        if answer is not None and not self._is_awake():
            self._notes.append(line)  # said again when the library wakes
            return None
        return await self._to_library(line)

    def _is_awake(self) -> bool:
        return self._bridge is not None and self._bridge.awake

    def _is_librarys(self) -> bool:
        """Whether the library has begun with something that no prepared answer fits."""
        first = self._first
        return self._is_awake() and (
            first is None or (first.initialize is None and not first.modern)
        )

    async def _to_library(self, line: bytes) -> None:
        assert self._bridge is not None
        first = self._first
        handshake = first.initialize if first is not None else None
        ours = first.handshake_answer() if first is not None else b""
        await self._bridge.feed(line, handshake, ours, self._notes)

    def _cancelled(self, params: Any) -> bool:
        """Cancel a call of ours; False if it is none."""
        request_id = params.get("requestId") if isinstance(params, dict) else None
        scope = self._calls.get(request_id) if isinstance(request_id, str | int) else None
        if scope is None:
            return False
        scope.cancel()
        return True

    # --- calls ------------------------------------------------------------------------------------

    def _call(self, frame: dict[str, Any]) -> tuple[Any, str, dict[str, Any], _StdioCaller] | None:
        """What a call asks for; None if the library has to judge its form."""
        assert self._first is not None
        request_id, params = frame.get("id"), frame.get("params")
        if type(request_id) not in (int, str) or request_id in self._calls:
            return None
        if not isinstance(params, dict) or not params.keys() <= {"name", "arguments", "_meta"}:
            return None
        name, arguments = params.get("name"), params.get("arguments", {})
        meta = params.get("_meta", {})
        if name not in self._service.tools or type(name) is not str:
            return None  # the library says so
        if not isinstance(arguments, dict) or not isinstance(meta, dict):
            return None
        modern = modern_envelope(params)
        if modern is None or modern == (self._first.initialize is not None):
            return None
        if frame.get("jsonrpc") != "2.0":
            return None
        able = _capabilities(self._first.initialize, meta)
        if modern and "elicitation" in able:
            return None  # may have to be answered with a question
        self._first.modern = self._first.modern or modern
        token = meta.get("progressToken")
        caller = _StdioCaller(
            self, token if type(token) in (int, str) else None, not modern and "elicitation" in able
        )
        caller.meta = meta
        caller.modern = bool(modern)
        return request_id, name, arguments, caller

    async def _run(
        self, request_id: Any, name: str, arguments: dict[str, Any], caller: _StdioCaller
    ) -> None:
        with anyio.CancelScope() as scope:
            self._calls[request_id] = scope
            try:
                answer = await self._service.call(name, arguments, caller)
                self._calls.pop(request_id, None)
                caller.over = True
                await self._writer.send(self._encoded(request_id, answer, modern=caller.modern))
                self._service.answered()
            finally:
                self._calls.pop(request_id, None)
                caller.over = True

    def _encoded(self, request_id: Any, answer: ToolAnswer, *, modern: bool) -> bytes:
        result: dict[str, Any] = {"content": [{"type": "text", "text": answer.text}]}
        if answer.structured is not None:
            result["structuredContent"] = answer.structured
        result["isError"] = answer.is_error
        if modern:
            result = {"_meta": self._info, "resultType": "complete", **result}
        return encoded({"jsonrpc": "2.0", "id": request_id, "result": result})

    # --- towards the client -----------------------------------------------------------------------

    async def notify(self, method: str, params: Mapping[str, Any]) -> None:
        await self._writer.send(encoded({"jsonrpc": "2.0", "method": method, "params": params}))

    async def ask(self, method: str, params: Mapping[str, Any]) -> Mapping[str, Any]:
        """Ask the client something and wait for the answer.

        Raises:
            OSError: it has gone, or answered with an error.
        """
        request_id = f"sashizu-{os.urandom(8).hex()}"
        question = self._asked[request_id] = _Question()
        try:
            frame = {"jsonrpc": "2.0", "id": request_id, "method": method, "params": params}
            await self._writer.send(encoded(frame))
            return await question.answer()
        except anyio.get_cancelled_exc_class():
            params = {"requestId": request_id, "reason": "not needed any more"}
            with anyio.move_on_after(1.0, shield=True):
                await self.notify("notifications/cancelled", params)
            raise
        finally:
            del self._asked[request_id]


def encoded(frame: Mapping[str, Any]) -> bytes:
    """A frame as one line. Halves of surrogate pairs, which no JSON may hold, become marks."""
    try:
        return to_json(frame) + b"\n"
    except ValueError:
        import json

        text = json.dumps(frame, ensure_ascii=False, separators=(",", ":"), default=str)
        return text.encode("utf-8", "replace") + b"\n"


def _capabilities(
    handshake: Mapping[str, Any] | None, meta: Mapping[str, Any]
) -> Mapping[str, Any]:
    found = meta.get(CAPABILITIES_KEY) if handshake is None else handshake["params"]["capabilities"]
    return found if isinstance(found, dict) else {}


class _Question:
    """A request of ours that waits for the client's answer."""

    def __init__(self) -> None:
        self._done = anyio.Event()
        self._frame: Mapping[str, Any] | None = None

    def end(self, frame: Mapping[str, Any] | None) -> None:
        """Hear the answer; None if there will be none."""
        self._frame = frame
        self._done.set()

    async def answer(self) -> Mapping[str, Any]:
        await self._done.wait()
        if self._frame is None:
            raise OSError("it has gone")
        result = self._frame.get("result")
        if not isinstance(result, dict):
            raise OSError(f"it answered {str(self._frame.get('error'))[:200]}")
        return result


class _StdioCaller:
    """The client behind one call. `over` says that the call was answered."""

    def __init__(self, connection: Connection, token: str | int | None, can_ask: bool) -> None:
        self._connection = connection
        self._token = token
        self.can_ask = can_ask
        self.modern = False
        self.over = False
        self.meta: Mapping[str, Any] = {}

    async def progress(self, seconds: float, message: str) -> None:
        if self._token is not None and not self.over:
            params = {"progressToken": self._token, "progress": seconds, "message": message}
            await self._connection.notify("notifications/progress", params)

    async def ask(self, message: str, form: Mapping[str, Any]) -> Answer:
        params = {"message": message, "requestedSchema": form}
        found = await self._connection.ask("elicitation/create", params)
        action, content = found.get("action"), found.get("content")
        if action not in ("accept", "decline", "cancel"):
            raise OSError(f"it answered {str(found)[:200]}")
        return Answer(action, content if isinstance(content, dict) else {})
