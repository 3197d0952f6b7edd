"""Patterns of URLs that are granted: what they mean, what they reach, what two have in common.

```text
example.org                    https, port 443, any path
example.org:8443               https, that port, any path
*.example.org                  its subdomains, not itself
*                              any host that has a name with a dot
http://example.org             plain http, port 80: only where it is written
https://example.org/docs/*     that path and what is beneath it
https://example.org/a.json     that path alone
192.0.2.7, [2001:db8::1]       an address is reached only where it is listed
```

What cannot be understood grants nothing. Hosts are A-labels (`xn--…`), without regard to case.
"""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Iterable
from dataclasses import dataclass, replace
from functools import lru_cache
from typing import Literal
from urllib.parse import unquote_to_bytes

from sashizu_core.grants import NetRequest

__all__ = [
    "UrlPattern",
    "common_urls",
    "oddity_of_url",
    "reaches",
    "rule_reaches",
    "understood_urls",
    "url_pattern",
    "url_request",
]

PORTS = {"http": 80, "https": 443}

_LABEL = r"[a-z0-9_](?:[a-z0-9_-]{0,61}[a-z0-9_])?"
_NAME = re.compile(rf"(?=.{{1,253}}\Z){_LABEL}(?:\.{_LABEL})*")
_NUMBER = re.compile(r"[0-9]+|0x[0-9a-f]*")
_PATTERN = re.compile(
    r"(?:(?P<scheme>https?)://)?"
    r"(?P<host>\[[0-9a-f:.]+\]|[^/:\[\]@?#\\]+)"
    r"(?::(?P<port>[1-9][0-9]{0,4}))?"
    r"(?P<path>/.*)?",
    re.IGNORECASE | re.DOTALL,
)
_PATH = re.compile(r"/(?:[A-Za-z0-9._~!$&'()*+,;=:@/-]|%[0-9A-Fa-f]{2})*")  # RFC 3986 §3.3
_AMBIGUOUS = re.compile(r"//|;|%(?:2f|5c|25|00)", re.IGNORECASE)


@dataclass(frozen=True, slots=True)
class UrlPattern:
    """A pattern of URLs. `reach` says which hosts: this one, its subdomains, or any with a name.

    `path` is None where any is meant. `beneath` says whether what is beneath it is meant too.
    """

    scheme: str
    host: str
    reach: Literal["exact", "below", "any"]
    port: int
    path: str | None = None
    beneath: bool = False

    def __str__(self) -> str:
        host = {"exact": self.host, "below": f"*.{self.host}", "any": "*"}[self.reach]
        if ":" in host:
            host = f"[{host}]"
        port = "" if PORTS[self.scheme] == self.port else f":{self.port}"
        tail = (self.path or "") + ("/*" if self.beneath else "")
        return f"{self.scheme}://{host}{port}{tail}"


# --- reading --------------------------------------------------------------------------------------


@lru_cache(maxsize=4096)
def _host(text: str) -> str | None:
    """A host as it is compared; None if it is neither a name nor an address in its usual form."""
    if ":" in text or _NUMBER.fullmatch(text.rpartition(".")[2]):
        try:
            return None if "%" in text else str(ipaddress.ip_address(text))
        except ValueError:
            return None
    return text if _NAME.fullmatch(text) else None


def _is_address(host: str) -> bool:
    return ":" in host or _NUMBER.fullmatch(host.rpartition(".")[2]) is not None


def _leads_elsewhere(path: str) -> bool:
    """Whether a server may take a part of a path for `.` or `..`."""
    for part in re.split(r"/|%2f|%5c", path, flags=re.IGNORECASE):
        text = unquote_to_bytes(unquote_to_bytes(part))
        if text.partition(b";")[0] in (b".", b".."):
            return True
    return False


@lru_cache(maxsize=4096)
def url_pattern(text: str) -> UrlPattern | None:
    """What a granted pattern means, or None when it means nothing."""
    found = _PATTERN.fullmatch(text)
    if found is None or not text.isascii():
        return None
    where = _where(found["host"].lower())
    port = int(found["port"]) if found["port"] else PORTS[(found["scheme"] or "https").lower()]
    if where is None or port > 65535:
        return None
    pattern = UrlPattern((found["scheme"] or "https").lower(), where[0], where[1], port)
    path = found["path"]
    if path is None:
        return pattern
    beneath = path.endswith("/*")
    path = path.removesuffix("/*") if beneath else path
    if found["scheme"] is None or "*" in path:
        return None
    if path and (not _PATH.fullmatch(path) or _leads_elsewhere(path) or _AMBIGUOUS.search(path)):
        return None
    return replace(pattern, path=path, beneath=beneath) if path else pattern


def _where(host: str) -> tuple[str, Literal["exact", "below", "any"]] | None:
    if host == "*":
        return "", "any"
    name = host[2:] if host.startswith("*.") else host.strip("[]")
    found = _host(name)
    if found is None or (":" in found) != host.startswith("["):
        return None
    if host.startswith("*."):
        return None if _is_address(found) else (found, "below")
    return found, "exact"


