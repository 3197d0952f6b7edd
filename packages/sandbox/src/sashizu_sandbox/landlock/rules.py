"""From a confinement to rules of Landlock, which can only add to what is allowed."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from pathlib import Path

from sashizu_core.sandboxing import Confinement, check_links

__all__ = ["ALL_FILE_RIGHTS", "LIST", "READ", "RIGHTS_OF_A_FILE", "WRITE", "Rule", "rules_of"]

_EXECUTE, _WRITE_FILE, _READ_FILE, _READ_DIR = 1 << 0, 1 << 1, 1 << 2, 1 << 3
_REMOVE_DIR, _REMOVE_FILE, _MAKE_DIR, _MAKE_REG = 1 << 4, 1 << 5, 1 << 7, 1 << 8
_MAKE_FIFO, _MAKE_SYM, _REFER, _TRUNCATE = 1 << 10, 1 << 12, 1 << 13, 1 << 14

LIST = _READ_DIR
READ = _EXECUTE | _READ_FILE | _READ_DIR
WRITE = READ | _WRITE_FILE | _TRUNCATE | _REMOVE_DIR | _REMOVE_FILE | _REFER
WRITE |= _MAKE_DIR | _MAKE_REG | _MAKE_FIFO | _MAKE_SYM
RIGHTS_OF_A_FILE = _EXECUTE | _READ_FILE | _WRITE_FILE | _TRUNCATE
ALL_FILE_RIGHTS = (1 << 16) - 1

_SYSTEM = ("/bin", "/lib", "/lib32", "/lib64", "/sbin", "/usr")
_SYSTEM_FILES = (
    *("/etc/alternatives", "/etc/group", "/etc/hosts", "/etc/ld.so.cache", "/etc/localtime"),
    *("/etc/nsswitch.conf", "/etc/os-release", "/etc/passwd", "/etc/ssl/certs"),
    "/etc/ssl/openssl.cnf",
)
_DEVICES = ("/dev/full", "/dev/null", "/dev/random", "/dev/urandom", "/dev/zero")

Rule = tuple[str, int]
"""A path, and the rights to it and all below it."""


def rules_of(confinement: Confinement) -> list[Rule]:
    """What is allowed; all else is not.

    What is protected or hidden cannot be taken away from a folder, so the folder's other entries
    are allowed one by one: new ones cannot be made beside it.
    """
    check_links(confinement)
    kept = [path.resolve() for path in (*confinement.protected, *confinement.hidden)]
    hidden = [path.resolve() for path in confinement.hidden]
    rules = [(path, READ) for path in (*_SYSTEM, *_SYSTEM_FILES) if Path(path).exists()]
    rules += [(path, _READ_FILE | _WRITE_FILE) for path in _DEVICES if Path(path).exists()]
    for root in (*confinement.readable, *confinement.writable):
        rules += _allowed(root.resolve(), hidden, READ)
    for root in confinement.writable:
        rules += _allowed(root.resolve(), kept, WRITE)
    return rules


def _allowed(root: Path, kept: Iterable[Path], rights: int) -> Iterator[Rule]:
    """The rights to a root and all in it, but for some paths and what lies in these."""
    inner = [path for path in kept if path.is_relative_to(root)]
    if any(root.is_relative_to(path) for path in kept) or not root.exists():
        return
    if not inner:
        yield str(root), rights
        return
    yield str(root), LIST
    for entry in root.iterdir():
        if not entry.is_symlink():
            yield from _allowed(entry, inner, rights)
