"""Stands before the pages: refuses what `Access` refuses, and gives every answer its headers."""

from __future__ import annotations

from starlette.datastructures import Headers, MutableHeaders
from starlette.responses import HTMLResponse, PlainTextResponse, Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from sashizu_dashboard.access import HEADERS, Access, Refusal
from sashizu_dashboard.markup import rendered

__all__ = ["Guarded"]


class Guarded:
    """An ASGI application behind a door."""

    def __init__(self, behind: ASGIApp, access: Access) -> None:
        self._behind = behind
        self._access = access

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            return
        headers = Headers(scope=scope)
        plain = {name.lower(): value for name, value in headers.items()}
        doubled = len(headers.getlist("host")) != 1 or len(headers.getlist("origin")) > 1
        refusal = self._access.refusal(scope["method"], scope["path"], plain)
        if doubled:
            refusal = Refusal(400, "a header is there twice")
        answer = self._behind if refusal is None else self._answer(refusal, plain)

        async def guarded(message: Message) -> None:
            if message["type"] == "http.response.start":
                MutableHeaders(raw=message["headers"]).update(HEADERS)
            await send(message)

        await answer(scope, receive, guarded)

    def _answer(self, refusal: Refusal, headers: dict[str, str]) -> Response:
        if refusal.status == 401 and "text/html" in headers.get("accept", ""):
            page = rendered("enter.html", access=self._access, wrong=False, entered=False)
            return HTMLResponse(page, 401)
        return PlainTextResponse(f"{refusal.why}\n", refusal.status)
