"""Calls that wait for a person, in the era in which a server sends no requests.

A call that needs an answer is answered with the question and a state; the client asks, and makes
the same call again with answer and state. Between the two the call exists here, at work.
"""

from __future__ import annotations

import secrets
from collections.abc import Mapping
from typing import Any

import anyio
from anyio.abc import TaskGroup
from sashizu_core.errors import UsageError

from sashizu_mcp_server.server.caller import Answer, Caller, NobodyThere
from sashizu_mcp_server.server.results import ToolAnswer

__all__ = ["Asking", "ParkedCalls"]

MOST_PARKED = 200
KEPT_S = 300.0
"""How long what a call came to is kept for a client that does not come back, in seconds."""


class Asking:
    """What a client is to ask before it calls again: forms by question, and the state to bring."""

    __slots__ = ("forms", "state")

    def __init__(self, forms: Mapping[str, Mapping[str, Any]], state: str) -> None:
        self.forms = forms
        self.state = state


class _Parked:
    """One call. As a caller it collects the questions, and hears the answers that come."""

    can_ask = True

    def __init__(self, name: str, arguments: Mapping[str, Any]) -> None:
        self.name = name
        self.arguments = arguments
        self.scope = anyio.CancelScope()
        self.changed = anyio.Event()
        self.listener: Caller = NobodyThere()
        self.answer: ToolAnswer | None = None
        self.open: dict[str, dict[str, Any]] = {}
        self._heard: dict[str, anyio.Event] = {}
        self._answers: dict[str, Mapping[str, Any]] = {}
        self._count = 0

    def change(self) -> None:
        self.changed.set()
        self.changed = anyio.Event()

    async def progress(self, seconds: float, message: str) -> None:
        await self.listener.progress(seconds, message)

    async def ask(self, message: str, form: Mapping[str, Any]) -> Answer:
        self._count += 1
        key = f"q{self._count}"
        self.open[key] = {"message": message, "requestedSchema": dict(form)}
        heard = self._heard[key] = anyio.Event()
        self.change()
        try:
            await heard.wait()
        finally:
            self.open.pop(key, None)
            del self._heard[key]
        found = self._answers.pop(key)
        action, content = found.get("action"), found.get("content")
        if action not in ("accept", "decline", "cancel"):
            raise OSError(f"it answered {str(found)[:200]}")
        return Answer(action, content if isinstance(content, dict) else {})

    def hear(self, responses: Mapping[str, Any]) -> None:
        """Take answers to open questions; others are dropped."""
        for key, value in responses.items():
            if key in self._heard and isinstance(value, Mapping):
                self._answers[key] = value
                self.open.pop(key, None)
                self._heard[key].set()


class ParkedCalls:
    """The calls of one server that may be asked about. They belong to its task group."""

    def __init__(self, group: TaskGroup) -> None:
        self._group = group
        self._parked: dict[str, _Parked] = {}

    async def call(
        self,
        service: Any,
        name: str,
        arguments: Mapping[str, Any],
        caller: Caller,
        *,
        responses: Mapping[str, Any] | None,
        state: str | None,
    ) -> ToolAnswer | Asking:
        """Begin a call, or go on with the one of a state, until it ends or needs an answer."""
        try:
            if state is None:
                parked = self._begun(service, name, arguments)
            else:
                parked = self._found(state, name, arguments)
        except UsageError as error:
            return ToolAnswer(str(error), is_error=True)
        parked.listener = caller
        try:
            parked.hear(responses or {})
            while parked.answer is None and not parked.open:
                await parked.changed.wait()
        except anyio.get_cancelled_exc_class():
            parked.scope.cancel()
            raise
        finally:
            parked.listener = NobodyThere()
        if parked.answer is not None:
            return parked.answer
        token = secrets.token_urlsafe(24)
        self._parked[token] = parked
        return Asking(dict(parked.open), token)

    def _found(self, state: str, name: str, arguments: Mapping[str, Any]) -> _Parked:
        """The call of a state, which counts once; brought with another call, it is over."""
        parked = self._parked.pop(state, None)
        if parked is None:
            raise UsageError("this call is over, or never was: make it again without a state")
        if (parked.name, parked.arguments) != (name, arguments):
            parked.scope.cancel()
            raise UsageError("this state belongs to another call")
        return parked

    def _begun(self, service: Any, name: str, arguments: Mapping[str, Any]) -> _Parked:
        if len(self._parked) >= MOST_PARKED:
            raise UsageError(f"{MOST_PARKED} calls wait for an answer, and no more are taken")
        parked = _Parked(name, arguments)
        self._group.start_soon(self._work, service, parked)
        return parked

    async def _work(self, service: Any, parked: _Parked) -> None:
        with parked.scope:
            parked.answer = await service.call(parked.name, parked.arguments, parked)
            service.answered()
            parked.change()
            if any(each is parked for each in self._parked.values()):
                await anyio.sleep(KEPT_S)  # nobody listens: it was not answered in time
        for token in [key for key, each in self._parked.items() if each is parked]:
            del self._parked[token]
