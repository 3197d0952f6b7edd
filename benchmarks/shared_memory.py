"""What it costs to hand a large result from one process to another, beside raw bytes in a pipe.

    uv run python benchmarks/shared_memory.py [--rounds 21] [--mib 16]

Two processes. The producer has the bytes at hand, a mark as the last of them; the consumer is done
when it has looked through all of them for the mark and has said where it is. `pipe` sends them with
`multiprocessing.Pipe` as raw bytes. `shared memory` copies them into memory of a pool and sends a
note; both processes have it mapped, as they do for all but the first result. `a new mapping` hands
over memory that the consumer has not seen yet, with its descriptor, each time. All in shuffled
order in every round, from before the producer's copy to the consumer's answer: CPU of both
processes (median), and the clock. On a machine that is busy the clock's median measures how long a
process waits for a core; the quickest round says more. The copy and the read are shown alone too.
"""

from __future__ import annotations

import argparse
import multiprocessing
import os
import random
import socket
import statistics
import struct
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from multiprocessing.connection import Connection

from sashizu_gpu_driver.pinned import MemoryPool, SharedMemory, adopt

MIB = 1024 * 1024
MARK = b"\x01"


def place_of_mark(data: bytes | SharedMemory) -> int:
    """Look at every byte up to the mark, as fast as the C library does: the same for both ways."""
    return data._map.find(MARK) if isinstance(data, SharedMemory) else data.find(MARK)


def consume(pipe: Connection, notes: socket.socket) -> None:
    known: dict[str, SharedMemory] = {}
    while True:
        kind, fds, _, _ = socket.recv_fds(notes, 1, 1)
        if not kind:
            return
        if kind == b"p":
            answer = place_of_mark(pipe.recv_bytes())
        elif kind == b"k":
            memory = adopt(fds[0])
            known["memory"] = memory
            answer = memory.size
        elif kind == b"s":
            answer = place_of_mark(known["memory"])
        else:
            memory = adopt(fds[0])
            answer = place_of_mark(memory)
            memory.close()
        notes.sendall(struct.pack("<qq", answer, time.process_time_ns()))


@dataclass
class Taken:
    """Milliseconds of one round: by the clock, and of CPU in both processes together."""

    wall: list[float] = field(default_factory=list)
    cpu: list[float] = field(default_factory=list)


class Stopwatch:
    """Measures the producer, and learns from each answer what the consumer has used so far."""

    def __init__(self) -> None:
        self.theirs_ns = 0

    def time(self, action: Callable[[], object], taken: Taken) -> None:
        wall, ours, theirs = time.perf_counter_ns(), time.process_time_ns(), self.theirs_ns
        action()
        taken.wall.append((time.perf_counter_ns() - wall) / 1e6)
        used = time.process_time_ns() - ours + self.theirs_ns - theirs
        taken.cpu.append(used / 1e6)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=21)
    parser.add_argument("--mib", type=int, default=16)
    options = parser.parse_args()
    size = options.mib * MIB
    data = bytes(size - 1) + b"\x01"
    ours, theirs = socket.socketpair()
    receiving, sending = multiprocessing.Pipe(duplex=False)
    child = multiprocessing.Process(target=consume, args=(receiving, theirs), daemon=True)
    child.start()
    pool = MemoryPool(4 * size)
    memory, other = pool.allocate(size), pool.allocate(size)

    watch = Stopwatch()

    def answer(expected: int = size - 1) -> None:
        found, watch.theirs_ns = struct.unpack("<qq", ours.recv(16, socket.MSG_WAITALL))
        assert found == expected, found

    def by_pipe() -> None:
        ours.sendall(b"p")
        sending.send_bytes(data)
        answer()

    def by_memory() -> None:
        memory.view[:size] = data
        ours.sendall(b"s")
        answer()

    def by_new_mapping() -> None:
        other.view[:size] = data
        socket.send_fds(ours, [b"n"], [other.fd])
        answer()

    def copy() -> None:
        memory.view[:size] = data

    socket.send_fds(ours, [b"k"], [memory.fd])
    answer(memory.size)
    ways: dict[str, Callable[[], object]] = {
        "pipe": by_pipe,
        "shared memory": by_memory,
        "shared memory, a new mapping": by_new_mapping,
        "the copy alone": copy,
        "the read alone": lambda: place_of_mark(memory),
    }
    found = {name: Taken() for name in ways}
    for way in ways.values():
        way()
    for _ in range(options.rounds):
        for name in random.sample(list(ways), len(ways)):
            watch.time(ways[name], found[name])
    ours.close()
    child.join(10)
    state = "pinned" if memory.pinned else f"not pinned: {memory.reason}"
    print(f"{options.mib} MiB, {options.rounds} rounds, {os.cpu_count()} cores, memory {state}\n")
    pool.close()
    print("| way | CPU | pipe / this | median | quickest | pipe / this |")
    print("| --- | ---: | ---: | ---: | ---: | ---: |")
    pipe_cpu, pipe_best = statistics.median(found["pipe"].cpu), min(found["pipe"].wall)
    for name, taken in found.items():
        cpu, best = statistics.median(taken.cpu), min(taken.wall)
        wall = statistics.median(taken.wall)
        print(
            f"| {name} | {cpu:.2f} ms | {pipe_cpu / cpu:.1f} "
            f"| {wall:.2f} ms | {best:.2f} ms | {pipe_best / best:.1f} |"
        )


if __name__ == "__main__":
    main()
