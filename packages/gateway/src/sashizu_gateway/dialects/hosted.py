"""What the provider would do or fetch by itself, so that no bound can be given for it."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from sashizu_gateway.dialects.refusals import RequestRefused

__all__ = ["References", "drop", "kept_tools", "refuse_keys"]

_IMAGES = frozenset(
    {"input_image", "image_url", "image", "computer_screenshot", "image_generation_call"}
)
_REFERENCES = frozenset(
    {
        *("input_file", "file", "document", "container_upload", "item_reference"),
        *("input_audio", "audio", "input_video", "video", "video_url", "compaction_trigger"),
    }
)
"""Types of content whose tokens are not among the bytes of the request."""

_STORED = frozenset({"web_search_call", "file_search_call", "code_interpreter_call"})
"""Types of items that a provider completes by their id with what it has stored."""

_BRINGS_TOOLS = frozenset({"tool_search_output", "additional_tools"})
"""Types of items that make tools known in the middle of a conversation."""

_AS_THEY_ARE: Mapping[str, str] = {
    **dict.fromkeys(("tool_use", "server_tool_use", "mcp_tool_use"), "input"),
    **dict.fromkeys(("tool_search_output", "additional_tools", "mcp_list_tools"), "tools"),
    "tool_search_call": "arguments",
}
"""Where items hold JSON of anybody's, which the model reads as text: arguments and schemas."""

_INLINE = frozenset({"text", "content"})
"""Sources of a document that carry their text along."""

_TEXT_ONLY = "the gateway bounds requests by their text"

_PLAIN = frozenset("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789._-")


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
    if tools is None:
        return
    if not isinstance(tools, list):
        raise RequestRefused("malformed", "'tools' has to be a list")
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
    wanted = _name(choice.get("type")) if isinstance(choice, dict) else ""
    if wanted in removed[before:]:
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
            removed.append(_name(tool.get("type") if isinstance(tool, dict) else None))
    return kept


def _name(kind: object) -> str:
    """A type as it can stand in a header and in a record; a client may write anything there."""
    return "".join(char if char in _PLAIN else "-" for char in str(kind)[:64])


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

    `thought` says how many tokens of reasoning an id stands for, None where that is not known.
    `images` is how many there are, `remote` how many of them are not in the request, `inline` how
    many tokens the bytes of the others were counted as, `thoughts` how many stand behind ids.
    """

    runs_at_client: Callable[[Any], bool]
    image_tokens: int | None
    thought: Callable[[str], int | None] = lambda _: None
    images: int = 0
    remote: int = 0
    inline: int = 0
    thoughts: int = 0

    def items(self, conversation: Iterable[Any]) -> None:
        """Look at items of a conversation.

        Raises:
            RequestRefused: one refers to something whose tokens cannot be known.
        """
        for item in conversation:
            if isinstance(item, dict) and not item.get("type") and not item.get("role"):
                raise _refers("item_reference")
            self.walk(item)

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
                kind = found.get("type")
                if isinstance(kind, str):
                    self._look(kind, found)
                elif isinstance(found.get("audio"), dict):
                    raise _refers("audio")  # an answer that was spoken, by its id
                as_it_is = _AS_THEY_ARE.get(kind) if isinstance(kind, str) else None
                waiting += [
                    below
                    for name, below in found.items()
                    if isinstance(below, dict | list) and name != as_it_is
                ]

    def _look(self, kind: str, part: dict[str, Any]) -> None:
        if kind in _IMAGES:
            self._image(part)
        elif (kind in _REFERENCES and not _is_inline(part)) or (kind in _STORED and part.get("id")):
            raise _refers(kind)
        elif kind == "reasoning" and part.get("id") and not part.get("encrypted_content"):
            tokens = self.thought(str(part["id"]))
            if tokens is None:
                raise RequestRefused(
                    "unbounded",
                    "reasoning that is only named by its id is not forwarded under a budget: "
                    f"{_TEXT_ONLY}, and this refers to something else; have the service "
                    "include 'reasoning.encrypted_content', and send that",
                )
            self.thoughts += tokens
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
        inline = sum(_inline_bytes(part.get(place)) for place in ("image_url", "source", "result"))
        self.inline += inline
        self.remote += not inline


def _refers(kind: str) -> RequestRefused:
    return RequestRefused(
        "unbounded",
        f"content of the type {kind!r} is not forwarded under a budget: "
        f"{_TEXT_ONLY}, and this refers to something else",
    )


def _inline_bytes(place: Any) -> int:
    """The bytes of an image that lies in the request itself, as they were counted as text."""
    if isinstance(place, dict):
        place = place.get("url") or place.get("data")
    if not isinstance(place, str) or place.startswith(("http:", "https:")):
        return 0
    # Nothing that is written in other letters is an image, or was counted by its own length.
    return len(place) if place.isascii() else 0


def _is_inline(part: dict[str, Any]) -> bool:
    """Whether a document carries its own text."""
    source = part.get("source")
    kind = source.get("type") if isinstance(source, dict) else None
    return isinstance(kind, str) and kind in _INLINE
