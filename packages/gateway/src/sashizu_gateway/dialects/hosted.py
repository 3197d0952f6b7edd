"""What the provider would do or fetch by itself, so that no bound can be given for it."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any

from sashizu_core.bounds import text_bound

from sashizu_gateway.dialects.refusals import RequestRefused

__all__ = ["References", "drop", "kept_tools", "refuse_keys"]

_IMAGES = frozenset({"input_image", "image_url", "image", "computer_screenshot"})
_REFERENCES = frozenset(
    {
        *("input_file", "file", "document", "container_upload", "item_reference"),
        *("input_audio", "audio", "input_video", "video", "video_url"),
    }
)
"""Types of content whose tokens are not among the bytes of the request."""

_BRINGS_TOOLS = frozenset({"tool_search_output", "additional_tools"})
"""Types of items that make tools known in the middle of a conversation."""

_INLINE = frozenset({"text", "content"})
"""Sources of a document that carry their text along."""

_TEXT_ONLY = "the gateway bounds requests by their text"


def refuse_keys(body: dict[str, Any], keys: Iterable[str]) -> None:
    """Refuse what makes a request more than what it says.

    Raises:
        RequestRefused: one of the keys is used.
    """
    for key in keys:
        if body.get(key):
            raise RequestRefused(
                "unbounded",
                f"{key!r} is not forwarded under a budget: what it can cost is unknown; "
                "send the conversation itself, in the foreground",
            )


def drop(body: dict[str, Any], keys: Iterable[str], removed: list[str]) -> None:
    """Leave keys out, and say so."""
    removed += [key for key in keys if body.pop(key, None) is not None]


def kept_tools(
    body: dict[str, Any], runs_at_client: Callable[[Any], bool], removed: list[str]
) -> None:
    """Leave tools out that the provider would run itself; those in groups too.

    Raises:
        RequestRefused: the request insists on one of them.
    """
    tools = body.get("tools")
    if not isinstance(tools, list):
        return
    before = len(removed)
    kept = _kept(tools, runs_at_client, removed)
    if len(removed) == before:
        return
    if kept:
        body["tools"] = kept
    else:
        del body["tools"]
        body.pop("parallel_tool_calls", None)
    choice = body.get("tool_choice")
    wanted = choice.get("type") if isinstance(choice, dict) else choice
    if isinstance(choice, dict) and wanted in removed[before:]:
        raise RequestRefused(
            "unbounded", f"the tool {wanted!r} is run by the provider, at a cost nobody can bound"
        )
    if not kept:
        body.pop("tool_choice", None)


def _kept(tools: list[Any], runs_at_client: Callable[[Any], bool], removed: list[str]) -> list[Any]:
    kept = []
    for tool in tools:
        if _is_group(tool):
            inside = _kept(tool["tools"], runs_at_client, removed)
            if inside:
                kept.append({**tool, "tools": inside})
        elif runs_at_client(tool):
            kept.append(tool)
        else:
            kind = tool.get("type") if isinstance(tool, dict) else None
            removed.append(str(kind)[:64])
    return kept


def _is_group(tool: Any) -> bool:
    """Whether a tool is several under one name."""
    return (
        isinstance(tool, dict)
        and tool.get("type") == "namespace"
        and isinstance(tool.get("tools"), list)
    )


@dataclass(slots=True)
class References:
    """Walks a conversation for what is not text; an image counts as `image_tokens`, if given.

    `images` is how many there are, `inline` how many tokens their bytes were counted as.
    """

    runs_at_client: Callable[[Any], bool]
    image_tokens: int | None
    images: int = 0
    inline: int = 0

    def walk(self, value: Any) -> None:
        """Look at a part of the conversation.

        Raises:
            RequestRefused: it refers to something whose tokens cannot be known.
        """
        waiting = [value]
        while waiting:
            found = waiting.pop()
            if isinstance(found, list):
                waiting += found
            elif isinstance(found, dict):
                self._look(found)
                waiting += [below for below in found.values() if isinstance(below, dict | list)]

    def _look(self, part: dict[str, Any]) -> None:
        kind = part.get("type")
        if kind in _IMAGES:
            self._image(part)
        elif kind in _REFERENCES and not _is_inline(part):
            raise RequestRefused(
                "unbounded",
                f"content of the type {kind!r} is not forwarded under a budget: "
                f"{_TEXT_ONLY}, and this refers to something else",
            )
        elif kind in _BRINGS_TOOLS and isinstance(tools := part.get("tools"), list):
            hosted: list[str] = []
            _kept(tools, self.runs_at_client, hosted)
            if hosted:
                raise RequestRefused(
                    "unbounded",
                    f"the conversation brings the tool {hosted[0]!r}, which the provider would "
                    "run itself, at a cost nobody can bound",
                )

    def _image(self, part: dict[str, Any]) -> None:
        if self.image_tokens is None:
            raise RequestRefused(
                "unbounded",
                f"images are not forwarded under a budget: {_TEXT_ONLY}; the operator can set "
                "how many tokens one may have (image_tokens)",
            )
        self.images += 1
        for place in ("image_url", "source"):
            self.inline += _inline_bytes(part.get(place))


def _inline_bytes(place: Any) -> int:
    """The bytes of an image that lies in the request itself, as they were counted as text."""
    if isinstance(place, dict):
        place = place.get("url") or place.get("data")
    return text_bound(place) if isinstance(place, str) else 0


def _is_inline(part: dict[str, Any]) -> bool:
    """Whether a document carries its own text."""
    source = part.get("source")
    return isinstance(source, dict) and source.get("type") in _INLINE
