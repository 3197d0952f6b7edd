"""Which certificates are trusted when a server is dialled with TLS."""

from __future__ import annotations

import functools
import os
import ssl

from sashizu_core.errors import ToolError

__all__ = ["trusted"]


def trusted() -> ssl.SSLContext:
    """What SSL_CERT_FILE or SSL_CERT_DIR of this process name, else what the system trusts.

    Raises:
        ToolError: the certificates cannot be used.
    """
    file, folder = os.environ.get("SSL_CERT_FILE"), os.environ.get("SSL_CERT_DIR")
    try:
        return _context(file or None, folder or None)
    except OSError as error:  # an ssl.SSLError is one
        raise ToolError(
            f"the certificates of {file or folder or 'this system'} cannot be used "
            f"({error.strerror or error}); see SSL_CERT_FILE and SSL_CERT_DIR"
        ) from error


@functools.cache
def _context(file: str | None, folder: str | None) -> ssl.SSLContext:
    """One context for all connections: making one takes 25 ms."""
    context = ssl.create_default_context(cafile=file, capath=folder)
    if not (file or folder) and not _knows_any(context):
        import certifi  # Pythons that were not built for their system know no authority

        context.load_verify_locations(certifi.where())
    context.set_alpn_protocols(["http/1.1"])
    return context


def _knows_any(context: ssl.SSLContext) -> bool:
    """Whether authorities were loaded, or are looked up one by one in a folder that has some."""
    folder = ssl.get_default_verify_paths().capath
    listed = folder is not None and any(os.scandir(folder))
    return listed or context.cert_store_stats()["x509_ca"] > 0
