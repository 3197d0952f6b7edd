"""Opens the record for a run and ends it in good order."""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager

import anyio

from sashizu_audit.settings import AuditSettings
from sashizu_audit.spool import WriterOptions
from sashizu_audit.writer import AuditWriter

__all__ = ["open_sink", "writer_options"]

_MIB = 1024 * 1024


def writer_options(settings: AuditSettings) -> WriterOptions:
    """What the settings say to a writer."""
    return WriterOptions(
        flush_s=settings.flush_ms / 1000,
        segment_bytes=settings.segment_mib * _MIB,
        segment_s=settings.segment_minutes * 60.0,
        ballast_bytes=settings.ballast_mib * _MIB,
        content=settings.content,
        blob_s=settings.blob_days * 86_400.0,
        blob_bytes=settings.blob_mib * _MIB,
    )


@asynccontextmanager
async def open_sink(
    settings: AuditSettings, *, parent: Mapping[str, str] | None = None
) -> AsyncIterator[AuditWriter]:
    """A writer, until the block ends; then its segment is closed and on disk.

    `parent` is the `child_handoff()` of the process that started this one.

    Raises:
        RecordError: the record cannot be opened, or not be ended.
    """
    writer = AuditWriter(settings.folder, options=writer_options(settings), parent=parent)
    try:
        yield writer
    finally:
        with anyio.CancelScope(shield=True):
            # A limiter of its own: tools that were given up may still hold all usual threads.
            await anyio.to_thread.run_sync(writer.close, limiter=anyio.CapacityLimiter(1))
