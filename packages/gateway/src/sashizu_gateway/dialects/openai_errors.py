"""Refusals in the shape of OpenAI's error objects."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from sashizu_gateway.dialects.refusals import Kind, RequestRefused

__all__ = ["openai_error"]

_CODES: Mapping[Kind, tuple[str, str]] = {
    "unauthorized": ("invalid_request_error", "invalid_api_key"),
    "budget": ("insufficient_quota", "budget_exceeded"),
    "busy": ("rate_limit_error", "rate_limit_exceeded"),
    "unreachable": ("server_error", "upstream_unreachable"),
    "ended": ("server_error", "gateway_ended"),
    "broken": ("server_error", "gateway_failed"),
    "denied": ("permission_error", "denied_by_policy"),
    "unbounded": ("invalid_request_error", "unbounded_request"),
}


def openai_error(refused: RequestRefused) -> dict[str, Any]:
    """Both APIs of OpenAI have the same shape."""
    kind, code = _CODES.get(refused.kind, ("invalid_request_error", f"request_{refused.kind}"))
    told = {"message": refused.message, "type": kind, "param": None, "code": code}
    return {"error": told}
