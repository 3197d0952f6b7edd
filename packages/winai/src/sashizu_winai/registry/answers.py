"""What our MCP server answers first: asked of the server itself, because Windows compares.

The registry wants the answers to `initialize` and `tools/list` beforehand, and refuses a server
that answers otherwise later.
"""

from __future__ import annotations

import json
import subprocess
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import anyio
from anyio.abc import Process
from anyio.streams.buffered import BufferedByteReceiveStream

from sashizu_winai.errors import Failed, TimedOut

__all__ = ["ServerAnswers", "ask_server"]

PROTOCOL = "2025-06-18"
"""The version of the protocol that the registry's own examples speak."""

_LONGEST_LINE = 8 * 1024 * 1024
_MOST_LINES = 1_000
_REMEDY = "run it by hand with the same words, and look at what it prints"


@dataclass(frozen=True, slots=True)
class ServerAnswers:
    """Two results of the protocol, word by word."""

    initialize: Mapping[str, Any]
    tools: Sequence[Mapping[str, Any]]

    @property
    def name(self) -> str:
        return str(self.initialize["serverInfo"]["name"])

    @property
    def version(self) -> str:
        return str(self.initialize["serverInfo"]["version"])


async def ask_server(command: Sequence[str], *, timeout: float = 60.0) -> ServerAnswers:  # noqa: ASYNC109
    """Start a server, ask it, and end it.

    Args:
        command: what serves MCP on its stdin and stdout.
        timeout: seconds for all of it.

    Raises:
        TimedOut: it did not answer in time.
        Failed: it cannot be started, ends, or answers something else.
    """
    operation = f"ask {command[0]!r} for its tools"
    try:
        with anyio.fail_after(timeout):
            return await _asked(operation, command)
    except TimeoutError as error:
        found = f"it did not answer within {timeout:g} s"
        raise TimedOut(operation, found, remedy=_REMEDY) from error
    except OSError as error:  # what is left of closing its pipes
        raise Failed(operation, "it ended before it answered", remedy=_REMEDY) from error


async def _asked(operation: str, command: Sequence[str]) -> ServerAnswers:
    try:
        opened = await anyio.open_process(list(command), stderr=subprocess.DEVNULL)
    except OSError as error:
        raise Failed(operation, f"it cannot be started: {error}", remedy=_REMEDY) from error
    async with opened as process:
        try:
            talk = _Talk(operation, process)
            about = {"name": "sashizu-winai", "version": "1"}
            greeting = {"protocolVersion": PROTOCOL, "capabilities": {}, "clientInfo": about}
            initialize = await talk.ask("initialize", greeting)
            await talk.tell("notifications/initialized")
            listed = (await talk.ask("tools/list", {})).get("tools")
        finally:
            process.kill()
    info = initialize.get("serverInfo")
    named = isinstance(info, dict) and info.get("name") and info.get("version")
    if not named or not isinstance(listed, list):
        raise Failed(operation, "it does not say its name, version and tools", remedy=_REMEDY)
    return ServerAnswers(initialize, [one for one in listed if isinstance(one, dict)])


class _Talk:
    """A conversation of one question after the other."""

    def __init__(self, operation: str, process: Process) -> None:
        assert process.stdin is not None
        assert process.stdout is not None
        self._operation = operation
        self._stdin = process.stdin
        self._stdout = BufferedByteReceiveStream(process.stdout)
        self._last = 0

    async def tell(self, method: str, **more: Any) -> None:
        line = json.dumps({"jsonrpc": "2.0", **more, "method": method})
        try:
            await self._stdin.send(line.encode() + b"\n")
        except (anyio.BrokenResourceError, anyio.ClosedResourceError) as error:
            raise Failed(self._operation, "it does not listen", remedy=_REMEDY) from error

    async def ask(self, method: str, params: Mapping[str, Any]) -> Mapping[str, Any]:
        """The result of a request; what else the server says meanwhile is passed over."""
        self._last += 1
        await self.tell(method, id=self._last, params=params)
        for _ in range(_MOST_LINES):
            message = await self._message()
            if message.get("id") == self._last and "method" not in message:
                result = message.get("result")
                if isinstance(result, dict):
                    return result
                found = f"it answers {method} with {str(message.get('error'))[:200]}"
                raise Failed(self._operation, found, remedy=_REMEDY)
        raise Failed(self._operation, f"it never answers {method}", remedy=_REMEDY)

    async def _message(self) -> Mapping[str, Any]:
        try:
            line = await self._stdout.receive_until(b"\n", _LONGEST_LINE)
            message = json.loads(line)
        except (anyio.IncompleteRead, anyio.EndOfStream, anyio.DelimiterNotFound) as error:
            raise Failed(self._operation, "it ended, or says too much", remedy=_REMEDY) from error
        except ValueError as error:
            raise Failed(self._operation, "it says what is no JSON", remedy=_REMEDY) from error
        return message if isinstance(message, dict) else {}
