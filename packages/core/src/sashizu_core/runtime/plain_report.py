"""Reports as JSON values, for who waits for them elsewhere."""

from __future__ import annotations

from typing import Any

from pydantic import TypeAdapter

from sashizu_core.errors import SashizuError
from sashizu_core.types import AgentReport, RunReport

__all__ = ["agent_report_from", "plain_report", "run_report_from"]

_AGENT = TypeAdapter(AgentReport)
_RUN = TypeAdapter(RunReport)


def plain_report(report: AgentReport | RunReport) -> Any:
    """A report as JSON values."""
    if isinstance(report, RunReport):
        return _RUN.dump_python(report, mode="json")
    return _AGENT.dump_python(report, mode="json")


def agent_report_from(values: Any) -> AgentReport:
    """The report that was written.

    Raises:
        SashizuError: it is none, or another version wrote it.
    """
    try:
        return _AGENT.validate_python(values)
    except ValueError as error:
        raise _unread(error) from error


def run_report_from(values: Any) -> RunReport:
    """The report that was written.

    Raises:
        SashizuError: it is none, or another version wrote it.
    """
    try:
        return _RUN.validate_python(values)
    except ValueError as error:
        raise _unread(error) from error


def _unread(error: ValueError) -> SashizuError:
    return SashizuError(
        f"what a worker reports is not to be read here: another version wrote it ({error})"
    )
