"""The page about one run that needs nobody: no network, no script."""

from __future__ import annotations

from base64 import b64encode
from hashlib import sha256

from markupsafe import Markup

from sashizu_dashboard.markup import asset, rendered
from sashizu_dashboard.shown import Shown
from sashizu_dashboard.timeline import timeline_of

__all__ = ["page_of"]

_NOWHERE = "base-uri 'none'; form-action 'none'"


def page_of(shown: Shown) -> str:
    """One self-contained page, complete, without script."""
    style = asset("page.css")
    digest = b64encode(sha256(style).digest()).decode()
    return rendered(
        "report.html",
        shown=shown,
        run=shown.run,
        line=timeline_of(shown),
        style=Markup(style.decode()),  # noqa: S704 - ours, and shipped beside this module
        policy=f"default-src 'none'; style-src 'sha256-{digest}'; {_NOWHERE}",
    )
