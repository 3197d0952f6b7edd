"""The bearer token of a server on HTTP."""

from __future__ import annotations

import os
import secrets
from hmac import compare_digest
from pathlib import Path

from sashizu_core.errors import ConfigError

__all__ = ["is_bearer", "kept_token", "new_token"]

_LEAST = 16


def new_token() -> str:
    """32 random bytes, fit for a header."""
    return secrets.token_urlsafe(32)


def kept_token(file: Path) -> str:
    """The token of a file that only its owner may read; a new one if there is none yet.

    Raises:
        ConfigError: others may read it, it cannot be read or made, or what it holds is too short.
    """
    try:
        fd = os.open(file, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    except FileExistsError:
        return _read(file)
    except OSError as error:
        raise ConfigError(f"the token cannot be kept: {error.strerror}", file=file) from error
    token = new_token()
    with os.fdopen(fd, "w", encoding="ascii") as stream:
        stream.write(token + "\n")
    return token


def _read(file: Path) -> str:
    try:
        with file.open(encoding="ascii") as stream:
            if os.name == "posix" and os.fstat(stream.fileno()).st_mode & 0o077:
                raise ConfigError("others may read the token: `chmod 600` it", file=file)
            token = stream.read(4096).strip()
    except (OSError, ValueError) as error:
        raise ConfigError(f"the token cannot be read: {error}", file=file) from error
    if len(token) < _LEAST or not token.isprintable() or " " in token:
        raise ConfigError(f"a token is one word of at least {_LEAST} characters", file=file)
    return token


def is_bearer(header: bytes | None, token: str) -> bool:
    """Whether an `Authorization` header carries the token; takes as long for any other."""
    scheme, _, given = (header or b"").partition(b" ")
    right = compare_digest(given.strip(), token.encode("ascii"))
    return right and scheme.lower() == b"bearer"
