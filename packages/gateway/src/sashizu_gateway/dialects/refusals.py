"""Why a request is not forwarded, before anybody says it in a dialect."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

__all__ = ["Kind", "RequestRefused"]

Kind = Literal[
    "malformed",  # it cannot be read, or misses what every request has
    "unauthorized",  # its token is missing or wrong
    "not_found",  # there is no such path, or no upstream for it
    "method",  # the path takes another method
    "too_large",  # its body is larger than is taken
    "slow",  # its body did not come in time
    "encoding",  # its body is encoded in a way that is not read
    "unbounded",  # what it asks for could cost anything
    "denied",  # the operator does not allow it
    "budget",  # what it can cost does not fit any more
    "busy",  # room for it did not come in time
    "unreachable",  # the upstream gives no answer
    "ended",  # the gateway takes nothing, now or any more
    "broken",  # the gateway failed
]


@dataclass
class RequestRefused(Exception):
    """A request that goes no further. `message` is for whoever reads the client's output.

    `retry_after_s` says when it is worth another attempt; None for never.
    """

    kind: Kind
    message: str
    retry_after_s: int | None = None

    def __str__(self) -> str:
        return self.message