def understood_urls(patterns: tuple[str, ...]) -> tuple[str, ...]:
    """The patterns of a definition or a setting, if each of them means something.

    Raises:
        ValueError: one means nothing, so that it would grant nothing.
    """
    for text in patterns:
        if url_pattern(text) is None:
            raise ValueError(
                f"{text!r} is no pattern of URLs; write 'example.org', '*.example.org', "
                "'example.org:8443' or 'https://example.org/docs/*'; other alphabets as 'xn--...'"
            )
    return patterns


def url_request(text: str) -> NetRequest | None:
    """A plain URL as a request: without user, query or fragment, in its usual form."""
    pattern = url_pattern(text) if re.match(r"https?://", text, re.IGNORECASE) else None
    if pattern is None or pattern.reach != "exact" or pattern.beneath:
        return None
    return NetRequest(pattern.scheme, pattern.host, pattern.port, pattern.path or "/")


def oddity_of_url(request: NetRequest) -> str:
    """Why a request means nothing that could be granted; empty if it can."""
    if request.scheme not in PORTS:
        return "only http and https are understood"
    if _host(request.host) is None:
        return "the host is neither a name nor an address in its usual form"
    if not 0 < request.port < 65536:
        return "there is no such port"
    if request.path and (not _PATH.fullmatch(request.path) or _leads_elsewhere(request.path)):
        return "the path is not in its usual form"
    return ""


# --- comparing ------------------------------------------------------------------------------------


def _reaches_host(pattern: UrlPattern, host: str) -> bool:
    if pattern.reach == "exact":
        return pattern.host == host
    if _is_address(host):
        return False
    if pattern.reach == "any":
        return "." in host
    return host.endswith("." + pattern.host)


def _reaches_path(pattern: UrlPattern, path: str) -> bool:
    if pattern.path is None:
        return True
    if _AMBIGUOUS.search(path):
        return False
    if pattern.beneath:
        return path == pattern.path or path.startswith(pattern.path + "/")
    return path == pattern.path


def reaches(pattern: UrlPattern, request: NetRequest) -> bool:
    """Whether a pattern reaches a request that has no oddity."""
    host = _host(request.host)
    return (
        host is not None
        and pattern.scheme == request.scheme
        and pattern.port == request.port
        and _reaches_host(pattern, host)
        and _reaches_path(pattern, request.path)
    )


def common_urls(first: Iterable[str], second: Iterable[str]) -> tuple[str, ...]:
    """The patterns that together reach what both of two lists of patterns reach."""
    mine, theirs = ([p for t in texts if (p := url_pattern(t))] for texts in (first, second))
    found = {both for a in mine for b in theirs if (both := _both(a, b)) is not None}
    outermost = (p for p in found if not any(q != p and _both(p, q) == p for q in found))
    return tuple(sorted(str(pattern) for pattern in outermost))


def _both(a: UrlPattern, b: UrlPattern) -> UrlPattern | None:
    if a.port != b.port or a.scheme != b.scheme:
        return None
    if a.host != b.host and a.reach == b.reach == "exact":
        return None
    host, path = _narrower_host(a, b), _narrower_path(a, b)
    if host is None or path is None:
        return None
    return UrlPattern(a.scheme, host.host, host.reach, a.port, path.path, path.beneath)


def _narrower_host(a: UrlPattern, b: UrlPattern) -> UrlPattern | None:
    """The one of two patterns whose hosts are those of both."""
    for inner, outer in ((a, b), (b, a)):
        if (inner.reach, inner.host) == (outer.reach, outer.host):
            return inner
        if inner.reach == "exact" and _reaches_host(outer, inner.host):
            return inner
        if inner.reach == "below" and outer.reach == "any":
            return inner
        if inner.reach == outer.reach == "below" and inner.host.endswith(f".{outer.host}"):
            return inner
    return None


def _narrower_path(a: UrlPattern, b: UrlPattern) -> UrlPattern | None:
    """The one of two patterns whose paths are those of both."""
    for inner, outer in ((a, b), (b, a)):
        if outer.path is None or (inner.path, inner.beneath) == (outer.path, outer.beneath):
            return inner
        if inner.path is not None and outer.beneath and _reaches_path(outer, inner.path):
            return inner
    return None


# --- rules ----------------------------------------------------------------------------------------


def rule_reaches(pattern: str, request: NetRequest) -> bool:
    """Whether a rule's pattern reaches a request.

    Rules take away, so they reach further than grants: what is not written of scheme, port and path
    is any, a path reaches what is beneath it however it is encoded and what is not known, and a
    pattern that cannot be understood reaches everything.
    """
    found, read = _PATTERN.fullmatch(pattern), url_pattern(pattern)
    if pattern == "*" or found is None or read is None:
        return True
    host = _host(request.host.lower().rstrip("."))
    if host is not None and not (read.reach == "any" or _reaches_host(read, host)):
        return False
    if found["scheme"] and read.scheme != request.scheme.lower():
        return False
    if found["port"] and read.port != request.port:
        return False
    return read.path is None or not request.path or _may_lie_in(request.path, read.path)


def _may_lie_in(path: str, folder: str) -> bool:
    if _AMBIGUOUS.search(path) or _leads_elsewhere(path):
        return True
    mine, theirs = (unquote_to_bytes(text).lower().rstrip(b"/") for text in (path, folder))
    return mine == theirs or mine.startswith(theirs + b"/")
