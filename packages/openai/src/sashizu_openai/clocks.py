"""How long an attempt may be silent."""

from __future__ import annotations

from typing import Literal

import anyio
from sashizu_core.errors import ModelError

from sashizu_openai.endpoints import Patience

__all__ = ["Clock"]

GRACE_S = 5.0
"""Seconds that a finished answer waits for its usage."""

DRAIN_S = 0.2
"""Seconds that a complete answer waits for the end of its body, so that the connection is kept."""

Phase = Literal["connection", "content", "more content", "end of reasoning", "usage", "end"]


class Clock:
    """One deadline that moves on with the attempt, and only when the attempt does.

    Comments and pings do not move it. `scope` is what it cancels.
    """

    def __init__(self, patience: Patience, *, reasons: bool) -> None:
        self._patience = patience
        self._first_s = patience.first_event_s
        if reasons:  # asked to think before it speaks
            self._first_s = max(self._first_s, patience.reasoning_s)
        self._phase: Phase = "connection"
        self._allowed_s = patience.connect_s
        self.scope = anyio.CancelScope(deadline=anyio.current_time() + patience.connect_s)

    def connected(self) -> None:
        self._wait_for("content", self._first_s)

    def content(self, *, reasoning: bool) -> None:
        """Something of the answer came; `reasoning` when the model said that it thinks now."""
        if reasoning:
            self._wait_for("end of reasoning", self._patience.reasoning_s)
        else:
            self._wait_for("more content", self._patience.idle_s)

    def finished(self) -> None:
        """The answer is complete; its usage may still come."""
        self._wait_for("usage", GRACE_S)

    def drain(self) -> None:
        """Nothing more is wanted."""
        self._wait_for("end", DRAIN_S)

    @property
    def expired(self) -> bool:
        return self.scope.cancelled_caught

    def error(self) -> ModelError:
        """What to raise when it has expired."""
        if self._phase == "connection":
            return ModelError(
                f"no connection within {self._allowed_s:g} s; is the server running, and is the "
                "network or proxy right?",
                fault="connect",
            )
        return ModelError(
            f"waited {self._allowed_s:g} s for {self._phase} in vain", fault="timeout", sent=True
        )

    def _wait_for(self, phase: Phase, seconds: float) -> None:
        self._phase = phase
        self._allowed_s = seconds
        self.scope.deadline = anyio.current_time() + seconds
