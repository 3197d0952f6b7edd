"""A tamper-evident record of what agents did, open to SQL.

`AuditWriter` appends events to the record and needs no database; `AuditStore` asks it with SQL,
`JailedStore` with SQL of others, in a process that can do nothing else;
`verify_record` checks a whole record, `verify_segment` the hash chain of one file. Names are
imported when they are used, so that writing never loads DuckDB.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from sashizu_audit.chain import SegmentReport, verify_segment
    from sashizu_audit.jailed_store import JailedStore
    from sashizu_audit.rows import Rows
    from sashizu_audit.spool import WriterOptions
    from sashizu_audit.store import AuditStore
    from sashizu_audit.verify import RecordReport, verify_record
    from sashizu_audit.writer import AuditWriter

__all__ = [
    "AuditStore",
    "AuditWriter",
    "JailedStore",
    "RecordReport",
    "Rows",
    "SegmentReport",
    "WriterOptions",
    "verify_record",
    "verify_segment",
]

_HOMES = {
    "AuditStore": "store",
    "AuditWriter": "writer",
    "JailedStore": "jailed_store",
    "RecordReport": "verify",
    "Rows": "rows",
    "SegmentReport": "chain",
    "WriterOptions": "spool",
    "verify_record": "verify",
    "verify_segment": "chain",
}


def __getattr__(name: str) -> Any:
    if home := _HOMES.get(name):
        from importlib import import_module

        return getattr(import_module(f"sashizu_audit.{home}"), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
