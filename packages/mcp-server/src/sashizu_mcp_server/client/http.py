"""A server on the network, spoken to by streamable HTTP."""

from __future__ import annotations

from collections.abc import AsyncGenerator, AsyncIterator, Mapping
from contextlib import asynccontextmanager

import httpx2
from mcp.client.streamable_http import streamable_http_client

from sashizu_mcp_server.client.configured import ServerConfig
from sashizu_mcp_server.client.dialling import CheckedTransport, Dialled
from sashizu_mcp_server.client.judging import LOOPBACK
from sashizu_mcp_server.client.starting import expanded
from sashizu_mcp_server.client.stdio import MOST_MESSAGE_BYTES, TOO_LARGE, Streams

__all__ = ["http_streams", "may_be_asked"]

MOST_STREAM_BYTES = 64 * 1024 * 1024
"""Of one response that is a stream of messages."""


class _TooLarge(httpx2.StreamError):
    """A response is larger than what is taken of one."""

    def __init__(self, most: int) -> None:
        super().__init__(f"{TOO_LARGE}: {most}")


class _Counted(httpx2.AsyncByteStream):
    """A body that ends in an error where it is too large."""

    def __init__(self, inner: httpx2.AsyncByteStream, most: int) -> None:
        self._inner = inner
        self._most = most

    async def __aiter__(self) -> AsyncIterator[bytes]:
        seen = 0
        chunks = aiter(self._inner)
        try:
            async for chunk in chunks:
                seen += len(chunk)
                if seen > self._most:
                    raise _TooLarge(self._most)
                yield chunk
        finally:
            if isinstance(chunks, AsyncGenerator):
                await chunks.aclose()

    async def aclose(self) -> None:
        await self._inner.aclose()


def may_be_asked(asked: httpx2.URL, server: httpx2.URL) -> bool:
    """Whether an address may be asked, as far as encryption goes, that a server names.

    Without it, only the server itself may be, if it was configured so; and where that is on this
    machine, what else is there, such as where one logs in.
    """
    if asked.scheme == "https":
        return True
    there = server.host in LOOPBACK or asked.port == server.port
    return server.scheme == "http" and asked.host == server.host and there


@asynccontextmanager
async def http_streams(
    config: ServerConfig,
    url: httpx2.URL,
    env: Mapping[str, str],
    auth: httpx2.Auth | None,
    dialled: Dialled,
) -> AsyncIterator[Streams]:
    """Speak to a server; nothing is sent before the first message, and to no other address.

    Raises:
        NotStarted: a variable of a header is not set.
    """
    headers = {name: expanded(config, value, env) for name, value in config.entry.headers.items()}
    wait = httpx2.Timeout(30.0, read=max(config.timeout_s, config.start_timeout_s) + 30.0)

    async def out(request: httpx2.Request) -> None:
        if not may_be_asked(request.url, url):
            raise httpx2.UnsupportedProtocol(
                f"{request.url.host!r}, which the server names, is not asked without encryption"
            )

    async def back(response: httpx2.Response) -> None:
        kind = response.headers.get("content-type", "").lower()
        streamed = kind.startswith("text/event-stream")
        if response.headers.get("content-encoding", "identity").lower() != "identity":
            raise httpx2.DecodingError("the response is compressed, which was not asked for")
        if isinstance(response.stream, httpx2.AsyncByteStream):
            most = MOST_STREAM_BYTES if streamed else MOST_MESSAGE_BYTES
            response.stream = _Counted(response.stream, most)

    async with (
        httpx2.AsyncClient(
            headers={**headers, "accept-encoding": "identity"},
            timeout=wait,
            auth=auth,
            transport=CheckedTransport(dialled),
            event_hooks={"request": [out], "response": [back]},
        ) as client,
        streamable_http_client(
            str(url), http_client=client, max_sse_event_size=MOST_MESSAGE_BYTES
        ) as streams,
    ):
        read, write = streams
        yield read, write  # type: ignore[misc]  # streams that remember who wrote
