"""A small assembler for the classic BPF that Linux takes as a filter of system calls.

Source of the layout: `struct sock_filter` and `struct seccomp_data` of the kernel's user interface.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass, field

__all__ = ["ARCH_OFFSET", "NUMBER_OFFSET", "Assembler", "argument_offset"]

NUMBER_OFFSET = 0
ARCH_OFFSET = 4

_LOAD = 0x20  # BPF_LD | BPF_W | BPF_ABS
_EQUAL = 0x15  # BPF_JMP | BPF_JEQ | BPF_K
_AT_LEAST = 0x35  # BPF_JMP | BPF_JGE | BPF_K
_ANY_BIT = 0x45  # BPF_JMP | BPF_JSET | BPF_K
_RETURN = 0x06  # BPF_RET | BPF_K

_FARTHEST = 255
_INSTRUCTION = struct.Struct("<HBBI")


def argument_offset(index: int) -> int:
    """Where the low half of an argument lies, in bytes; both architectures are little-endian."""
    return 16 + 8 * index


@dataclass(frozen=True, slots=True)
class _Line:
    code: int
    operand: int
    yes: str = ""
    no: str = ""


@dataclass(slots=True)
class Assembler:
    """Takes instructions and labels in order; a label stands before the next instruction.

    An empty label in a test means the instruction that follows it.
    """

    _lines: list[_Line] = field(default_factory=list)
    _labels: dict[str, int] = field(default_factory=dict)

    def label(self, name: str) -> None:
        """Name the place that comes next; a name is used once."""
        if name in self._labels:
            raise ValueError(f"the label {name!r} is there already")
        self._labels[name] = len(self._lines)

    def load(self, offset: int) -> None:
        self._lines.append(_Line(_LOAD, offset))

    def if_equal(self, value: int, *, yes: str = "", no: str = "") -> None:
        self._lines.append(_Line(_EQUAL, value, yes, no))

    def if_at_least(self, value: int, *, yes: str = "", no: str = "") -> None:
        self._lines.append(_Line(_AT_LEAST, value, yes, no))

    def if_any_bit(self, mask: int, *, yes: str = "", no: str = "") -> None:
        self._lines.append(_Line(_ANY_BIT, mask, yes, no))

    def answer(self, action: int) -> None:
        self._lines.append(_Line(_RETURN, action))

    def program(self) -> bytes:
        """The finished program, 8 bytes an instruction.

        Raises:
            ValueError: a label is missing, lies behind, or is too far away for a jump.
        """
        return b"".join(
            _INSTRUCTION.pack(
                line.code, self._jump(at, line.yes), self._jump(at, line.no), line.operand
            )
            for at, line in enumerate(self._lines)
        )

    def _jump(self, at: int, label: str) -> int:
        if not label:
            return 0
        if label not in self._labels:
            raise ValueError(f"there is no label {label!r}")
        distance = self._labels[label] - at - 1
        if not 0 <= distance <= _FARTHEST:
            raise ValueError(f"the label {label!r} is {distance} instructions away")
        return distance
