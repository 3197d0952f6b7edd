"""Which system calls a held program may not make, and why."""

from __future__ import annotations

import errno
from dataclasses import dataclass
from typing import Final

__all__ = ["DENIED", "GUARDED", "MISSING", "PERMITTED_FAMILIES", "Check", "Guard"]

DENIED: Final = (
    # keys and memory of other processes
    *("add_key", "keyctl", "request_key"),
    *("kcmp", "pidfd_getfd", "process_madvise", "process_vm_readv", "process_vm_writev", "ptrace"),
    # parts of the kernel where most ways out of a sandbox were found
    *("bpf", "io_uring_enter", "io_uring_register", "io_uring_setup", "lookup_dcookie"),
    *("modify_ldt", "nfsservctl", "perf_event_open", "userfaultfd", "vm86", "vm86old"),
    # mounts and namespaces: the sandbox itself is made of them
    *("chroot", "fsconfig", "fsmount", "fsopen", "fspick", "listmount", "mount", "mount_setattr"),
    *("move_mount", "open_tree", "open_tree_attr", "pivot_root", "setns", "statmount", "umount2"),
    # files without a path
    *("fanotify_init", "name_to_handle_at", "open_by_handle_at"),
    # the machine
    *("acct", "adjtimex", "clock_adjtime", "clock_settime", "create_module", "delete_module"),
    *("finit_module", "get_kernel_syms", "init_module", "ioperm", "iopl", "kexec_file_load"),
    *("kexec_load", "migrate_pages", "move_pages", "query_module", "quotactl", "quotactl_fd"),
    *("reboot", "setdomainname", "sethostname", "settimeofday", "swapoff", "swapon", "syslog"),
    *("_sysctl", "sysfs", "uselib", "ustat", "vhangup"),
)
"""Refused with EPERM, whatever their arguments are."""

MISSING: Final = ("clone3", "openat2")
"""Refused with ENOSYS: their arguments lie in memory, where no filter can look.

C libraries and programs go on with the older call, which is looked at.
"""

_NAMESPACES = 0x7E020000
"""NEWNS, NEWCGROUP, NEWUTS, NEWIPC, NEWUSER, NEWPID, NEWNET."""

_NEW_TIME = 0x80
"""NEWTIME; in `clone` the bit belongs to the signal."""

_SETS_ID = 0o6000
_CREATES = 0o20000100
"""`O_CREAT` or `O_TMPFILE`: only then is there a mode among the arguments of `open`."""

_TIOCSTI = 0x5412
_TIOCLINUX = 0x541C

PERMITTED_FAMILIES: Final = {"unix": 1, "inet": 2, "inet6": 10}
"""Families of sockets that can be had; of netlink (16) only the routes (protocol 0)."""


@dataclass(frozen=True, slots=True)
class Check:
    """A question to the low 32 bits of one argument: is any bit of `mask` set, or is it `value`?"""

    argument: int
    mask: int = 0
    value: int | None = None


@dataclass(frozen=True, slots=True)
class Guard:
    """A call that is refused with `error` if all of `checks` hold."""

    name: str
    checks: tuple[Check, ...]
    error: int = errno.EPERM


def _sets_id(name: str, mode: int, flags: int | None = None) -> Guard:
    creates = () if flags is None else (Check(flags, mask=_CREATES),)
    return Guard(name, (*creates, Check(mode, mask=_SETS_ID)))


GUARDED: Final = (
    Guard("clone", (Check(0, mask=_NAMESPACES),)),
    Guard("unshare", (Check(0, mask=_NAMESPACES | _NEW_TIME),)),
    # Both put words into the mouth of who sits at the terminal.
    Guard("ioctl", (Check(1, value=_TIOCSTI),)),
    Guard("ioctl", (Check(1, value=_TIOCLINUX),)),
    # A file that sets an id would be run by somebody else, outside.
    _sets_id("chmod", 1),
    _sets_id("fchmod", 1),
    _sets_id("fchmodat", 2),
    _sets_id("fchmodat2", 2),
    _sets_id("creat", 1),
    _sets_id("mknod", 1),
    _sets_id("mknodat", 2),
    _sets_id("open", 2, flags=1),
    _sets_id("openat", 3, flags=2),
)
