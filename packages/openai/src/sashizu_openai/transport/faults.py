"""What goes wrong on the way, as errors and as sentences."""

from __future__ import annotations

import errno
import socket
import ssl
from collections.abc import Iterator

import anyio

__all__ = ["FAULTS", "Broken", "ProxyRefused", "ProxyUnreached", "reason"]


class Broken(Exception):
    """A connection ended, or what came over it makes no sense."""


class ProxyUnreached(Exception):
    """There is no connection to the proxy."""


class ProxyRefused(Exception):
    """The proxy did not lead on; `status` is its answer, 0 for none."""

    def __init__(self, status: int) -> None:
        super().__init__(status)
        self.status = status


FAULTS = (
    Broken,
    ProxyRefused,
    ProxyUnreached,
    anyio.BrokenResourceError,
    anyio.ClosedResourceError,
    anyio.EndOfStream,
    OSError,
    ValueError,
)
"""Everything that the outside can do to a request; an `ssl.SSLError` is an `OSError`."""


def reason(error: BaseException, host: str) -> str:
    """What happened, for a person."""
    causes = list(_causes(error))
    innermost_first = causes[::-1]  # which knows best
    told = [
        *(_of_this_side(cause, host) for cause in causes),
        *(_of_that_side(cause, host) for cause in innermost_first),
        f"{host} gave no answer ({error if isinstance(error, Broken) else causes[-1]})",
    ]
    return next(filter(None, told))


def _of_this_side(cause: BaseException, host: str) -> str:
    """What a fault says of this process, or of the proxy on the way."""
    match cause:
        case OSError(errno=errno.EMFILE | errno.ENFILE):
            return (
                f"no connection to {host} could be opened: this process may not open more files; "
                "raise `ulimit -n`, or let fewer agents work at once"
            )
        case ProxyRefused(status=0):
            return f"the proxy ended the connection when asked for {host}"
        case ProxyRefused(status=status):
            return f"the proxy answered {status} when asked for {host}"
        case ProxyUnreached():
            return f"the proxy on the way to {host} cannot be reached; see HTTPS_PROXY"
        case _:
            return ""


def _of_that_side(cause: BaseException, host: str) -> str:
    """What a fault says of the server."""
    match cause:
        case ssl.SSLCertVerificationError(verify_message=why):
            return (
                f"the certificate of {host} is not trusted ({why}); "
                "SSL_CERT_FILE can name your own authority"
            )
        case ssl.SSLError():
            return f"TLS with {host} failed; does it speak https?"
        case socket.gaierror():
            return f"the name of {host} cannot be resolved"
        case ConnectionRefusedError():
            return f"{host} refused the connection; is the server running?"
        case _:
            return ""


def _causes(error: BaseException | None) -> Iterator[BaseException]:
    seen: set[int] = set()
    while error is not None and id(error) not in seen:
        seen.add(id(error))
        yield error
        if isinstance(error, BaseExceptionGroup):
            error = error.exceptions[0]
        else:
            error = error.__cause__ or error.__context__
