"""Messages as lines of JSON on two descriptors: the transport that the library is given."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any

from pydantic_core import from_json, to_json

from sashizu_mcp_server.server.wire import LineReader, LineWriter

__all__ = ["LineTransport"]

_NO_JSON = {"code": -32700, "message": "Parse error: a line is no JSON"}
_NO_REQUEST = {"code": -32600, "message": "Invalid Request: a message is one object"}


class LineTransport:
    """Reads and writes one message a line. What is none is answered, and read over."""

    def __init__(self, stdin: int, stdout: int) -> None:
        self._lines: AsyncIterator[bytes] = LineReader(stdin, [], b"").__aiter__()
        self._writer = LineWriter(stdout)

    async def send(self, message: dict[str, Any]) -> None:
        """Write one message.

        Raises:
            ConnectionError: nobody reads any more.
        """
        await self._writer.send(to_json(message, inf_nan_mode="null") + b"\n")
        if self._writer.broken:
            raise ConnectionError("the editor does not read any more")

    async def receive(self) -> dict[str, Any] | None:
        """The next message, None once the editor has closed its side."""
        async for line in self._lines:
            if not line.strip():
                continue
            try:
                message = from_json(line)
            except ValueError:
                await self._answer(_NO_JSON)
                continue
            if isinstance(message, dict):
                return message
            await self._answer(_NO_REQUEST)
        return None

    async def close(self) -> None:
        """Nothing to do: the descriptors end with the process."""

    async def _answer(self, error: dict[str, Any]) -> None:
        await self._writer.send(to_json({"jsonrpc": "2.0", "id": None, "error": error}) + b"\n")
