"""When a failed attempt at a model call is made again, and who has to wait with it."""

from __future__ import annotations

import random
from dataclasses import dataclass, field

import anyio

from sashizu_core.errors import ModelError
from sashizu_core.protocols import Admission

__all__ = ["ProviderGate", "RetryPlan"]

BACKOFF_BASE_S = 0.5
BACKOFF_CAP_S = 8.0
LONGEST_WAIT_S = 300.0
BILLED_RETRIES = 3
"""How often a call is tried again whose attempts may be billed."""
"""The longest that a service may ask for before a call counts as failed, in seconds."""

RETRY_FLOOR = 10
RETRY_SHARE = 0.1


@dataclass(slots=True)
class ProviderGate:
    """Shared by every agent that calls the same provider with the same key.

    A rate limit that one of them meets holds all of them back, so that a thousand agents do not
    retry at once; an exhausted account ends all of them; and retries of all kinds together stay
    below a tenth of the requests (plus a floor), so that a failing provider is not hammered.
    `admission` is who its calls wait for until the model is loaded; None where nobody loads it.
    """

    requests: int = 0
    retries: int = 0
    closed_until: float = 0.0
    dead: ModelError | None = None
    admission: Admission | None = None
    _random: random.Random = field(default_factory=random.Random)

    @property
    def closed(self) -> bool:
        """Whether a caller would have to wait, or would be turned away."""
        return self.closed_until > 0.0 or self.dead is not None

    async def wait(self) -> None:
        """Wait until calls may be made; times are those of `anyio.current_time()`.

        Raises:
            ModelError: the account cannot be used any more.
        """
        if self.dead is not None:
            raise self.dead
        while self.closed_until > 0.0:
            now = anyio.current_time()
            if now >= self.closed_until:
                self.closed_until = 0.0
                break
            # Those who waited together do not all start in the same instant.
            await anyio.sleep(self.closed_until - now + self._random.uniform(0, 0.25))

    def failed(self, error: ModelError) -> None:
        """Hear of a failed attempt."""
        if error.fault == "quota":
            self.dead = error
        elif error.fault == "rate_limited" and error.retry_after_s is not None:
            self.close_for(min(error.retry_after_s, LONGEST_WAIT_S))

    def close_for(self, seconds: float) -> None:
        self.closed_until = max(self.closed_until, anyio.current_time() + seconds)

    def may_retry(self) -> bool:
        """Take one retry out of the shared allowance, if there is one."""
        if self.retries >= RETRY_FLOOR + RETRY_SHARE * self.requests:
            return False
        self.retries += 1
        return True

    def jitter(self, previous_s: float) -> float:
        """The next back-off in seconds: decorrelated jitter."""
        return min(BACKOFF_CAP_S, self._random.uniform(BACKOFF_BASE_S, previous_s * 3))


@dataclass(slots=True)
class RetryPlan:
    """The attempts at one model call.

    An error status or a failed connection costs nothing and is tried again up to `request_retries`
    times; an attempt that was sent and may be billed only `stream_retries` times; a rate limit with
    a given waiting time is waited for, up to `LONGEST_WAIT_S` and as long as the deadline allows.
    """

    gate: ProviderGate
    request_retries: int = 4
    stream_retries: int = BILLED_RETRIES
    _slept_s: float = BACKOFF_BASE_S

    def wait_s(self, error: ModelError) -> float | None:
        """How long to wait before the next attempt, in seconds; None to give up."""
        self.gate.failed(error)
        if not error.retryable:
            return None
        if (error.retry_after_s or 0.0) > LONGEST_WAIT_S:
            return None
        if error.fault == "rate_limited" and error.retry_after_s is not None:
            return error.retry_after_s if self._left("request_retries") else None
        if not self._left("stream_retries" if error.sent else "request_retries"):
            return None
        if not self.gate.may_retry():
            return None
        self._slept_s = self.gate.jitter(self._slept_s)
        return max(self._slept_s, error.retry_after_s or 0.0)

    def _left(self, allowance: str) -> bool:
        left: int = getattr(self, allowance)
        setattr(self, allowance, left - 1)
        return left > 0
