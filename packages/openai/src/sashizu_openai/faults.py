"""What a failed attempt means: every status and error object has one typed outcome."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from email.utils import parsedate_to_datetime
from typing import Any

from sashizu_core.errors import Fault, ModelError
from sashizu_core.types import Usage

from sashizu_openai.halves import read_json

__all__ = ["retry_after_s", "shown", "status_error", "told_error"]

LONGEST_TEXT = 300
"""Characters of a provider's message that are shown."""

_CODES: Mapping[Fault, frozenset[str]] = {
    "quota": frozenset(
        {
            "insufficient_quota",
            "insufficient_balance",
            "billing_hard_limit_reached",
            "billing_not_active",
            "exceeded_current_quota_error",
        }
    ),
    "context_too_long": frozenset(
        {"context_length_exceeded", "exceed_context_size_error", "model_max_prompt_tokens_exceeded"}
    ),
    "content_filter": frozenset(
        {
            "content_filter",
            "content_policy_violation",
            "bio_policy",
            "misalignment_policy_violation",
            "responsibleaipolicyviolation",
        }
    ),
    "rate_limited": frozenset(
        {
            "rate_limit_exceeded",
            "rate_limit_error",
            "rate_limit_reached_error",
            "too_many_requests",
        }
    ),
    "overloaded": frozenset(
        {
            "server_error",
            "internal_error",
            "internal_server_error",
            "overloaded_error",
            "engine_overloaded_error",
            "server_is_overloaded",
            "service_unavailable",
            "slow_down",
        }
    ),
    "auth": frozenset({"invalid_api_key", "authentication_error", "permission_error"}),
    "not_found": frozenset({"model_not_found", "not_found_error"}),
    "invalid_request": frozenset({"invalid_request_error", "invalid_prompt"}),
}
"""Codes and types of error objects, most telling first."""

_TOO_LONG = re.compile(
    r"context (length|window|size)|maximum context|too many tokens|(prompt|input) is too long",
    re.IGNORECASE,
)
_FLAGGED = re.compile(r"content (management|filter)|flagged|usage polic", re.IGNORECASE)
_TRY_AGAIN = re.compile(r"try again in (?P<wait>[0-9hms.]+)", re.IGNORECASE)
_DURATION = re.compile(r"(?P<number>\d+(?:\.\d+)?)(?P<unit>ms|s|m|h)")
_SECONDS = {"ms": 0.001, "s": 1.0, "m": 60.0, "h": 3600.0}
_KEY = re.compile(r"\b(?:sk|pk|rk)-[\w*-]{8,}")

_MAYBE_WORKED_ON = frozenset({504, 524})
"""Gateways that stopped waiting for the service behind them, which may still work and bill."""


@dataclass(frozen=True, slots=True)
class _Told:
    """An error object, in whatever shape it came."""

    names: tuple[str, ...]
    message: str
    status: int | None


def status_error(status: int, headers: Mapping[str, str], body: bytes, *, now: float) -> ModelError:
    """What an answer other than 2xx means.

    Args:
        status: of HTTP.
        headers: with lower-case names.
        body: the beginning of the body.
        now: seconds since 1970, for dates in headers.
    """
    told = _read(_error_object(body))
    fault = _fault(told, status)
    if 300 <= status < 400:
        message = (
            f"redirected to {shown(headers.get('location', 'nowhere'))}: redirects are not "
            "followed, because the request carries a key; correct the base URL"
        )
    else:
        message = shown(told.message) or "no reason given"
    return ModelError(
        f"status {status}: {message}",
        fault=fault,
        sent=status in _MAYBE_WORKED_ON,
        retry_after_s=retry_after_s(headers, told.message, now=now),
        status=status,
    )


def told_error(error: Any, *, usage: Usage | None = None) -> ModelError:
    """What an error object inside an answer means; the provider had begun to work."""
    told = _read(error)
    return ModelError(
        f"the provider reports: {shown(told.message) or 'an error without a reason'}",
        fault=_fault(told, told.status),
        sent=True,
        retry_after_s=retry_after_s({}, told.message, now=0.0),
        usage=usage,
        status=told.status,
    )


