"""The filter of system calls: what is shipped is what the rules say, and does what they say."""

from __future__ import annotations

import errno
import platform
import re
import struct
from importlib import resources
from pathlib import Path

import pytest
import sashizu_sandbox.seccomp
from hypothesis import given
from hypothesis import strategies as st
from sashizu_sandbox.seccomp.assembler import Assembler
from sashizu_sandbox.seccomp.numbers import ARCHITECTURES, Architecture
from sashizu_sandbox.seccomp.program import build_program
from sashizu_sandbox.seccomp.rules import DENIED, GUARDED, MISSING

ALLOW, KILL, ERROR = 0x7FFF0000, 0x80000000, 0x00050000
BOTH = sorted(ARCHITECTURES)

HEADERS = {
    "x86_64": Path("/usr/include/x86_64-linux-gnu/asm/unistd_64.h"),
    "aarch64": Path("/usr/include/asm-generic/unistd.h"),
}


def run(program: bytes, audit: int, number: int, *arguments: int) -> int:
    """What the kernel would do: interpret the program, over `struct seccomp_data`."""
    words = [argument & (2**64 - 1) for argument in (*arguments, *[0] * 6)][:6]
    data = struct.pack("<IIQ6Q", number, audit, 0, *words)
    lines = list(struct.iter_unpack("<HBBI", program))
    held, at = 0, 0
    while True:
        code, yes, no, operand = lines[at]
        at += 1
        match code:
            case 0x20:
                (held,) = struct.unpack_from("<I", data, operand)
            case 0x15:
                at += yes if held == operand else no
            case 0x35:
                at += yes if held >= operand else no
            case 0x45:
                at += yes if held & operand else no
            case 0x06:
                return int(operand)
            case _:
                raise AssertionError(f"unknown instruction {code:#x}")


def ask(machine: str, name: str, *arguments: int) -> int:
    architecture = ARCHITECTURES[machine]
    program = build_program(architecture)
    return run(program, architecture.audit, architecture.numbers[name], *arguments)


@pytest.mark.parametrize("machine", BOTH)
def test_what_is_shipped_is_what_the_rules_give(machine: str) -> None:
    shipped = (resources.files(sashizu_sandbox.seccomp) / f"{machine}.bpf").read_bytes()
    assert shipped == build_program(ARCHITECTURES[machine])
    assert len(shipped) // 8 < 4096


@pytest.mark.parametrize("machine", BOTH)
def test_what_is_denied_is_denied_whatever_is_asked_for(machine: str) -> None:
    for name in DENIED:
        if name in ARCHITECTURES[machine].numbers:
            assert ask(machine, name, 1, 2, 3) == ERROR | errno.EPERM, name
    for name in MISSING:
        assert ask(machine, name) == ERROR | errno.ENOSYS, name


@pytest.mark.parametrize("machine", BOTH)
@pytest.mark.parametrize(
    ("name", "arguments", "allowed"),
    [
        ("clone", (0x01200011,), True),
        ("clone", (0x10000011,), False),
        ("clone", (0x40000000,), False),
        ("unshare", (0x200,), True),
        ("unshare", (0x10000000,), False),
        ("unshare", (0x80,), False),
        ("ioctl", (0, 0x5401), True),
        ("ioctl", (0, 0x5412), False),
        ("ioctl", (0, 0xFFFFFFFF_00005412), False),
        ("ioctl", (0, 0x541C), False),
        ("fchmod", (3, 0o755), True),
        ("fchmod", (3, 0o4755), False),
        ("fchmodat", (3, 0, 0o2755), False),
        ("mknodat", (3, 0, 0o104755), False),
        ("openat", (3, 0, 0o2, 0o4755), True),
        ("openat", (3, 0, 0o102, 0o755), True),
        ("openat", (3, 0, 0o102, 0o4755), False),
        ("openat", (3, 0, 0o20200002, 0o2755), False),
        ("socket", (1, 1, 0), True),
        ("socket", (2, 1, 0), True),
        ("socket", (10, 1, 0), True),
        ("socket", (16, 3, 0), True),
    ],
)
def test_the_arguments_decide(
    machine: str, name: str, arguments: tuple[int, ...], allowed: bool
) -> None:
    assert ask(machine, name, *arguments) == (ALLOW if allowed else ERROR | errno.EPERM)


