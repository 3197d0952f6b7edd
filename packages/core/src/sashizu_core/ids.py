"""Identifiers: UUIDv7 (RFC 9562, section 5.7) and W3C trace context ids."""

from __future__ import annotations

import os
import time
from typing import NewType

__all__ = ["AgentId", "RunId", "new_agent_id", "new_run_id", "span_id", "trace_id", "uuid7"]

RunId = NewType("RunId", str)
AgentId = NewType("AgentId", str)


def uuid7(*, now_ms: int | None = None) -> str:
    """A UUIDv7: 48 bits of Unix milliseconds, then 74 random bits; 36 characters, lower case."""
    ms = int(time.time() * 1000) if now_ms is None else now_ms
    number = (ms & 0xFFFF_FFFF_FFFF) << 80 | int.from_bytes(os.urandom(10), "big")
    number = number & ~(0xF << 76) | 0x7 << 76
    number = number & ~(0x3 << 62) | 0x2 << 62
    text = f"{number:032x}"
    return f"{text[:8]}-{text[8:12]}-{text[12:16]}-{text[16:20]}-{text[20:]}"


def new_run_id() -> RunId:
    return RunId(uuid7())


def new_agent_id() -> AgentId:
    return AgentId(uuid7())


def trace_id() -> str:
    """32 hexadecimal digits, not all zero (W3C Trace Context, section 3.2.2.3)."""
    return os.urandom(16).hex()


def span_id() -> str:
    """16 hexadecimal digits, not all zero (W3C Trace Context, section 3.2.2.4)."""
    return os.urandom(8).hex()
