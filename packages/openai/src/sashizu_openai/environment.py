"""What the environment says about the way to the network."""

from __future__ import annotations

from urllib.parse import urlsplit
from urllib.request import getproxies

from sashizu_core.errors import UsageError

__all__ = ["check_proxies"]


def check_proxies() -> None:
    """Refuse what would be taken for a proxy and is none; credentials are not repeated.

    Raises:
        UsageError: a variable holds something else than the URL of an HTTP proxy.
    """
    proxies = getproxies()
    if proxies.get("no", "").strip() == "*":
        return
    for kind in ("http", "https", "all"):
        url = proxies.get(kind)
        if url and not _is_http(url if "://" in url else f"http://{url}"):
            scheme = url.partition("://")[0] if "://" in url else "http"
            raise UsageError(
                f"{kind.upper()}_PROXY holds no URL of an HTTP proxy (its scheme is {scheme!r}); "
                "write it as http://host:port, or unset it"
            )


def _is_http(url: str) -> bool:
    try:
        parts = urlsplit(url)
        return parts.scheme in ("http", "https") and bool(parts.hostname) and parts.port != 0
    except ValueError:
        return False
