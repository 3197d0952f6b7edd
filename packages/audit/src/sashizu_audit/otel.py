"""A sink that tells a service of OpenTelemetry of runs while they go on. It keeps nothing.

It never blocks a run and never fails one: spans wait in a bounded queue, and how many were lost is
said when the run has ended.
"""

from __future__ import annotations

import logging
import os
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from importlib.metadata import version
from pathlib import Path
from time import time_ns
from typing import Any
from urllib.parse import unquote

import anyio
import orjson
from anyio.lowlevel import checkpoint
from sashizu_core.errors import UsageError
from sashizu_core.events import Event

from sashizu_audit.blobs import blob_path
from sashizu_audit.live_spans import LiveSpans
from sashizu_audit.otel_sending import Sender, http_post
from sashizu_audit.otel_settings import OtelSettings

__all__ = ["OtelSink", "open_otel"]

_LOG = logging.getLogger("sashizu_audit.otel")
_LONGEST_TEXT = 32 * 1024


class OtelSink:
    """An `EventSink` that makes spans of events and hands them to a `Sender`."""

    persistent = False

    def __init__(self, sender: Sender, text: Callable[[str], str | None] | None = None) -> None:
        self._sender = sender
        self._spans = LiveSpans(text)
        self._pid = os.getpid()

    def write(self, events: Sequence[Event]) -> None:
        """Hear of events. Never raises: a span that cannot be made is lost and counted."""
        if os.getpid() != self._pid:
            return  # a forked process has no thread that sends
        now = time_ns()
        for event in events:
            try:
                self._sender.put(list(self._spans.take(event, now)))
            except Exception as error:  # noqa: BLE001 - what is told elsewhere must not stop a run
                self._sender.result.lose(1, f"a span could not be made: {type(error).__name__}")

    async def durable(self) -> None:
        """Return at once: nothing is kept here."""
        await checkpoint()

    def child_handoff(self) -> Mapping[str, str]:
        """Nothing: a process that is started sends its own spans, into the same trace."""
        return {}

    def end(self) -> None:
        """Hand over what has not ended."""
        self._sender.put(list(self._spans.end_all()))


@asynccontextmanager
async def open_otel(settings: OtelSettings, record: Path) -> AsyncIterator[OtelSink]:
    """Send spans until the block ends; then say how many were lost, if any.

    `record` is the folder of the record, where texts are read from.

    Raises:
        UsageError: the settings ask for what is not installed.
    """
    assert settings.endpoint is not None
    encode, content_type = _encoding(settings.protocol)
    headers = _headers(os.environ.get(settings.headers_env, ""))
    resource = {"service.version": version("sashizu-audit"), **settings.resource}
    post = http_post(settings.endpoint, content_type, headers)
    sender = Sender(post, encode, resource, settings.queue)
    sink = OtelSink(sender, _reader(record) if settings.content else None)
    try:
        yield sink
    finally:
        with anyio.CancelScope(shield=True):
            sink.end()
            # A limiter of its own: tools that were given up may still hold all usual threads.
            limiter = anyio.CapacityLimiter(1)
            sent = await anyio.to_thread.run_sync(sender.end, settings.last_s, limiter=limiter)
        if sent.lost:
            _LOG.warning(
                "%d of %d spans were not sent to %s: %s. The record has all of them: "
                "`sashizu audit export --format otlp`",
                sent.lost,
                sent.lost + sent.sent,
                settings.endpoint,
                sent.reason,
            )


def _encoding(protocol: str) -> tuple[Callable[[Mapping[str, Any]], bytes], str]:
    if protocol == "http/json":
        return orjson.dumps, "application/json"
    try:
        from sashizu_audit.otlp_protobuf import encode
    except ImportError as error:
        raise UsageError(
            'protocol = "http/protobuf" in [audit.otel] needs sashizu-audit[otel], which is not '
            'installed; install it, or say "http/json"'
        ) from error
    return encode, "application/x-protobuf"


def _headers(text: str) -> Mapping[str, str]:
    """`name=value,…` with percent signs, as the exporters of OpenTelemetry read it."""
    found = {}
    for part in filter(None, text.split(",")):
        name, _, value = part.partition("=")
        name, value = name.strip(), unquote(value).strip()
        if name and name.isascii() and value.isprintable():
            found[name] = value
    return found


def _reader(record: Path) -> Callable[[str], str | None]:
    """Reads what the record keeps of a text."""

    def text(digest: str) -> str | None:
        try:
            with blob_path(record, digest).open("rb") as file:
                return file.read(_LONGEST_TEXT).decode("utf-8", "replace")
        except OSError:
            return None

    return text
