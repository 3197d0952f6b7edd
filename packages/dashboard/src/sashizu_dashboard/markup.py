"""Makes markup of templates: the one place where it is made. All text goes through one escape."""

from __future__ import annotations

from datetime import UTC, datetime
from functools import cache
from pathlib import Path
from typing import Any

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup

__all__ = ["asset", "rendered", "visible"]

_FOLDER = Path(__file__).parent

CALM = frozenset({"ok", "running", "waiting", "working"})
"""What a run, an agent or a call may be without anything being wrong."""


def rendered(template: str, **values: Any) -> str:
    """A whole page of one of our templates."""
    return _environment().get_template(template).render(**values)


@cache
def asset(name: str) -> bytes:
    """A file that is shipped with the pages."""
    return (_FOLDER / "assets" / name).read_bytes()


def visible(text: str) -> str:
    """Text in which every character shows: none may turn lines around or end a document."""
    if text.isprintable():
        return text
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in text)


@cache
def _environment() -> Environment:
    made = Environment(
        loader=FileSystemLoader(_FOLDER / "templates"),
        autoescape=True,
        undefined=StrictUndefined,
        finalize=_finalized,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    made.filters.update(moment=_moment, seconds=_seconds, usd=_usd, number=_number)
    made.tests["calm"] = CALM.__contains__
    return made


def _finalized(value: object) -> object:
    if not isinstance(value, str) or isinstance(value, Markup):
        return value
    return visible(value)


def _moment(ns: int) -> str:
    try:
        return f"{datetime.fromtimestamp(ns // 10**9, UTC):%Y-%m-%d %H:%M:%S} UTC"
    except (OverflowError, ValueError, OSError):
        return f"{ns} ns"  # a damaged record may hold any number


def _seconds(ns: int) -> str:
    return f"{ns / 1e9:,.3f} s"


def _usd(nusd: int) -> str:
    return f"{nusd / 1e9:,.4f}"


def _number(value: int) -> str:
    return f"{value:,}"
