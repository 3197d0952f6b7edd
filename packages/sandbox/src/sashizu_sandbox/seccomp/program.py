"""Makes the filter of system calls for one architecture; finished ones lie beside this module."""

from __future__ import annotations

import errno
import platform
from collections.abc import Collection, Iterator
from importlib import resources
from itertools import groupby

from sashizu_core.errors import SandboxError

from sashizu_sandbox.seccomp.assembler import (
    ARCH_OFFSET,
    NUMBER_OFFSET,
    Assembler,
    argument_offset,
)
from sashizu_sandbox.seccomp.numbers import ARCHITECTURES, Architecture
from sashizu_sandbox.seccomp.rules import DENIED, GUARDED, MISSING, PERMITTED_FAMILIES, Guard

__all__ = ["build_program", "finished_program"]

_ALLOW = 0x7FFF0000
_KILL = 0x80000000
_ERROR = 0x00050000

_NETLINK = 16


def finished_program() -> bytes:
    """The filter for this machine, as `--seccomp` of bubblewrap takes it.

    Raises:
        SandboxError: there is none for this architecture.
    """
    machine = platform.machine()
    if machine not in ARCHITECTURES:
        known = ", ".join(sorted(ARCHITECTURES))
        raise SandboxError(f"no filter of system calls for {machine!r}, only for {known}")
    return (resources.files(__package__) / f"{machine}.bpf").read_bytes()


def build_program(
    architecture: Architecture, families: Collection[str] = tuple(PERMITTED_FAMILIES)
) -> bytes:
    """Translate the rules: a call of another architecture kills, what is denied is answered.

    `families` are the kinds of sockets that can be had.
    """
    code = Assembler()
    code.load(ARCH_OFFSET)
    code.if_equal(architecture.audit, no="kill")
    code.load(NUMBER_OFFSET)
    if architecture.foreign_from is not None:
        code.if_at_least(architecture.foreign_from, yes="missing")
    for name in MISSING:
        code.if_equal(architecture.numbers[name], yes="missing")
    for number in _present(DENIED, architecture):
        code.if_equal(number, yes="denied")
    _dispatch(code, architecture)
    code.answer(_ALLOW)
    code.label("kill")
    code.answer(_KILL)
    code.label("missing")
    code.answer(_ERROR | errno.ENOSYS)
    code.label("denied")
    code.answer(_ERROR | errno.EPERM)
    _guards(code, architecture)
    _families(code, families)
    return code.program()


def _present(names: tuple[str, ...], architecture: Architecture) -> Iterator[int]:
    return (architecture.numbers[name] for name in names if name in architecture.numbers)


def _by_name(architecture: Architecture) -> Iterator[tuple[str, list[Guard]]]:
    for name, guards in groupby(GUARDED, lambda guard: guard.name):
        if name in architecture.numbers:
            yield name, list(guards)


def _dispatch(code: Assembler, architecture: Architecture) -> None:
    """Jump to what is asked of the arguments of a call, if anything is."""
    for name, _ in _by_name(architecture):
        code.if_equal(architecture.numbers[name], yes=name)
    code.if_equal(architecture.numbers["socket"], yes="socket")


def _guards(code: Assembler, architecture: Architecture) -> None:
    for name, guards in _by_name(architecture):
        code.label(name)
        for at, guard in enumerate(guards):
            after = f"{name} {at + 1}"
            for check in guard.checks:
                code.load(argument_offset(check.argument))
                if check.value is None:
                    code.if_any_bit(check.mask, no=after)
                else:
                    code.if_equal(check.value, no=after)
            code.answer(_ERROR | guard.error)
            code.label(after)
        code.answer(_ALLOW)


def _families(code: Assembler, families: Collection[str]) -> None:
    code.label("socket")
    code.load(argument_offset(0))
    for name, family in PERMITTED_FAMILIES.items():
        if name in families:
            code.if_equal(family, yes="family")
    code.if_equal(_NETLINK, no="no family")
    code.load(argument_offset(2))
    code.if_equal(0, no="no family")
    code.label("family")
    code.answer(_ALLOW)
    code.label("no family")
    code.answer(_ERROR | errno.EAFNOSUPPORT)
