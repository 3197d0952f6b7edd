"""What the gateway needs to know of an API."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar, Literal

from sashizu_gateway.dialects.found import Found
from sashizu_gateway.dialects.refusals import Kind, RequestRefused

__all__ = ["Dialect", "Provider", "Rules"]

Provider = Literal["openai", "anthropic"]

LONGEST_MODEL = 200
"""Characters of a model's name."""

MOST_ITEMS = 20_000
"""Items of a conversation, and tools."""

LARGEST_CAP = 1_000_000_000
"""The largest output cap, in tokens: no model writes as much, and sums of it fit into 64 bits."""

STATUS: Mapping[Kind, int] = {
    "malformed": 400,
    "unauthorized": 401,
    "not_found": 404,
    "method": 405,
    "too_large": 413,
    "slow": 408,
    "encoding": 415,
    "unbounded": 400,
    "denied": 403,
    "budget": 400,
    "busy": 429,
    "unreachable": 502,
    "ended": 503,
    "broken": 500,
}
"""What no client tries again is told as 400: that is what both services say without credit, or
used to, and clients show its message."""


@dataclass(frozen=True, slots=True)
class Rules:
    """What has to hold for a request to be bounded.

    `counted` says that tokens or money are limited, so that what cannot be bounded is left out or
    refused; `priced` that money is, so that whatever costs more than the list says is left out.
    `image_tokens` is the most that one image can have, None where that is not known.
    """

    counted: bool = True
    priced: bool = False
    image_tokens: int | None = None


class Dialect(ABC):
    """One API: where things stand in its requests, answers and errors. Keeps no state."""

    name: ClassVar[str]
    provider: ClassVar[Provider]
    path: ClassVar[str]
    """Below the base URL of an upstream, and below `/v1` of the gateway."""

    count_path: ClassVar[str | None] = None
    """Where the provider counts tokens, if it does."""

    items: ClassVar[str]
    """The key of the conversation."""

    cap_names: ClassVar[tuple[str, ...]]
    """Names of the output cap; the first one is sent where the client gives none."""

    untold: ClassVar[frozenset[str]]
    """Keys that no token of the input is made of."""

    # --- requests ---------------------------------------------------------------------------------

    def check(self, body: object) -> dict[str, Any]:
        """The body as an object that names a model and holds a conversation.

        Raises:
            RequestRefused: it is none, or has more items or tools than anybody does.
        """
        if not isinstance(body, dict):
            raise RequestRefused("malformed", "the body is no JSON object")
        model = body.get("model")
        if not isinstance(model, str) or not 0 < len(model) <= LONGEST_MODEL:
            raise RequestRefused("malformed", "'model' has to name a model")
        if not model.isprintable():
            raise RequestRefused("malformed", "'model' holds a character that cannot be shown")
        if not isinstance(body.get(self.items), str | list):
            raise RequestRefused("malformed", f"{self.items!r} has to hold the conversation")
        for name in (self.items, "tools"):
            if isinstance(found := body.get(name), list) and len(found) > MOST_ITEMS:
                raise RequestRefused("too_large", f"{name!r} has more than {MOST_ITEMS} parts")
        return body

    def conversation(self, body: Mapping[str, Any]) -> list[Any]:
        """The items of a request, in order."""
        found = body[self.items]
        return found if isinstance(found, list) else [found]

    def plain(self, item: Any) -> Any:
        """An item without what changes from request to request and is no text."""
        return item

    def cap(self, body: Mapping[str, Any]) -> int | None:
        """The output that the client asks for at most, in tokens; no more than `LARGEST_CAP`.

        Raises:
            RequestRefused: it is no number above zero.
        """
        for name in self.cap_names:
            value = body.get(name)
            if value is None:
                continue
            if not isinstance(value, int) or isinstance(value, bool) or value < 1:
                raise RequestRefused("malformed", f"{name!r} has to be a number above zero")
            return min(value, LARGEST_CAP)
        return None

    def put_cap(self, body: dict[str, Any], cap: int) -> None:
        """Set the output cap, under the name that the client used."""
        used = [name for name in self.cap_names if body.get(name) is not None]
        for name in used[1:]:
            del body[name]
        body[used[0] if used else self.cap_names[0]] = cap

    def choices(self, body: Mapping[str, Any]) -> int:  # noqa: ARG002 - most have no such thing
        """How many answers are asked for, each up to the output cap."""
        return 1

    @abstractmethod
    def restrict(self, body: dict[str, Any], rules: Rules) -> list[str]:
        """Leave out what the provider would do by itself; returns the names of what is gone.

        Raises:
            RequestRefused: the request is nothing without it.
        """

    @abstractmethod
    def runs_at_client(self, tool: Any) -> bool:
        """Whether a tool is only described to the model, and run by the client."""

    def tell_usage(self, body: dict[str, Any]) -> bool:  # noqa: ARG002 - most always do
        """Have the answer tell its usage; whether the client did not ask for what that adds."""
        return False

    def count_body(self, body: Mapping[str, Any]) -> dict[str, Any]:
        """What the provider is asked to count."""
        return {name: value for name, value in body.items() if name in self.counted_keys}

    counted_keys: ClassVar[frozenset[str]] = frozenset()

    def with_margin(self, tokens: int) -> int:
        """The most that a request is billed whose tokens the provider counted."""
        return tokens

    # --- answers ----------------------------------------------------------------------------------

    @abstractmethod
    def matters(self, data: bytes, *, text: bool) -> bool:
        """Whether an event has to be read; `text` says that its text is wanted too. Cheap."""

    @abstractmethod
    def read_event(self, event: Any, found: Found) -> None:
        """Take what an event of a stream says."""

    @abstractmethod
    def read_whole(self, answer: Any, found: Found) -> None:
        """Take what an answer says that did not come as a stream."""

    def is_extra(self, event: Any) -> bool:  # noqa: ARG002 - most have none
        """Whether an event is there only because the gateway asked for usage."""
        return False

    # --- errors -----------------------------------------------------------------------------------

    @abstractmethod
    def error(self, refused: RequestRefused) -> dict[str, Any]:
        """A refusal in the shape that the dialect's clients read."""

    def status(self, refused: RequestRefused) -> int:
        return STATUS[refused.kind]
