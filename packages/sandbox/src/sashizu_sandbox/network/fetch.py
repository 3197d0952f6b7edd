"""The tool `fetch`."""

from __future__ import annotations

from collections.abc import Sequence

import anyio.to_thread
from pydantic import Field
from sashizu_core.builtin.text import Lines, shown, split_lines
from sashizu_core.builtin.typed import Arguments, TypedTool
from sashizu_core.errors import ToolError
from sashizu_core.grants import NetRequest, PermissionRequest
from sashizu_core.protocols import ToolContext
from sashizu_core.types import Decision, StepKind, ToolResult

from sashizu_sandbox.network.dialling import Dialler
from sashizu_sandbox.network.following import Caps, Page, get
from sashizu_sandbox.network.page_text import NotText, media_type, page_text
from sashizu_sandbox.network.url import parse_url

__all__ = ["Fetch", "FetchArguments"]

_FAILED = 400


class FetchArguments(Arguments):
    url: str = Field(description="An absolute http or https URL.")
    first: int = Field(
        1, ge=1, description="The first line of the text to return; lines count from 1."
    )


class Fetch(TypedTool[FetchArguments]):
    """Gets a page as text, in this process. The dialler and the caps are there for tests."""

    name = "fetch"
    description = (
        "Get a page of the Web as text: HTML is turned into plain text with its links, other text "
        "is returned as it is, anything else is refused. Only hosts that were granted can be "
        "reached; redirects to others are not followed. The first lines of the answer have status, "
        "final URL, type and title; the page follows after an empty line."
    )
    arguments = FetchArguments
    kind = StepKind.IDEMPOTENT

    def __init__(self, dialler: Dialler | None = None, caps: Caps | None = None) -> None:
        self._dialler = dialler or Dialler()
        self._caps = caps or Caps()

    def requests(
        self,
        arguments: FetchArguments,
        context: ToolContext,  # noqa: ARG002 - as `Tool` has it
    ) -> Sequence[PermissionRequest]:
        return [parse_url(arguments.url).request]

    async def run(self, arguments: FetchArguments, context: ToolContext) -> ToolResult:
        async def judge(request: NetRequest) -> Decision:
            if context.judge is None:
                return Decision("deny", "nobody is there to decide on it")
            return await context.judge(request)

        page = await get(parse_url(arguments.url), judge, self._dialler, self._caps)
        try:
            title, text = await anyio.to_thread.run_sync(
                page_text, page.content_type, page.body, page.url
            )
        except NotText as error:
            raise ToolError(f"{page.url} (status {page.status}) is no text: {error}") from None
        content = _content(page, title, text, arguments.first, self._caps)
        return ToolResult(content, is_error=page.status >= _FAILED)


def _content(page: Page, title: str, text: str, first: int, caps: Caps) -> str:
    """What the model is told: about the page, an empty line, the page, notes in brackets."""
    lines = Lines()
    kind = media_type(page.content_type) or "no type"
    lines.add(f"{page.status} {page.url}")
    lines.add(f"{kind}, {len(page.body):,} bytes{' (truncated)' if page.truncated else ''}")
    if page.before:
        lines.add(f"redirected from {page.before[0]}, {len(page.before)} times")
    if title:
        lines.add(shown(f"title: {title}"))
    lines.add("")
    every = split_lines(text)
    if first > max(1, len(every)):
        raise ToolError(f"{page.url} has {len(every)} lines of text; there is no line {first}")
    end = first - 1
    while end < len(every) and lines.add(shown(every[end])):
        end += 1
    notes = []
    if end < len(every):
        notes.append(f"lines {first}-{end} of {len(every)}; go on with first={end + 1}")
    if page.truncated:
        notes.append(f"cut: only the first {caps.bytes_:,} bytes of the page were read")
    return lines.text(notes)