@pytest.mark.parametrize("machine", BOTH)
@given(family=st.integers(0, 2**32 - 1), kind=st.integers(0, 10), protocol=st.integers(0, 300))
def test_only_known_families_of_sockets_can_be_had(
    machine: str, family: int, kind: int, protocol: int
) -> None:
    known = family in (1, 2, 10) or (family, protocol) == (16, 0)
    expected = ALLOW if known else ERROR | errno.EAFNOSUPPORT
    assert ask(machine, "socket", family, kind, protocol) == expected


@pytest.mark.parametrize("machine", BOTH)
def test_without_a_network_only_local_sockets_can_be_had(machine: str) -> None:
    architecture = ARCHITECTURES[machine]
    program = build_program(architecture, families=("unix",))
    number = architecture.numbers["socket"]
    answers = [run(program, architecture.audit, number, family, 1, 0) for family in (1, 2, 10)]
    assert answers == [ALLOW, ERROR | errno.EAFNOSUPPORT, ERROR | errno.EAFNOSUPPORT]


@pytest.mark.parametrize("machine", BOTH)
@given(audit=st.integers(0, 2**32 - 1), number=st.integers(0, 2**32 - 1))
def test_a_call_of_another_architecture_kills(machine: str, audit: int, number: int) -> None:
    architecture = ARCHITECTURES[machine]
    if audit != architecture.audit:
        assert run(build_program(architecture), audit, number) == KILL


@given(number=st.integers(0x40000000, 2**32 - 1))
def test_no_number_of_x32_is_known(number: int) -> None:
    architecture = ARCHITECTURES["x86_64"]
    answer = run(build_program(architecture), architecture.audit, number)
    assert answer == ERROR | errno.ENOSYS


@pytest.mark.parametrize("machine", BOTH)
@given(number=st.integers(0, 1000), words=st.lists(st.integers(0, 2**64 - 1), max_size=6))
def test_what_is_not_named_is_allowed(machine: str, number: int, words: list[int]) -> None:
    architecture = ARCHITECTURES[machine]
    if number not in architecture.numbers.values():
        assert run(build_program(architecture), architecture.audit, number, *words) == ALLOW


def known_to_the_kernel(machine: str) -> dict[str, int]:
    text = HEADERS[machine].read_text()
    found = re.findall(r"^#define __NR(?:3264)?_(\w+)\s+(\d+)", text, re.MULTILINE)
    return {name: int(number) for name, number in found}


@pytest.mark.parametrize("machine", BOTH)
def test_the_numbers_are_those_of_the_kernel(machine: str) -> None:
    if not HEADERS[machine].exists():
        pytest.skip(f"needs {HEADERS[machine]}, of the package linux-libc-dev")
    known = known_to_the_kernel(machine)
    ours = ARCHITECTURES[machine].numbers
    assert {name: known[name] for name in ours if name in known} == {
        name: number for name, number in ours.items() if name in known
    }
    named = {*DENIED, *MISSING, "socket", *(guard.name for guard in GUARDED)}
    assert named & known.keys() <= ours.keys()


def test_labels_that_cannot_be_reached_are_refused() -> None:
    code = Assembler()
    code.if_equal(1, yes="far")
    for _ in range(256):
        code.load(0)
    code.label("far")
    code.answer(ALLOW)
    with pytest.raises(ValueError, match="256 instructions away"):
        code.program()
    code = Assembler()
    code.if_equal(1, yes="nowhere")
    with pytest.raises(ValueError, match="no label"):
        code.program()


def test_there_is_a_program_for_what_we_run_on_or_an_error_that_says_so(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    from sashizu_core.errors import SandboxError
    from sashizu_sandbox.seccomp.program import finished_program

    monkeypatch.setattr(platform, "machine", lambda: "riscv64")
    with pytest.raises(SandboxError, match="riscv64"):
        finished_program()


def test_every_guard_is_one_block() -> None:
    names = [guard.name for guard in GUARDED]
    blocks = [name for at, name in enumerate(names) if at == 0 or names[at - 1] != name]
    assert len(blocks) == len(set(blocks))


def test_the_architectures_are_told_apart() -> None:
    audits = [architecture.audit for architecture in ARCHITECTURES.values()]
    assert len(set(audits)) == len(audits)
    assert all(isinstance(each, Architecture) for each in ARCHITECTURES.values())
