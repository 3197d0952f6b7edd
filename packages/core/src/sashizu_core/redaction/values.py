"""Secrets that are known: where their values come from, and every form they may turn up in."""

from __future__ import annotations

import base64
import json
import os
import re
from collections.abc import Iterable, Mapping
from fnmatch import fnmatchcase
from functools import lru_cache
from urllib.parse import quote, quote_plus

__all__ = ["LEAST_LENGTH", "forms", "is_strong", "named_like_a_secret", "secret_variables"]

LEAST_LENGTH = 8
"""Characters that a known value has at least; what is shorter occurs in text that is none."""

_STRONG_LENGTH = 16
_STRONG_LETTERS = 8  # different ones

_NAME = re.compile(
    r"(?:^|[_.\- ])"
    r"(?:[a-z0-9]*(?:secret|token|passwd|password|passphrase|credential|apikey|authkey|privatekey)"
    r"|key|pass|pwd|auth|authorization|cookie|pat)"
    r"s?(?:[_.-](?:[0-9]+|base|value|b64|base64))?$"
    r"|secret|password",
    re.IGNORECASE,
)
_FOLDERS = frozenset({"PWD", "OLDPWD"})


@lru_cache(4096)
def named_like_a_secret(name: str) -> bool:
    """Whether the value under a name of a variable, a member or a header may be a secret."""
    return _NAME.search(name[:256]) is not None


def secret_variables(env: Mapping[str, str], further: Iterable[str] = ()) -> list[str]:
    """The values in an environment that are taken for secrets.

    Those of variables that are named like one, and of those in `further`, names or patterns of
    names with `*`. Counts and paths that exist are none, whatever they are called.
    """
    patterns = tuple(further)
    found = []
    for name, value in env.items():
        if any(fnmatchcase(name, pattern) for pattern in patterns) or (
            name not in _FOLDERS and named_like_a_secret(name) and not _is_harmless(value)
        ):
            found.append(value)
    return found


def _is_harmless(value: str) -> bool:
    text = value.strip()
    if text.isdigit() and len(text) < _STRONG_LENGTH:
        return True
    return text.startswith(("/", "\\", "C:")) and "\0" not in text and os.path.lexists(text)


def is_strong(value: str) -> bool:
    """Whether a value is so long and varied that it is a word of no other text."""
    return len(value) >= _STRONG_LENGTH and len(set(value)) >= _STRONG_LETTERS


def forms(value: str) -> set[str]:
    """A value and how it is written in JSON, in URLs, in base64 (also as a part) and in hex.

    Forms that are shorter than `LEAST_LENGTH` are left out.
    """
    data = value.encode("utf-8", "surrogatepass")
    found = {value, quote_plus(data), data.hex(), data.hex().upper()}
    for ascii_only in (True, False):
        written = json.dumps(value, ensure_ascii=ascii_only)[1:-1]
        found |= {written, written.replace("/", "\\/")}
        found.add(json.dumps(written)[1:-1])  # JSON in a text of JSON, as models write it
    for safe in ("", "/", "/:@!$&'()*+,;=~"):
        percent = quote(data, safe=safe)
        found |= {percent, re.sub("%[0-9A-F]{2}", lambda m: m[0].lower(), percent)}
    found |= _within_base64(data)
    return {form for form in found if len(form) >= LEAST_LENGTH}


def _within_base64(data: bytes) -> set[str]:
    """What base64 of any text has in common that the data is a part of, at each of three places."""
    found = set()
    for before in range(3):
        padded = bytes(before) + data
        whole = len(padded) // 3 * 3
        for encode in (base64.standard_b64encode, base64.urlsafe_b64encode):
            # The first group holds bytes that come before the data, the last such as come after.
            encoded = encode(padded[:whole]).decode("ascii")
            found.add(encoded[4:] if before else encoded)
    return found
