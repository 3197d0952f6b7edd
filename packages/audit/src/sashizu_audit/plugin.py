"""What sashizu-audit offers: the sinks `audit` and `otel`, and the command `audit`."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import AbstractAsyncContextManager

from sashizu_core.hookspecs import hookimpl
from sashizu_core.protocols import EventSink
from sashizu_core.recorded import RecordedRun
from sashizu_core.settings import Settings
from sashizu_core.specs import CommandSpec, RecordRows, SinkSpec

from sashizu_audit.settings import AuditSettings

__all__ = ["register_commands", "register_sinks"]


@hookimpl
def register_sinks(settings: Settings) -> Sequence[SinkSpec]:
    own = settings.plugin("audit", AuditSettings)

    def open_() -> AbstractAsyncContextManager[EventSink]:
        from sashizu_audit.sink import open_sink

        return open_sink(own)

    def open_beneath(above: Mapping[str, str]) -> AbstractAsyncContextManager[EventSink]:
        from sashizu_audit.sink import open_sink

        return open_sink(own, parent=above)

    def query(sql: str, limit: int, timeout_s: float) -> RecordRows:
        from sashizu_audit.asking import asked

        return asked(own.folder, sql, limit=limit, timeout_s=timeout_s)

    def recorded(run_id: str) -> RecordedRun:
        from sashizu_audit.recorded import recorded_run

        return recorded_run(own.folder, run_id)

    summary = f"the durable record in {own.folder}"
    sinks = [SinkSpec("audit", summary, open_, query, open_beneath, recorded)]
    if own.otel.endpoint is not None:
        sinks.append(_live_traces(own))
    return sinks


def _live_traces(own: AuditSettings) -> SinkSpec:
    def open_() -> AbstractAsyncContextManager[EventSink]:
        from sashizu_audit.otel import open_otel

        return open_otel(own.otel, own.folder)

    return SinkSpec("otel", f"spans of runs, sent to {own.otel.endpoint}", open_)


@hookimpl
def register_commands() -> Sequence[CommandSpec]:
    return [CommandSpec("audit", "Ask the record of what agents did.", "sashizu_audit.cli:app")]
