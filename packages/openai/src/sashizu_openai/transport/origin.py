"""Where requests go: scheme, host and port of a URL."""

from __future__ import annotations

import re
from dataclasses import dataclass
from urllib.parse import quote, urlsplit

__all__ = ["Origin", "split_url"]

_NAME = re.compile(r"(?=.{1,253}\Z)(?:[A-Za-z0-9_-]{1,63}\.)*[A-Za-z0-9_-]{1,63}\.?")
_ADDRESS = re.compile(r"[0-9A-Fa-f:.]*:[0-9A-Fa-f:.]*")
_PORTS = {"http": 80, "https": 443}


@dataclass(frozen=True, slots=True)
class Origin:
    """A server. `host` is a name in ASCII or an address, without brackets."""

    scheme: str
    host: str
    port: int

    @property
    def secure(self) -> bool:
        return self.scheme == "https"

    @property
    def authority(self) -> str:
        """As the header `Host` has it."""
        return self._host if self.port == _PORTS[self.scheme] else f"{self._host}:{self.port}"

    @property
    def address(self) -> str:
        """As `CONNECT` has it."""
        return f"{self._host}:{self.port}"

    @property
    def _host(self) -> str:
        return f"[{self.host}]" if ":" in self.host else self.host


def split_url(url: str) -> tuple[Origin, str]:
    """The server of a URL, and its path as it is sent, percent-encoded.

    Raises:
        ValueError: it is no http or https URL, or its host is none that can be asked for.
    """
    parts = urlsplit(url)
    if not url.isprintable():  # of which some would be left out without a word
        raise ValueError("it holds a character that no URL can carry")
    if parts.scheme not in _PORTS or not parts.hostname or parts.port == 0:
        raise ValueError("it is no http or https URL")
    host = parts.hostname
    if not host.isascii():
        host = _encoded(host)
    if not (_NAME.fullmatch(host) or _ADDRESS.fullmatch(host)):
        raise ValueError(f"{host!r} is no name of a host")
    path = quote(parts.path, safe="/%:@!$&'()*+,;=~-._")
    return Origin(parts.scheme, host, parts.port or _PORTS[parts.scheme]), path


def _encoded(host: str) -> str:
    """A name as it is asked for (RFC 5891)."""
    import idna

    try:
        return idna.encode(host, uts46=True).decode()
    except idna.IDNAError as error:
        raise ValueError(f"{host!r} is no name of a host ({error})") from error
