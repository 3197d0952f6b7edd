"""Which certificates are trusted."""

from __future__ import annotations

import functools
import os
import ssl

from sashizu_core.errors import UsageError

__all__ = ["trusted"]


def trusted() -> ssl.SSLContext:
    """What SSL_CERT_FILE or SSL_CERT_DIR name, else what this system trusts.

    Raises:
        UsageError: the certificates cannot be used.
    """
    file, folder = os.environ.get("SSL_CERT_FILE"), os.environ.get("SSL_CERT_DIR")
    try:
        return _context(file, folder)
    except OSError as error:  # an ssl.SSLError is one
        raise UsageError(
            f"the certificates of {file or folder or 'this system'} cannot be used "
            f"({error.strerror or error}); see SSL_CERT_FILE and SSL_CERT_DIR"
        ) from error


@functools.cache
def _context(file: str | None, folder: str | None) -> ssl.SSLContext:
    """One context for all connections: making one takes 25 ms."""
    if file or folder:
        context = ssl.create_default_context(cafile=file or None, capath=folder or None)
    else:
        context = ssl.create_default_context()
        if not context.cert_store_stats()["x509_ca"] and not _has_folder():
            import certifi  # Pythons that were not built for their system know no authority

            context.load_verify_locations(certifi.where())
    context.set_alpn_protocols(["http/1.1"])
    return context


def _has_folder() -> bool:
    """Whether authorities are looked up in a folder, one by one, when they are needed."""
    folder: str | None = ssl.get_default_verify_paths().capath
    if folder is None:
        return False
    with os.scandir(folder) as entries:
        return any(True for _ in entries)
