"""The page as HTML: the one module that makes markup. All text goes through one escape."""

from __future__ import annotations

from base64 import b64encode
from datetime import UTC, datetime
from functools import cache
from hashlib import sha256
from pathlib import Path

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup

from sashizu_dashboard.shown import Shown
from sashizu_dashboard.timeline import timeline_of

__all__ = ["page_of"]

_FOLDER = Path(__file__).parent
_NOWHERE = "base-uri 'none'; form-action 'none'"


def page_of(shown: Shown) -> str:
    """One self-contained page, complete, without script."""
    style = (_FOLDER / "page.css").read_text("utf-8")
    digest = b64encode(sha256(style.encode()).digest()).decode()
    return (
        _environment()
        .get_template("page.html")
        .render(
            shown=shown,
            run=shown.run,
            line=timeline_of(shown),
            style=Markup(style),  # noqa: S704 - ours, and shipped beside this module
            policy=f"default-src 'none'; style-src 'sha256-{digest}'; {_NOWHERE}",
        )
    )


@cache
def _environment() -> Environment:
    made = Environment(
        loader=FileSystemLoader(_FOLDER),
        autoescape=True,
        undefined=StrictUndefined,
        finalize=_visible,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    made.filters.update(moment=_moment, seconds=_seconds, usd=_usd, number=_number)
    return made


def _visible(value: object) -> object:
    """Text in which every character shows: none may turn lines around or end a document."""
    if not isinstance(value, str) or isinstance(value, Markup) or value.isprintable():
        return value
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in value)


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
