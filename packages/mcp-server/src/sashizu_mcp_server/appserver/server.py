"""JSON-RPC 2.0 without its `jsonrpc` member, one object a line, over stdin and stdout."""

from __future__ import annotations

import logging
import sys
from collections.abc import Awaitable, Callable, Mapping
from typing import Any, TypeVar

import anyio
from anyio.abc import TaskGroup
from pydantic import BaseModel, ValidationError
from pydantic_core import from_json
from sashizu_core.errors import SashizuError, UsageError
from sashizu_core.ids import uuid7

import sashizu_mcp_server
from sashizu_mcp_server.appserver.approving import ApprovalRequests
from sashizu_mcp_server.appserver.arguments import (
    AddListener,
    ConversationRef,
    Initialize,
    Item,
    NewConversation,
    RemoveListener,
    SendUserMessage,
)
from sashizu_mcp_server.appserver.talk import Talk, began
from sashizu_mcp_server.server.service import Service
from sashizu_mcp_server.server.stdio import encoded
from sashizu_mcp_server.server.wire import LineReader, LineWriter

__all__ = ["AppServer"]

logger = logging.getLogger(__name__)

INVALID_REQUEST, METHOD_NOT_FOUND, INTERNAL = -32600, -32601, -32603

P = TypeVar("P", bound=BaseModel)


class _Refused(Exception):
    """A request that is answered with an error."""

    def __init__(self, message: str, code: int = INVALID_REQUEST) -> None:
        super().__init__(message)
        self.code = code


