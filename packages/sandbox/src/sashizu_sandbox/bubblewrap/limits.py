"""Limits of a process that is about to start, from outside."""

from __future__ import annotations

import resource
from collections.abc import Mapping

from sashizu_sandbox.bubblewrap import kernel

__all__ = ["LIMITS", "put"]

LIMITS = {
    "cpu_s": resource.RLIMIT_CPU,
    "memory_bytes": resource.RLIMIT_AS,
    "file_bytes": resource.RLIMIT_FSIZE,
    "processes": resource.RLIMIT_NPROC,
    "open_files": resource.RLIMIT_NOFILE,
}


def put(pid: int, limits: Mapping[str, int], user: int | None = None) -> None:
    """Limit a process and all that it will start.

    The number of processes is counted for each user namespace since Linux 5.14, so that only those
    in the sandbox count; before that, all of the same user do. `user` is whose process it is, if it
    is not our own: in a container, root often may not limit what belongs to others.

    Raises:
        OSError: the process is no more, or cannot be limited.
    """
    if user is None:
        _put(pid, limits)
        return
    with kernel.acting_as(user):
        _put(pid, limits)


def _put(pid: int, limits: Mapping[str, int]) -> None:
    resource.prlimit(pid, resource.RLIMIT_CORE, (0, 0))
    for name, limit in LIMITS.items():
        _, hard = resource.prlimit(pid, limit)
        asked = limits[name] if hard == resource.RLIM_INFINITY else min(limits[name], hard)
        resource.prlimit(pid, limit, (asked, asked))
