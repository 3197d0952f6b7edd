"""The sandbox of macOS: a profile for `sandbox-exec`, and programs started with it."""

from __future__ import annotations

import os
from collections.abc import AsyncIterator, Iterable, Sequence
from contextlib import asynccontextmanager
from pathlib import Path

from sashizu_core.errors import SandboxError
from sashizu_core.sandboxing import Confinement, SandboxedProcess, SandboxInfo, check_links

from sashizu_sandbox.plain import child

__all__ = ["Seatbelt", "open_seatbelt", "probe_seatbelt", "profile_of"]

NAME = "seatbelt"

_PROGRAM = Path("/usr/bin/sandbox-exec")

_SYSTEM = ("/System", "/Library/Apple", "/bin", "/sbin", "/usr", "/private/var/db/dyld")
_SYSTEM_FILES = ("/private/etc/hosts", "/private/etc/localtime", "/private/etc/ssl")
_DEVICES = ("/dev/null", "/dev/random", "/dev/urandom", "/dev/zero")

_REASON = (
    "it holds files and the network; not how much memory and how many processes there are, nor "
    "programs that leave their process group, which live on"
)

_BASE = """(version 1)
(deny default)
(allow process-fork)
(allow process-exec)
(allow signal (target same-sandbox))
(allow process-info* (target same-sandbox))
(allow sysctl-read)
(allow file-read-metadata)
"""


def profile_of(confinement: Confinement) -> str:
    """The profile for one confinement; of rules that fit, the last one counts.

    Raises:
        SandboxError: a path cannot be written in a profile.
    """
    check_links(confinement)
    resolved = {
        name: [path.resolve() for path in getattr(confinement, name)]
        for name in ("readable", "writable", "protected", "hidden")
    }
    lines = [
        _rule("allow", "file-read*", [Path(path) for path in (*_SYSTEM, *_SYSTEM_FILES)]),
        _rule("allow", "file-read* file-write-data", [Path(path) for path in _DEVICES]),
        _rule("allow", "file-read*", resolved["readable"]),
        _rule("allow", "file-read* file-write*", resolved["writable"]),
        _rule("deny", "file-write*", resolved["protected"]),
        # To rename a folder on the way would put another in its place.
        _literals("file-write-unlink", _on_the_way(resolved)),
        _rule("deny", "file-read* file-write*", resolved["hidden"]),
        "(deny file-write-setugid)\n",
    ]
    return _BASE + "".join(lines)


def _on_the_way(resolved: dict[str, list[Path]]) -> list[Path]:
    """The folders between writable roots and what in them is protected or hidden."""
    found = {
        parent
        for path in (*resolved["protected"], *resolved["hidden"])
        for root in resolved["writable"]
        if path.is_relative_to(root)
        for parent in path.parents
        if parent.is_relative_to(root)
    }
    return sorted(found)


def _rule(verdict: str, what: str, paths: Iterable[Path]) -> str:
    places = "".join(f" (subpath {_quoted(path)})" for path in paths)
    return f"({verdict} {what}{places})\n" if places else ""


def _literals(what: str, paths: Iterable[Path]) -> str:
    places = "".join(f" (literal {_quoted(path)})" for path in paths)
    return f"(deny {what}{places})\n" if places else ""


def _quoted(path: Path) -> str:
    text = str(path)
    if any(ord(letter) < 32 or letter == "\x7f" for letter in text):
        raise SandboxError(f"{text!r} cannot be written in a profile: it has control characters")
    return '"' + text.replace("\\", "\\\\").replace('"', '\\"') + '"'


def probe_seatbelt() -> SandboxInfo:
    """What `sandbox-exec` can do here: it is part of every macOS."""
    if not _PROGRAM.is_file():
        return SandboxInfo(NAME, "none", f"there is no {_PROGRAM}")
    return SandboxInfo(NAME, "partial", _REASON)


@asynccontextmanager
async def open_seatbelt() -> AsyncIterator[Seatbelt]:
    """Open the sandbox.

    Raises:
        SandboxError: there is none.
    """
    info = probe_seatbelt()
    if info.kind == "none":
        raise SandboxError(info.reason)
    yield Seatbelt(info)


class Seatbelt:
    """Starts programs by `sandbox-exec`."""

    def __init__(self, info: SandboxInfo) -> None:
        self._info = info

    @property
    def info(self) -> SandboxInfo:
        return self._info

    @asynccontextmanager
    async def start(
        self, argv: Sequence[str], confinement: Confinement, *, stdin: bool = False
    ) -> AsyncIterator[SandboxedProcess]:
        if confinement.judge is not None or confinement.served:
            raise SandboxError("no program may connect to anything from the seatbelt sandbox yet")
        if not argv or not os.access(argv[0], os.X_OK):
            raise SandboxError(f"{argv[0] if argv else ''!r} is no program")
        words = [str(_PROGRAM), "-p", profile_of(confinement), *argv]
        async with child(words, confinement, stdin=stdin) as process:
            yield process
