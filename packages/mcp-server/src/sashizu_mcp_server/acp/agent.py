"""What the library calls: the methods of the protocol that an agent answers."""

from __future__ import annotations

from functools import partial
from typing import Any

import anyio
import anyio.to_thread
from acp.exceptions import RequestError
from acp.interfaces import Client
from acp.meta import PROTOCOL_VERSION
from acp.schema import (
    AgentCapabilities,
    Implementation,
    InitializeResponse,
    LoadSessionResponse,
    NewSessionResponse,
    PromptCapabilities,
    PromptResponse,
)
from sashizu_core.errors import SashizuError, UsageError

import sashizu_mcp_server
from sashizu_mcp_server.acp.replay import replayed
from sashizu_mcp_server.acp.session import EditorOptions, EditorSession, kept_session, new_session

__all__ = ["EditorAgent"]

LAST_PROMPTS_S = 8.0
"""How long prompts may take to end when the editor is gone, in seconds."""


class EditorAgent:
    """The agent side of one connection; its sessions end with it."""

    def __init__(self, options: EditorOptions) -> None:
        self._options = options
        self._sessions: dict[str, EditorSession] = {}
        self._client: Client | None = None

    def on_connect(self, conn: Client) -> None:
        self._client = conn

    @property
    def _editor(self) -> Client:
        assert self._client is not None
        return self._client

    async def initialize(self, protocol_version: int, **_: Any) -> InitializeResponse:  # noqa: ARG002
        return InitializeResponse(
            protocol_version=PROTOCOL_VERSION,
            agent_capabilities=AgentCapabilities(
                load_session=True,
                prompt_capabilities=PromptCapabilities(embedded_context=True),
            ),
            agent_info=Implementation(
                name="sashizu", title="sashizu", version=sashizu_mcp_server.__version__
            ),
            auth_methods=[],
        )

    async def new_session(self, cwd: str, **_: Any) -> NewSessionResponse:
        session = await self._opened(partial(new_session, cwd, self._options))
        return NewSessionResponse(session_id=session.session_id)

    async def load_session(self, cwd: str, session_id: str, **_: Any) -> LoadSessionResponse:
        session = await self._opened(partial(kept_session, cwd, session_id, self._options))
        for update in replayed(session.messages, session.root):
            await self._editor.session_update(session_id=session.session_id, update=update)
        return LoadSessionResponse()

    async def prompt(self, session_id: str, prompt: list[Any], **_: Any) -> PromptResponse:
        session = self._session(session_id)
        try:
            ended = await session.prompt(self._editor, prompt)
        except SashizuError as error:
            raise _refusal(error, session) from None
        told = {"run_id": ended.run_id, "tokens": ended.tokens}
        return PromptResponse(stop_reason=ended.reason, field_meta={"sashizu": told})

    async def cancel(self, session_id: str, **_: Any) -> None:
        if (session := self._sessions.get(session_id)) is not None:
            session.cancel("cancelled in the editor")

    async def close(self) -> None:
        """End every prompt with its report."""
        with anyio.move_on_after(LAST_PROMPTS_S, shield=True):
            for session in self._sessions.values():
                if session.at_work:
                    session.cancel("the editor is gone")
                    await session.done.wait()

    async def _opened(self, make: Any) -> EditorSession:
        try:
            session: EditorSession = await anyio.to_thread.run_sync(make)
        except SashizuError as error:
            raise _refusal(error, None) from None
        known = self._sessions.get(session.session_id)
        if known is not None and known.at_work:
            raise RequestError(-32602, "a prompt of this session is at work")
        self._sessions[session.session_id] = session
        return session

    def _session(self, session_id: str) -> EditorSession:
        session = self._sessions.get(session_id)
        if session is None:
            raise RequestError(-32602, f"there is no session {session_id!r:.100} here: load it")
        return session


def _refusal(error: SashizuError, session: EditorSession | None) -> RequestError:
    """An error as the protocol has it: what was asked is wrong, or it could not be done."""
    text = str(error) if session is None else session.redactor.text(str(error))
    return RequestError(-32602 if isinstance(error, UsageError) else -32603, text)
