"""Opens the record for a run and ends it in good order."""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager, suppress

import anyio
from sashizu_core.errors import SashizuError
from sashizu_core.events import Event

from sashizu_audit.quota import share_of_quota
from sashizu_audit.settings import AuditSettings
from sashizu_audit.spool import WriterOptions
from sashizu_audit.upkeep import much_waits, start_upkeep
from sashizu_audit.writer import AuditWriter

__all__ = ["open_sink", "seal_if_due", "writer_options"]

_MIB = 1024 * 1024
_NEARLY = 0.8
"""From this part of its room on the record says that it is close to its bound."""


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

    `parent` is the `child_handoff()` of the process that started this one; without one the record
    is looked after meanwhile, see `sashizu_audit.upkeep`.

    Raises:
        RecordError: the record cannot be opened, takes more room than it may, or cannot be ended.
    """
    filled = share_of_quota(settings.folder, settings.quota_mib)
    writer = AuditWriter(settings.folder, options=writer_options(settings), parent=parent)
    stop = start_upkeep(settings, writer.store_id) if parent is None else None
    try:
        if filled >= _NEARLY:
            writer.write([_close_to_quota(settings, filled)])
        yield writer
    finally:
        with anyio.CancelScope(shield=True):
            # A limiter of its own: tools that were given up may still hold all usual threads.
            limiter = anyio.CapacityLimiter(1)
            if stop is not None:
                await anyio.to_thread.run_sync(stop, limiter=limiter)
            await anyio.to_thread.run_sync(writer.close, limiter=limiter)
            if settings.seal_mib and parent is None:
                await anyio.to_thread.run_sync(seal_if_due, settings, limiter=limiter)


def _close_to_quota(settings: AuditSettings, filled: float) -> Event:
    attrs = {"quota_mib": settings.quota_mib, "percent": int(filled * 100)}
    return Event("audit.quota", {"status": "ok", "attrs": attrs})


def seal_if_due(settings: AuditSettings) -> bool:
    """Seal if much of it waits; returns whether it was done.

    What fails is tried again when the next run ends.
    """
    if not much_waits(settings):
        return False
    from sashizu_audit.sealing import seal_record

    with suppress(SashizuError):  # the run has ended well; `audit doctor` tells that it waits
        return seal_record(settings.folder) is not None
    return False
