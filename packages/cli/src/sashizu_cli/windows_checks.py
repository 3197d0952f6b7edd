"""What `sashizu doctor` tells of Windows alone: what it lacks, and what stands in its place."""

from __future__ import annotations

import platform
import sys
from collections.abc import Iterator

__all__ = ["lacking_on_windows", "platform_name"]


_LACKING = (
    ("openat2", "unsupported: not on Windows; what was opened is compared with its name instead"),
    ("file modes", "unsupported: not on Windows; a folder's access list says who may read it"),
    (
        "run sockets",
        "unsupported: not in Python on Windows; a run at work is listed, and not reached",
    ),
    ("hooks", "unsupported: they need /bin/sh and a sandbox; run sashizu in WSL"),
)
"""What is absent there, and what is done instead."""


def platform_name() -> str:
    """The system, and whether what calls itself Windows is Wine."""
    played = _wine_version()
    return platform.platform() + (f", as Wine {played} plays it" if played else "")


def _wine_version() -> str:
    if sys.platform == "win32":
        import ctypes

        version = getattr(ctypes.WinDLL("ntdll"), "wine_get_version", None)
        if version is not None:
            version.restype = ctypes.c_char_p
            return str(version().decode("ascii", "replace"))
    return ""


def lacking_on_windows() -> Iterator[tuple[str, str]]:
    """What is absent there, each with what is done instead; nothing on other systems."""
    yield from _LACKING if sys.platform == "win32" else ()
