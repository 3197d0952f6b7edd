"""URLs as hostile text: read in one way only, or not at all.

Whatever two parsers could read differently (RFC 3986, the WHATWG's standard, that of a server that
decodes twice) is refused. What is returned is what is judged, dialled and sent.
"""

from __future__ import annotations

import re
import unicodedata
from dataclasses import dataclass
from urllib.parse import unquote_to_bytes

from sashizu_core.errors import ToolError
from sashizu_core.grants import NetRequest

from sashizu_sandbox.network.hosts import HostRefused, parse_host

__all__ = ["PORTS", "Url", "UrlRefused", "join_url", "parse_url"]

PORTS = {"http": 80, "https": 443}

MOST_CHARACTERS = 8192
_MOST_SHOWN = 200
_HIGHEST_PORT = 65535

_PARTS = re.compile(
    r"(https?)://([^/?#]*)([^?#]*)(?:\?([^#]*))?(?:#.*)?", re.IGNORECASE | re.DOTALL
)
_SCHEME = re.compile(r"[A-Za-z][A-Za-z0-9+.-]*:")
_AUTHORITY = re.compile(r"(\[[^\[\]]*\]|[^:\[\]]*)(?::([0-9]+))?")
_PORT = re.compile(r"[1-9][0-9]{0,4}")
_UNRESERVED = frozenset(b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-._~")
_PATH_ODD = re.compile(r"%(?:[0-9A-Fa-f]{2})?|[^A-Za-z0-9._~!$&'()*+,;=:@/-]")
_QUERY_ODD = re.compile(r"%(?:[0-9A-Fa-f]{2})?|[^A-Za-z0-9._~!$&'()*+,;=:@/?-]")
_ENCODED_CONTROL = re.compile(r"%(?:[01][0-9A-F]|7F)")
_OVERLONG = re.compile(rb"[\xc0\xc1][\x80-\xbf]|\xe0[\x80-\x9f][\x80-\xbf]|\xf0[\x80-\x8f]")
_SLASHES = re.compile(r"[/\\]")
_MOST_DECODED = 4


class UrlRefused(ToolError):
    """A URL is not understood, or could be understood in two ways."""


@dataclass(frozen=True, slots=True)
class Url:
    """A URL in its one form. `host` and `path` are those of `NetRequest`; `query` has no `?`."""

    scheme: str
    host: str
    port: int
    path: str
    query: str = ""

    @property
    def authority(self) -> str:
        """As the header `Host` has it: the port only where it is not the scheme's own."""
        host = f"[{self.host}]" if ":" in self.host else self.host
        return host if self.port == PORTS[self.scheme] else f"{host}:{self.port}"

    @property
    def target(self) -> str:
        """As it is sent to the server: path and query."""
        return f"{self.path}?{self.query}" if self.query else self.path

    @property
    def request(self) -> NetRequest:
        """What is judged."""
        return NetRequest(self.scheme, self.host, self.port, self.path)

    def __str__(self) -> str:
        return f"{self.scheme}://{self.authority}{self.target}"


def parse_url(text: str) -> Url:
    """Read an absolute http or https URL; a fragment is dropped.

    The path comes back percent-encoded, with dot segments resolved and without needless escapes, so
    that equal paths are equal texts.

    Raises:
        UrlRefused: it is none, or could be understood in two ways.
    """
    try:
        return _parsed(text)
    except ValueError as error:
        shown = text if len(text) <= _MOST_SHOWN else text[:_MOST_SHOWN] + "…"
        raise UrlRefused(f"the URL {shown!r} is refused: {error}") from None


def join_url(base: Url, reference: str) -> Url:
    """Where a redirect leads to (RFC 3986, section 5.2).

    Raises:
        UrlRefused: as for `parse_url`.
    """
    origin = f"{base.scheme}://{base.authority}"
    if _SCHEME.match(reference):
        return parse_url(reference)
    if reference.startswith("//"):
        return parse_url(f"{base.scheme}:{reference}")
    if reference.startswith("/"):
        return parse_url(origin + reference)
    if reference.startswith("?"):
        return parse_url(origin + base.path + reference)
    if not reference or reference.startswith("#"):
        return base
    folder = base.path[: base.path.rindex("/") + 1]
    return parse_url(origin + folder + reference)


def _parsed(text: str) -> Url:
    if len(text) > MOST_CHARACTERS:
        raise ValueError(f"it has more than {MOST_CHARACTERS} characters")
    if any(_is_forbidden(letter) for letter in text):
        raise ValueError("it has spaces, control characters or backslashes; write them as %20, ...")
    parts = _PARTS.fullmatch(text)
    if parts is None:
        raise ValueError("it does not begin with http:// or https://")
    scheme, authority = parts[1].lower(), parts[2]
    host, port = _origin(authority, PORTS[scheme])
    return Url(scheme, host, port, _path(parts[3] or "/"), _encoded(parts[4] or "", _QUERY_ODD))


def _is_forbidden(letter: str) -> bool:
    if "!" <= letter <= "~":
        return letter == "\\"
    return letter < "\x80" or unicodedata.category(letter) in ("Cc", "Cs", "Zl", "Zp", "Zs")


def _origin(authority: str, default: int) -> tuple[str, int]:
    if "@" in authority:
        raise ValueError("it has a user name or a password (or an '@' before its path)")
    parts = _AUTHORITY.fullmatch(authority)
    if parts is None:
        raise ValueError("it names no host, or its port is no number; IPv6 needs brackets")
    host = parse_host(parts[1])
    if parts[2] is None:
        return host, default
    port = int(parts[2]) if _PORT.fullmatch(parts[2]) else 0
    if not 0 < port <= _HIGHEST_PORT:
        raise HostRefused(f"its port is not one of 1 to {_HIGHEST_PORT}")
    return host, port


# --- paths ----------------------------------------------------------------------------------------


def _encoded(text: str, odd: re.Pattern[str]) -> str:
    """Percent-encoded where it has to be, and nowhere else (RFC 3986, section 6.2.2)."""
    return odd.sub(_escape, text)


def _escape(found: re.Match[str]) -> str:
    part = found[0]
    if part == "%":
        raise ValueError("it has a '%' that is not followed by two hexadecimal digits; write %25")
    if part.startswith("%"):
        byte = int(part[1:], 16)
        return chr(byte) if byte in _UNRESERVED else part.upper()
    return "".join(f"%{byte:02X}" for byte in part.encode())


def _path(text: str) -> str:
    """A path without dot segments.

    An encoded slash stays one, but what it could make of a path that is decoded later is refused.
    """
    encoded = _encoded(text, _PATH_ODD)
    if "%" in encoded or ";" in encoded:
        _check_hidden(encoded)
    if "/." not in encoded:
        return encoded
    kept: list[str] = []
    segments = encoded.split("/")[1:]
    for segment in segments:
        if segment == "..":
            del kept[-1:]
        elif segment != ".":
            kept.append(segment)
    if segments[-1] in (".", ".."):
        kept.append("")
    return "/" + "/".join(kept)


def _check_hidden(path: str) -> None:
    """Refuse dot segments that only show once a server decodes, splits or simplifies further."""
    if _ENCODED_CONTROL.search(path):
        raise ValueError("its path has encoded control characters")
    for segment in path.split("/"):
        if "%" in segment or ";" in segment:
            _check_segment(segment)


def _check_segment(segment: str) -> None:
    text = segment
    for _ in range(_MOST_DECODED):
        plain = unicodedata.normalize("NFKC", text)
        pieces = (piece.partition(";")[0].strip() for piece in _SLASHES.split(plain))
        if any(piece in (".", "..") for piece in pieces):
            raise ValueError("its path hides dot segments")
        data = unquote_to_bytes(text)
        if _OVERLONG.search(data):
            raise ValueError("its path has characters in an overlong encoding")
        decoded = data.decode("utf-8", "replace")
        if decoded == text:
            return
        text = decoded
    raise ValueError("its path is encoded again and again")
