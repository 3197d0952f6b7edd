"""The host of a URL, as it will be compared and dialled."""

from __future__ import annotations

import re
import unicodedata

import idna
from sashizu_core.addresses import canonical

__all__ = ["HostRefused", "parse_host"]

MOST_CHARACTERS = 253
"""Of a name in ASCII (RFC 1035, section 2.3.4), and of what is looked at at all."""

_LABEL = re.compile(r"[a-z0-9_](?:[a-z0-9_-]{0,61}[a-z0-9_])?")
_NUMBER = re.compile(r"[0-9]+|0x[0-9a-f]*")


class HostRefused(ValueError):
    """A host is not understood, or could be understood in two ways; the text says why."""


def parse_host(text: str) -> str:
    """A host as an A-label name in lower case, an IPv4 address, or an IPv6 address, no brackets.

    Names follow IDNA 2008 after the mapping of UTS 46; what resolvers and browsers would read as an
    address without it being written as one is refused.

    Raises:
        HostRefused: it is none of these.
    """
    if not text:
        raise HostRefused("it names no host")
    if text.startswith("["):
        return _ipv6(text)
    if "%" in text:
        raise HostRefused("its host is percent-encoded")
    if len(text) > MOST_CHARACTERS:
        raise HostRefused(f"its host has more than {MOST_CHARACTERS} characters")
    name = text.lower() if text.isascii() else _mapped(text)
    labels = name.split(".")
    if not labels[-1]:
        raise HostRefused("its host ends in a dot")
    if _NUMBER.fullmatch(labels[-1]):
        return _ipv4(name, written=text)
    for label in labels:
        _check(label)
    return name


def _ipv6(text: str) -> str:
    inner = text[1:-1]
    if not text.endswith("]") or "[" in inner or "]" in inner:
        raise HostRefused("the brackets of its address do not fit")
    if "%" in inner:
        raise HostRefused("its address has a zone")
    try:
        return canonical(inner if ":" in inner else "")
    except ValueError:
        raise HostRefused("what is in brackets is no IPv6 address") from None


def _ipv4(name: str, *, written: str) -> str:
    """An address of four decimal numbers: octal, hexadecimal and short forms are refused."""
    try:
        return canonical(name if name == written else "")
    except ValueError:
        raise HostRefused(
            "its host would be read as an IPv4 address but is not written as one: "
            "four decimal numbers without leading zeros"
        ) from None


def _mapped(text: str) -> str:
    """A name with other letters than those of ASCII, as it is looked up."""
    if any(unicodedata.category(letter) == "Cf" for letter in text):
        raise HostRefused("its host has invisible characters")
    try:
        return idna.encode(text, uts46=True, std3_rules=True).decode("ascii")
    except (idna.IDNAError, UnicodeError):
        raise HostRefused("its host is no international name (IDNA 2008)") from None


def _check(label: str) -> None:
    if not _LABEL.fullmatch(label):
        raise HostRefused(
            "its host is no name: parts of letters, digits, '-' and '_' with dots between them, "
            "at most 63 characters each"
        )
    if label.startswith("xn--"):
        try:
            known = idna.encode(idna.decode(label)).decode("ascii")
        except (idna.IDNAError, UnicodeError):
            known = ""
        if known != label:
            raise HostRefused("its host has an A-label that stands for no name")
