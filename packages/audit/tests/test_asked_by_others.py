"""Other packages ask the record through what the sink offers."""

import pytest
from sashizu_audit.plugin import register_sinks
from sashizu_audit.writer import AuditWriter
from sashizu_core.errors import UsageError
from sashizu_core.events import Event
from sashizu_core.settings import Settings


def asking(folder):
    (spec,) = register_sinks(Settings({"audit": {"dir": str(folder)}}))
    assert spec.query is not None
    return spec.query


def test_rows_come_with_their_columns_and_the_question_is_on_record(tmp_path):
    with AuditWriter(tmp_path) as writer:
        writer.write([Event("config.changed", {"status": "ok"})])
        writer.flush()
    query = asking(tmp_path)
    rows = query("SELECT kind, status FROM events WHERE kind = 'config.changed'", 10, 5.0)
    assert (rows.columns, rows.rows, rows.truncated) == (
        ("kind", "status"),
        (("config.changed", "ok"),),
        False,
    )
    (count,) = query("SELECT count(*) FROM events WHERE kind = 'audit.queried'", 10, 5.0).rows
    assert count == (1,)


def test_what_is_no_select_over_the_views_is_refused(tmp_path):
    with pytest.raises(UsageError, match=r"not allowed|no view|only SELECT"):
        asking(tmp_path)("SELECT * FROM read_csv('/etc/passwd')", 10, 5.0)
