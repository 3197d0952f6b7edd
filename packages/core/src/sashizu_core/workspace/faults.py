"""What the system's errors mean to who asked for a file."""

from __future__ import annotations

import errno
import os

from sashizu_core.errors import ToolError
from sashizu_core.workspace.reading import ChangedWhileRead, NotAFile, TooLarge

__all__ = ["explained"]

_REASONS = {
    errno.ENOENT: "there is no such file or folder",
    errno.EISDIR: "it is a folder",
    errno.ENOTDIR: "a folder was expected, and it or something above it is none",
    errno.EXDEV: "a link leads outside the workspace",
    errno.EACCES: "the system does not allow it",
    errno.EPERM: "the system does not allow it",
    errno.ENAMETOOLONG: "a name in it is too long",
    errno.ENOSPC: "the disk is full; nothing was changed",
    errno.EDQUOT: "the quota of the disk is used up; nothing was changed",
    errno.EFBIG: "the file would be larger than the system allows; nothing was changed",
    errno.EROFS: "the file system is read-only",
    errno.ENXIO: "it is no regular file",
    errno.ELOOP: "it is a symbolic link, or lies behind one, and that is not followed here",
}


def explained(action: str, path: str, error: OSError | ValueError) -> ToolError:
    """A `ToolError` that says what was to be done to which path, and why it was not.

    `error` comes from a `Dir`, or from reading.
    """
    match error:
        case OSError():
            code = error.errno or 0
            reason = _REASONS.get(code) or os.strerror(code).lower()
        case NotAFile():
            reason = "it is no regular file"
        case TooLarge():
            reason = f"it has {error.size:,} bytes; at most {error.limit:,} are taken at once"
        case ChangedWhileRead():
            reason = "it changed while it was read; try again"
        case _:
            reason = str(error)
    return ToolError(f"cannot {action} {path!r}: {reason}")