class AppServer:
    """The one client of a process."""

    def __init__(self, service: Service, *, stdin: int = 0, stdout: int = 1) -> None:
        self._service = service
        self._reader = LineReader(stdin, [], b"")
        self._writer = LineWriter(stdout)
        self._questions = ApprovalRequests(self._request)
        self._talks: dict[str, Talk] = {}
        self._listeners: dict[str, str] = {}
        self._greeted = False
        self._group: TaskGroup | None = None
        self._methods: Mapping[str, Callable[[Any], Awaitable[Mapping[str, Any]]]] = {
            "newConversation": self._new,
            "sendUserMessage": self._say,
            "interruptConversation": self._interrupt,
            "addConversationListener": self._listen,
            "removeConversationListener": self._unlisten,
        }

    async def serve(self) -> None:
        """Serve until the client closes its side; turns then end."""
        async with anyio.create_task_group() as group:
            self._group = group
            async for line in self._reader:
                if line.strip():
                    await self._take(line, group)
                if self._writer.broken:
                    break
            group.cancel_scope.cancel()

    async def _take(self, line: bytes, group: TaskGroup) -> None:
        try:
            frame = from_json(line)
        except ValueError:
            frame = None
        if not isinstance(frame, dict):
            await self._answer(None, error=(INVALID_REQUEST, "Invalid request"))
            return
        request_id, method = frame.get("id"), frame.get("method")
        if method is None and isinstance(request_id, str | int):
            self._questions.answered(request_id, frame.get("result"))
            return
        if request_id is None:
            return  # a notification, such as `initialized`
        if not isinstance(method, str) or not isinstance(request_id, str | int):
            await self._answer(None, error=(INVALID_REQUEST, "Invalid request"))
        elif method == "interruptConversation":  # answered only when the turn has ended
            group.start_soon(self._handle, request_id, method, frame.get("params"))
        else:
            await self._handle(request_id, method, frame.get("params"))

    async def _handle(self, request_id: str | int, method: str, params: Any) -> None:
        try:
            result = await self._result(method, {} if params is None else params)
        except _Refused as refused:
            await self._answer(request_id, error=(refused.code, str(refused)))
        except UsageError as error:
            await self._answer(request_id, error=(INVALID_REQUEST, self._shown(error)))
        except SashizuError as error:
            await self._answer(request_id, error=(INTERNAL, self._shown(error)))
        else:
            await self._answer(request_id, result=result)

    def _shown(self, error: SashizuError) -> str:
        return self._service.redactor.text(str(error))

    async def _result(self, method: str, params: Any) -> Mapping[str, Any]:
        if method == "initialize":
            return self._initialize(params)
        if not self._greeted:
            raise _Refused("Not initialized")
        handler = self._methods.get(method)
        if handler is None:
            known = ", ".join(self._methods)
            raise _Refused(f"there is no method {method!r}; known: {known}", METHOD_NOT_FOUND)
        return await handler(params)

    def _initialize(self, params: Any) -> Mapping[str, Any]:
        if self._greeted:
            raise _Refused("Already initialized")
        client = _read(Initialize, params).clientInfo
        self._greeted = True
        version = sashizu_mcp_server.__version__
        return {"userAgent": f"sashizu/{version} ({sys.platform}; {client.name}/{client.version})"}

    # --- methods ----------------------------------------------------------------------------------

    async def _new(self, params: Any) -> Mapping[str, Any]:
        asked = _read(NewConversation, params)
        if asked.cwd is not None and not self._is_workspace(asked.cwd):
            raise _Refused(f"this server works in {self._service.root}, and nowhere else")
        conversation_id, file = await began(asked.model or "")
        assert self._group is not None
        self._talks[conversation_id] = Talk(
            self._service,
            self._group,
            conversation_id,
            lambda kind, event: self._told(conversation_id, kind, event),
            read_only=asked.sandbox == "read-only",
            approver=(
                None
                if asked.approvalPolicy == "never"
                else self._questions.approver(conversation_id, str(self._service.root))
            ),
        )
        model = asked.model or self._service.settings.run.model
        return {"conversationId": conversation_id, "model": model, "rolloutPath": str(file)}

    def _is_workspace(self, cwd: str) -> bool:
        root = self._service.root
        return (root / cwd).resolve() == root.resolve()

    async def _say(self, params: Any) -> Mapping[str, Any]:
        asked = _read(SendUserMessage, params)
        talk = self._talk(asked.conversationId)
        talk.say("\n\n".join(_text(item) for item in asked.items))
        return {}

    async def _interrupt(self, params: Any) -> Mapping[str, Any]:
        await self._talk(_read(ConversationRef, params).conversationId).interrupt()
        return {"abortReason": "interrupted"}

    async def _listen(self, params: Any) -> Mapping[str, Any]:
        conversation_id = _read(AddListener, params).conversationId
        self._talk(conversation_id)
        subscription = uuid7()
        self._listeners[subscription] = conversation_id
        return {"subscriptionId": subscription}

    async def _unlisten(self, params: Any) -> Mapping[str, Any]:
        subscription = _read(RemoveListener, params).subscriptionId
        if self._listeners.pop(subscription, None) is None:
            raise _Refused(f"subscription not found: {subscription}")
        return {}

    def _talk(self, conversation_id: str) -> Talk:
        talk = self._talks.get(conversation_id)
        if talk is None:
            raise _Refused(f"conversation not found: {conversation_id}")
        return talk

    # --- towards the client -----------------------------------------------------------------------

    async def _told(self, conversation_id: str, kind: str, event: Mapping[str, Any]) -> None:
        if conversation_id in self._listeners.values():
            params = {"msg": {"type": kind, **event}, "conversationId": conversation_id}
            await self._send({"method": f"codex/event/{kind}", "params": params})

    async def _request(self, request_id: str, method: str, params: Mapping[str, Any]) -> None:
        await self._send({"id": request_id, "method": method, "params": params})

    async def _answer(
        self,
        request_id: str | int | None,
        *,
        result: Mapping[str, Any] | None = None,
        error: tuple[int, str] | None = None,
    ) -> None:
        if error is not None:
            told = {"code": error[0], "message": error[1]}
            await self._send({"id": request_id, "error": told})
        else:
            await self._send({"id": request_id, "result": result})

    async def _send(self, frame: Mapping[str, Any]) -> None:
        await self._writer.send(encoded(frame))


def _read(model: type[P], params: Any) -> P:
    try:
        return model.model_validate(params)
    except ValidationError as error:
        fault = error.errors(include_url=False, include_input=False)[0]
        where = ".".join(str(part) for part in fault["loc"])
        raise _Refused(f"Invalid request: {where}: {fault['msg']}") from None


def _text(item: Item) -> str:
    text = item.data.get("text")
    if item.type != "text" or not isinstance(text, str):
        raise _Refused(f"only text can be sent, not {item.type!r}")
    return text
