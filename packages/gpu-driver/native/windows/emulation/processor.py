"""Loads a driver, and runs its functions on an emulated processor."""

from __future__ import annotations

import struct
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from speakeasy import Speakeasy

KEPT = ("rsp", "rbx", "rbp", "rsi", "rdi", "r12", "r13", "r14", "r15")  # by whoever is called
Answer = Callable[..., int]


class Processor:
    """One driver in memory, and memory of others.

    `faults` holds what no driver may do, as sentences: waiting for ever, giving back what it does
    not have, completing a request twice, touching memory that is not there.
    """

    def __init__(self, driver: Path) -> None:
        self.faults: list[str] = []
        self._machine = Speakeasy()
        self._module = self._machine.load_module(str(driver))

    @property
    def entry(self) -> int:
        return self._module.base + self._module.ep

    def holds(self, address: int) -> bool:
        """Whether this place is one of the driver."""
        return self._module.base <= address < self._module.base + self._module.image_size

    def stand_in(self, functions: Mapping[str, tuple[Answer, int]]) -> None:
        """Answer these functions, each with so many words, whatever speakeasy would do."""
        for name, (answer, count) in functions.items():
            hook = _hook(answer, count)
            self._machine.add_api_hook(hook, module="*", api_name=name, argc=count)

    def give(self, name: str, address: int) -> None:
        """Let the driver find a variable of the kernel at this place."""
        for entry, (_, wanted) in self._module.imports.items():
            if wanted == name:
                self.write(entry, struct.pack("<Q", address))

    def call(self, address: int, *words: int) -> int:
        """Run a function of the driver to its end; what it answered, 32 bits."""
        self._machine.call(address, list(words))
        run = self._machine.emu.curr_run
        if run.error:
            self.faults.append(f"{run.error['type']} at {run.error['address']}")
        return int(run.ret_val or 0) & 0xFFFFFFFF

    def stop(self) -> None:
        self._machine.stop()

    def room(self, size: int, data: bytes = b"") -> int:
        """Memory that no driver asked for; its address."""
        at = self._machine.mem_alloc(size)
        self.write(at, data or bytes(size))
        return at

    def read(self, at: int, size: int) -> bytes:
        return bytes(self._machine.mem_read(at, size))

    def write(self, at: int, data: bytes) -> None:
        self._machine.mem_write(at, data)

    def number(self, at: int, size: int = 8) -> int:
        return int.from_bytes(self.read(at, size), "little")

    def leave_for(self, start: int, word: int) -> dict[str, int]:
        """Go on at a function that ends with `come_back`; what that needs."""
        kept = {name: self._machine.reg_read(name) for name in KEPT}
        self._machine.reg_write("rcx", word)
        self._machine.set_pc(start)
        return kept

    def come_back(self, kept: Mapping[str, int]) -> None:
        """Go on where `leave_for` was, as if what was called there had answered 0."""
        for name, value in kept.items():
            self._machine.reg_write(name, value)
        self._machine.reg_write("rsp", kept["rsp"] + 8)
        self._machine.reg_write("rax", 0)
        self._machine.set_pc(self.number(kept["rsp"]))


def _hook(answer: Answer, count: int) -> Callable[..., int]:
    def called(_emulator: Any, _name: str, _original: Any, words: list[int]) -> int:
        return answer(*words[:count])

    return called