def shown(text: str) -> str:
    """Foreign text for a message: short, printable, without anything that looks like a key."""
    plain = "".join(letter if letter.isprintable() else " " for letter in text[: 4 * LONGEST_TEXT])
    plain = _KEY.sub("[key]", " ".join(plain.split()))
    return plain if len(plain) <= LONGEST_TEXT else plain[: LONGEST_TEXT - 1] + "…"


def retry_after_s(headers: Mapping[str, str], message: str, *, now: float) -> float | None:
    """How long the provider asks to wait, in seconds; None if it does not.

    Looks at `retry-after-ms`, `retry-after` (seconds, or a date set against the answer's own
    `date`), the reset of an exhausted `x-ratelimit-*`, and the words of the message.
    """
    wait = _number(headers.get("retry-after-ms", ""))
    if wait is not None:
        return wait / 1000
    if told := headers.get("retry-after"):
        wait = _number(told)
        if wait is None:
            wait = _until(told, headers.get("date", ""), now)
        if wait is not None:
            return wait
    resets = [
        _duration(headers.get(f"x-ratelimit-reset-{what}", ""))
        for what in ("requests", "tokens")
        if headers.get(f"x-ratelimit-remaining-{what}") == "0"
    ]
    if known := [reset for reset in resets if reset is not None]:
        return max(known)
    found = _TRY_AGAIN.search(message)
    return _duration(found["wait"].rstrip(".")) if found else None


def _fault(told: _Told, status: int | None) -> Fault:
    for fault, codes in _CODES.items():
        if fault != "invalid_request" and codes.intersection(told.names):
            return fault
    if status in (400, 413, 422, None):
        if status == 413 or _TOO_LONG.search(told.message):
            return "context_too_long"
        if _FLAGGED.search(told.message):
            return "content_filter"
    if status is not None:
        return _status_fault(status)
    if _CODES["invalid_request"].intersection(told.names):
        return "invalid_request"
    return "transport"


def _status_fault(status: int) -> Fault:
    match status:
        case 401 | 403:
            return "auth"
        case 402:
            return "quota"
        case 404 | 410:
            return "not_found"
        case 429:
            return "rate_limited"
        case 408 | 409 | 425:
            return "overloaded"
        case _ if status >= 500:
            return "overloaded"
        case _ if 300 <= status < 400:
            return "not_found"
        case _:
            return "invalid_request"


def _error_object(body: bytes) -> Any:
    try:
        found = read_json(body)
    except ValueError:
        text = body.decode("utf-8", "replace").strip()
        return "a web page came back" if text.startswith("<") else text
    return found.get("error", found) if isinstance(found, dict) else found


def _read(error: Any) -> _Told:
    if not isinstance(error, dict):
        return _Told((), error if isinstance(error, str) else "", None)
    raw = error.get("code"), error.get("type")
    status = next((c for c in raw if isinstance(c, int) and 400 <= c < 600), None)
    names = tuple(name.lower() for name in raw if isinstance(name, str))
    message = error.get("message") or error.get("detail") or ""
    return _Told(names, message if isinstance(message, str) else "", status)


def _number(text: str) -> float | None:
    try:
        number = float(text)
    except ValueError:
        return None
    return max(0.0, number) if math.isfinite(number) else None


def _until(date: str, reference: str, now: float) -> float | None:
    try:
        then = parsedate_to_datetime(date).timestamp()
    except (ValueError, OverflowError):
        return None
    with suppress(ValueError, OverflowError):  # without a clock of its own, ours has to do
        now = parsedate_to_datetime(reference).timestamp()
    return max(0.0, then - now)


def _duration(text: str) -> float | None:
    """Seconds of `1s`, `20ms` or `6m0s`, as rate limits are written."""
    parts = list(_DURATION.finditer(text))
    if not parts or "".join(part[0] for part in parts) != text:
        return _number(text)
    return sum(float(part["number"]) * _SECONDS[part["unit"]] for part in parts)
