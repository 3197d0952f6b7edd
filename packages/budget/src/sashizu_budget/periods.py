"""Local days and months: what they are called, and when the next one begins.

The time zone is the one that the system is set to.
"""

from __future__ import annotations

from datetime import date, datetime, time, timedelta

__all__ = ["SCOPES", "day_of", "month_of", "next_start", "zone"]

SCOPES = ("day", "month", "project")
"""The windows, in the order in which they are shown."""


def day_of(at_ns: int) -> str:
    """The local day of a time in Unix nanoseconds, like `2026-11-21`."""
    return _local(at_ns).date().isoformat()


def month_of(day: str) -> str:
    """The month of a day, like `2026-11`."""
    return day[:7]


def next_start(scope: str, key: str) -> datetime | None:
    """When the window after a day or a month begins, in local time; None for a project."""
    if scope == "day":
        following = date.fromisoformat(key) + timedelta(days=1)
    elif scope == "month":
        following = (date.fromisoformat(f"{key}-01") + timedelta(days=31)).replace(day=1)
    else:
        return None
    return datetime.combine(following, time()).astimezone()


def zone(at_ns: int) -> str:
    """The local time zone at a time, like `CET, UTC+01:00`."""
    local = _local(at_ns)
    offset = local.isoformat()[-6:]
    return "UTC" if local.tzname() == "UTC" else f"{local.tzname()}, UTC{offset}"


def _local(at_ns: int) -> datetime:
    return datetime.fromtimestamp(at_ns // 10**9).astimezone()
