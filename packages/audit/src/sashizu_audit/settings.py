"""The settings of the record: the table `[audit]`."""

from __future__ import annotations

from pathlib import Path
from typing import Literal, Self

from pydantic import Field, model_validator
from sashizu_core.home import state_home
from sashizu_core.settings import Table

from sashizu_audit.otel_settings import OtelSettings

__all__ = ["AuditSettings"]


class AuditSettings(Table):
    """`[audit]` in sashizu.toml.

    `dir` is the folder of the record; without it, `audit` in the state folder. `flush_ms` is how
    long, in milliseconds, a power cut may reach back for events that do not wait for the disk. A
    segment ends at `segment_mib` MiB or after `segment_minutes` minutes. `ballast_mib` MiB are kept
    on the disk and given up when it is full, so that runs can record how they ended.

    `content` says what is kept of arguments, results, prompts and answers: `none`, `hashes`, or
    `blobs`, their texts without secrets, for `blob_days` days in at most `blob_mib` MiB.

    When a run ends and segments of more than `seal_mib` MiB wait to be sealed, or very many, it
    seals them, and while it goes on what ended a minute ago; 0 leaves that to `audit seal`.
    `audit prune` drops what is older than `keep_days`
    days. A record of more than `quota_mib` MiB takes no further run; 0 sets no such bound.

    `otel` says where spans of runs are sent as they end.
    """

    dir: str | None = None
    flush_ms: int = Field(default=50, ge=1, le=10_000)
    segment_mib: int = Field(default=16, ge=1, le=1024)
    segment_minutes: int = Field(default=15, ge=1, le=24 * 60)
    ballast_mib: int = Field(default=8, ge=0, le=1024)
    content: Literal["none", "hashes", "blobs"] = "blobs"
    blob_days: int = Field(default=30, ge=1, le=36_500)
    blob_mib: int = Field(default=1024, ge=1, le=1024 * 1024)
    seal_mib: int = Field(default=64, ge=0, le=1024 * 1024)
    keep_days: int = Field(default=400, ge=1, le=36_500)
    quota_mib: int = Field(default=0, ge=0, le=1024 * 1024 * 1024)
    otel: OtelSettings = OtelSettings()

    @model_validator(mode="after")
    def _texts_are_kept(self) -> Self:
        if self.otel.content and self.content != "blobs":
            raise ValueError(
                'otel.content tells the texts that are kept: it needs content = "blobs"'
            )
        return self

    @property
    def folder(self) -> Path:
        """The folder of the record; it may not exist yet."""
        if self.dir is None:
            return state_home() / "audit"
        return Path(self.dir).expanduser().absolute()
